"""Many files to findings: decoding and the network overlap, the order stays, and memory does not grow with their number."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tumorscope.data.opening import open_scans
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.engines.engine import Answers, processors
from tumorscope.errors import TumorscopeError
from tumorscope.finding import Finding
from tumorscope.predict import AT_ONCE, Predictor, Prepared
from tumorscope.scan import Scan

_ALL = SliceChoice()


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """What came of one file.

    Attributes:
        path: As it was given.
        findings: One for every scan in it that could be read.
        error: What went wrong in a sentence; None where nothing did.
    """

    path: str
    findings: tuple[Finding, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A file and how its scans are had.

    Attributes:
        path: Names it in its answer.
        open: Yields its scans, called once by the thread that decodes it.
    """

    path: str
    open: Callable[[], Iterator[Scan]]


@dataclass(frozen=True, slots=True)
class StreamChoices:
    """How files are worked through.

    Attributes:
        batch_size: Scans that the network is given together, at least 1.
        workers: Threads that decode, at least 1; all processors by default.
        heatmaps: Whether maps are placed on the scans' grids.
        slices: Which slices of files with several.
        allow_any: Whether DICOM files of other modalities than MR, and in colour, are let through.
    """

    batch_size: int = AT_ONCE
    workers: int | None = None
    heatmaps: bool = False
    slices: SliceChoice = _ALL
    allow_any: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    path: str
    prepared: tuple[Prepared, ...]
    error: str | None


def answer_files(predictor: Predictor, paths: Iterable[str], choices: StreamChoices | None = None) -> Iterator[FileAnswer]:
    """Yield what comes of files, in their order; a file that cannot be read is an answer with an error, and no end.

    Args:
        predictor: Answers.
        paths: Drawn a few ahead of what was yielded.
        choices: How.
    """
    choices = choices or StreamChoices()
    opened = partial(open_scans, choice=choices.slices, allow_any=choices.allow_any)
    return answer_sources(predictor, (ScanSource(path, partial(opened, Path(path))) for path in paths), choices)


def answer_sources(predictor: Predictor, sources: Iterable[ScanSource], choices: StreamChoices) -> Iterator[FileAnswer]:
    """Yield what comes of sources as `answer_files` does; which slices they give is their own choice."""
    workers = choices.workers or processors()

    def read(source: ScanSource) -> _Read:
        return _read(predictor, source, heatmaps=choices.heatmaps)

    with _pool(workers) as decoding, _pool(1) as network:
        waiting: deque[tuple[list[_Read], Future[Answers] | None]] = deque()
        for group in _groups(_mapped(decoding, read, sources, ahead=choices.batch_size + 2 * workers), choices.batch_size):
            prepared = [scan for one in group for scan in one.prepared]
            waiting.append((group, network.submit(predictor.infer, prepared) if prepared else None))
            if len(waiting) > 1:
                yield from _answers(predictor, *waiting.popleft())
        while waiting:
            yield from _answers(predictor, *waiting.popleft())


def _read(predictor: Predictor, source: ScanSource, *, heatmaps: bool) -> _Read:
    path = source.path
    prepared: list[Prepared] = []
    error = None
    try:
        for scan in source.open():
            prepared.append(predictor.prepare(scan, heatmap=heatmaps))  # noqa: PERF401 - those before a broken one are kept
    except TumorscopeError as fault:
        error = str(fault)
    except Exception as fault:  # noqa: BLE001 - one strange file must not end a run over an archive; its record says that it is a fault
        error = f"{path}: a fault of Tumorscope: {type(fault).__name__}: {fault}. Please report it."
    if not prepared and error is None:
        error = f"{path}: holds no scan."
    return _Read(path, tuple(prepared), None if error is None else " ".join(error.split()))


def _mapped(
    pool: ThreadPoolExecutor, read: Callable[[ScanSource], _Read], sources: Iterable[ScanSource], *, ahead: int
) -> Iterator[_Read]:
    """As `pool.map`, but with no more than `ahead` files drawn before the first of them is taken."""
    running: deque[Future[_Read]] = deque()
    for source in sources:
        running.append(pool.submit(read, source))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _groups(read: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    """Yield files in groups with at least `size` scans or `size` files; the last has what is left."""
    group: list[_Read] = []
    for one in read:
        group.append(one)
        if max(len(group), sum(len(part.prepared) for part in group)) >= size:
            yield group
            group = []
    if group:
        yield group


def _answers(predictor: Predictor, group: list[_Read], answers: Future[Answers] | None) -> Iterator[FileAnswer]:
    prepared = [scan for one in group for scan in one.prepared]
    findings = predictor.findings(prepared, answers.result()) if answers is not None else iter(())
    for one in group:
        yield FileAnswer(one.path, tuple(next(findings) for _ in one.prepared), one.error)


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that give up what has not begun when whoever waits for it goes away."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
