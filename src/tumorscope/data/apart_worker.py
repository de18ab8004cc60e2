"""What `apart` starts: frames and names of MATLAB files in, what they hold out. A script that imports no part of Tumorscope."""

import contextlib
import io
import json
import signal
import struct
import sys
from typing import IO, Any

_HEADER = struct.Struct("<I")
_ANSWER = struct.Struct("<?I")
# What is decoded is bounded by who asks; this bounds what a damaged stream makes the decoder take.
_MEMORY_BYTES = 4 * 2**30
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")


class _RefusedError(Exception):
    """What is not decoded, though nothing is broken: the reason, and the fault in one word."""


def _frame(encoded: bytes, asked: dict[str, Any]) -> bytes:
    """Return one frame as its uncompressed bytes."""
    return _by_charls(encoded, asked) if asked["syntax"] in _JPEG_LS else _by_gdcm(encoded, asked)


def _by_charls(encoded: bytes, asked: dict[str, Any]) -> bytes:
    """Return a JPEG-LS frame, colours by pixel, signed values extended to all bits that are allocated."""
    import jpeg_ls
    import numpy as np

    content, header = jpeg_ls.decode_buffer(encoded)
    precision, samples = header["bits_per_sample"], header["components"]
    values = np.frombuffer(content, dtype="u1" if precision <= 8 else "<u2")
    if samples > 1 and header["interleave_mode"] == 0:
        values = values.reshape(samples, -1).T
    wide = values.astype(np.int64)
    if asked["signed"]:
        wide -= (wide >> (precision - 1)) << precision
    return wide.astype(f"<u{asked['allocated'] // 8}").tobytes()


def _by_gdcm(encoded: bytes, asked: dict[str, Any]) -> bytes:
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


def _matlab(_: bytes, asked: dict[str, Any]) -> bytes:
    """Return one variable as an NPZ archive: its plain fields as `struct.FIELD`, or itself as `value`; nothing is pickled."""
    import numpy as np
    import pymatreader

    _refuse_huge(asked["path"], asked["most"])
    content = pymatreader.read_mat(asked["path"], variable_names=[asked["name"]])
    if asked["name"] not in content:
        found = ", ".join(entry[0] for entry in pymatreader.whosmat(asked["path"]))
        raise _RefusedError(f"no variable {asked['name']}; it holds {found or 'nothing'}", "no_picture")
    value = content[asked["name"]]
    named = {f"struct.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {"value": value}
    stream = io.BytesIO()
    np.savez(stream, **{key: _plain(entry) for key, entry in named.items()})
    return stream.getvalue()


def _plain(value: object) -> Any:  # noqa: ANN401
    """Return numbers and text as an array; an empty list of text for anything else."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic | str | int | float):
        array = np.asarray(value)
        if array.dtype.kind in "buifcU":
            return array
    return np.array([], dtype=np.str_)


def _refuse_huge(path: str, most: int) -> None:
    """Raise for an array of a v7.3 file that would fill the memory; its few bytes on the disk do not tell."""
    import h5py

    if not h5py.is_hdf5(path):
        return

    def refuse(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset) and entry.size is not None and entry.size > most:
            raise _RefusedError(f"{name} has {entry.size:,} values, more than the {most:,} allowed", "too_large")

    with h5py.File(path, "r") as file:
        file.visititems(refuse)


_TASKS = {"frame": _frame, "matlab": _matlab}


def _answer(source: IO[bytes], target: IO[bytes]) -> None:
    while size := source.read(_HEADER.size):
        asked = json.loads(source.read(_HEADER.unpack(size)[0]))
        content = source.read(_HEADER.unpack(source.read(_HEADER.size))[0])
        _end_after(asked["seconds"])
        try:
            is_whole, answer = True, _TASKS[asked["task"]](content, asked)
        except _RefusedError as error:
            is_whole, answer = False, _reason(*error.args)
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked refuses the file
            is_whole, answer = False, _reason(str(error) or type(error).__name__, "truncated")
        _end_after(0)
        target.write(_ANSWER.pack(is_whole, len(answer)) + answer)
        target.flush()


def _reason(text: str, fault: str) -> bytes:
    return json.dumps({"reason": " ".join(text.split()), "fault": fault}).encode()


def _end_after(seconds: float) -> None:
    """Let the system end this process after some time of work, also inside a decoder; 0 takes that back."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


if __name__ == "__main__":
    _limit_memory()
    _answer(sys.stdin.buffer, sys.stdout.buffer)
