"""What `dicom_apart` starts: frames in, decoded frames out. It is a script, and imports no part of Tumorscope."""

import contextlib
import json
import struct
import sys
from typing import IO, Any

_HEADER = struct.Struct("<I")
_REFUSED = 2**32 - 1
# Rows x columns x bytes are bounded by who asks; this bounds what a damaged stream makes the decoder take.
_MEMORY_BYTES = 4 * 2**30


def _decoded(encoded: bytes, asked: dict[str, Any]) -> bytes:
    """Return one frame as its uncompressed bytes."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(encoded)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((asked["columns"], asked["rows"], 1))
    image.SetDataElement(element)
    colour = gdcm.PhotometricInterpretation.RGB if asked["samples"] == 3 else gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(colour))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(asked["syntax"])))
    stored = asked["stored"]
    image.SetPixelFormat(gdcm.PixelFormat(asked["samples"], asked["allocated"], stored, stored - 1, asked["signed"]))
    # Bytes come as text.
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return decoded


def _answer(source: IO[bytes], target: IO[bytes]) -> None:
    while size := source.read(_HEADER.size):
        asked = json.loads(source.read(_HEADER.unpack(size)[0]))
        encoded = source.read(_HEADER.unpack(source.read(_HEADER.size))[0])
        try:
            decoded = _decoded(encoded, asked)
            target.write(_HEADER.pack(len(decoded)) + decoded)
        except (ImportError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError, SystemError):
            target.write(_HEADER.pack(_REFUSED))
        target.flush()


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


if __name__ == "__main__":
    _limit_memory()
    _answer(sys.stdin.buffer, sys.stdout.buffer)
