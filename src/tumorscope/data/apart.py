"""Decoders that damaged bytes can end or keep busy for hours, in a process of their own.

Lossless, 12-bit and JPEG-LS frames of DICOM files, and MATLAB files: GDCM and SciPy read beyond their memory, HDF5 has done so, and
CharLS takes minutes for some frames of few bytes. Everything else has other decoders. The process is started for the first such
thing, answers until the program ends, and is started again when one has killed it or kept it busy for too long. It prints nothing.
"""

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tumorscope.errors import DecodeError

_PATIENCE_S = 120.0
_LEAST_S, _PIXELS_IN_A_S = 10, 1_000_000
_HEADER = struct.Struct("<I")
_ANSWER = struct.Struct("<?I")
_WORKER = Path(__file__).with_name("apart_worker.py")
# Each thread of a linear algebra library would reserve a share of the memory that the process may have.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the process made of something.

    Attributes:
        content: What it decoded; None where it could not.
        reason: Why it could not, in one line.
        fault: The same in one word, as in `DecodeError`.
    """

    content: bytes | None
    reason: str = ""
    fault: str = ""


class _Apart:
    """The process, and who may talk to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0

    def ask(self, asked: Mapping[str, int | str], content: bytes = b"") -> Answer:
        """Return what the process makes of bytes, or of a file that `asked` names."""
        with self.lock:
            process = self._running()
            impatience = threading.Timer(_PATIENCE_S, process.kill)
            impatience.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                request = json.dumps(dict(asked)).encode()
                process.stdin.write(_HEADER.pack(len(request)) + request + _HEADER.pack(len(content)))
                process.stdin.write(content)
                process.stdin.flush()
                is_whole, size = _ANSWER.unpack(_exactly(process.stdout, _ANSWER.size))
                answer = _exactly(process.stdout, size)
                return Answer(answer) if is_whole else Answer(None, **json.loads(answer))
            except (OSError, EOFError):
                self.close()
                return Answer(None, "it ends its decoder, or keeps it for too long", "truncated")
            finally:
                impatience.cancel()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is not None and self.owner != os.getpid():
            self.process = None  # a fork's parent talks to it
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | _ONE_THREAD,
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
    """Return the bytes of one decoded JPEG or JPEG-LS frame, colours by pixel.

    Args:
        encoded: The compressed frame.
        syntax: Its transfer syntax.
        shape: Rows, columns and samples per pixel.
        bits: Allocated and stored.
        signed: Whether values are signed.
        where: What to name in an error.

    Raises:
        DecodeError: The frame is damaged, or takes more than ten seconds of a processor and one for every million values.
    """
    names = ("rows", "columns", "samples", "allocated", "stored")
    values = shape[0] * shape[1] * shape[2]
    asked: dict[str, int | str] = dict(zip(names, (*shape, *bits), strict=True))
    asked |= {"task": "frame", "signed": int(signed), "syntax": syntax, "seconds": _seconds(values)}
    answer = _APART.ask(asked, encoded)
    if answer.content is None or len(answer.content) != values * bits[0] // 8:
        raise DecodeError(f"{where}: a broken or truncated JPEG frame.", fault="truncated")
    return answer.content


def matlab_apart(path: Path, name: str, *, max_pixels: int) -> Answer:
    """Return one variable of a MATLAB file: as an NPZ archive of its plain fields, `struct.FIELD`, or of itself, `value`.

    Args:
        path: The file.
        name: Of the variable.
        max_pixels: Largest array that is read.
    """
    asked: dict[str, int | str] = {"task": "matlab", "path": str(path.absolute()), "name": name}
    return _APART.ask(asked | {"most": max_pixels, "seconds": _seconds(max_pixels)})


def _seconds(values: int) -> int:
    """Return how long a processor may work on so many values, many times what an honest decoder needs."""
    return _LEAST_S + values // _PIXELS_IN_A_S
