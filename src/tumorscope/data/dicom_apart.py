"""JPEG frames that only GDCM decodes, in a process of their own: damaged ones can end the whole program inside of it.

Lossless JPEG and JPEG of 12 bits; everything else has other decoders. The process is started for the first such frame, answers
until the program ends, and is started again when a frame has killed it or kept it busy for too long. It prints nothing.
"""

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from tumorscope.errors import DecodeError

_PATIENCE_S = 60.0
_HEADER = struct.Struct("<I")
_REFUSED = 2**32 - 1
_WORKER = Path(__file__).with_name("dicom_worker.py")


class _Apart:
    """The process, and who may talk to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0

    def decode(self, encoded: bytes, description: dict[str, int | str]) -> bytes | None:
        """Return what GDCM makes of a frame, or None where that failed in whatever way."""
        with self.lock:
            process = self._running()
            impatience = threading.Timer(_PATIENCE_S, process.kill)
            impatience.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                request = json.dumps(description).encode()
                process.stdin.write(_HEADER.pack(len(request)) + request + _HEADER.pack(len(encoded)))
                process.stdin.write(encoded)
                process.stdin.flush()
                (size,) = _HEADER.unpack(_exactly(process.stdout, _HEADER.size))
                return None if size == _REFUSED else _exactly(process.stdout, size)
            except (OSError, EOFError):
                self.close()
                return None
            finally:
                impatience.cancel()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is not None and self.owner != os.getpid():
            self.process = None  # a fork's parent talks to it
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self.owner = os.getpid()
        return self.process

    def close(self) -> None:
        """End the process, if this program started it."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    answer = pipe.read(size)
    if len(answer) < size:
        raise EOFError
    return answer


_APART = _Apart()
atexit.register(_APART.close)


def decode_apart(
    encoded: bytes, *, syntax: str, shape: tuple[int, int, int], bits: tuple[int, int], signed: bool, where: str
) -> bytes:
    """Return the bytes of one decoded JPEG frame, colours by pixel.

    Args:
        encoded: The compressed frame.
        syntax: Its transfer syntax.
        shape: Rows, columns and samples per pixel.
        bits: Allocated and stored.
        signed: Whether values are signed.
        where: What to name in an error.

    Raises:
        DecodeError: The frame is damaged.
    """
    names = ("rows", "columns", "samples", "allocated", "stored")
    description: dict[str, int | str] = dict(zip(names, (*shape, *bits), strict=True))
    decoded = _APART.decode(encoded, description | {"signed": int(signed), "syntax": syntax})
    expected = shape[0] * shape[1] * shape[2] * bits[0] // 8
    if decoded is None or len(decoded) != expected:
        raise DecodeError(f"{where}: a broken or truncated JPEG frame.", fault="truncated")
    return decoded
