"""Predictor: Scan to Finding, the one-image path. No torch unless its engine is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL

from tumorscope import __version__
from tumorscope.data.first_look import FirstLook, first_look
from tumorscope.data.opening import open_scans
from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.engines.engine import Answers, Engine, open_engine
from tumorscope.errors import BundleError, DecodeError
from tumorscope.explanation.attention import peak_of
from tumorscope.explanation.placement import place
from tumorscope.finding import Finding, Heatmap, ModelStamp
from tumorscope.labels import LABELS
from tumorscope.models.bundle_files import BUNDLE_FILE, Graph, read_bundle_json, short_digest
from tumorscope.models.calibration import Calibration
from tumorscope.models.calibration_files import read_calibration
from tumorscope.models.shipped import BUNDLED, model_folder
from tumorscope.predictions import Decisions
from tumorscope.scan import Scan

METHOD = "Grad-CAM"
_MIDDLE = SliceChoice(slices="middle")
_ALL = SliceChoice()
AT_ONCE = 32
"""Scans that are answered for together when many are streamed: enough to keep every processor busy, few enough to wait for."""


class Prepared(NamedTuple):
    """A scan as far as it is needed for an answer: its pixels are given up unless they will be drawn.

    Attributes:
        path: Its origin.
        sha256: Digest of its pixels.
        spacing_mm: Or None when unknown.
        grid: What the network is shown, uint8, shape (image_size, image_size).
        framing: The part of the scan on the grid.
        look: What the picture tells before the network sees it.
        picture: The scan at 8 bits for overlays, or None where no heatmap is wanted.
    """

    path: str
    sha256: str
    spacing_mm: tuple[float, float] | None
    grid: np.ndarray
    framing: Framing
    look: FirstLook
    picture: np.ndarray | None


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A trained model that answers for scans.

    Attributes:
        engine: Runs the network.
        graph: Tells where the cells of its maps lie.
        preprocessing: What every scan goes through before it.
        calibration: What turns its raw answers into what is said.
        stamp: Which model it is.
        seen: `short_digest` of every scan that it was trained on.
        versions: Of what an answer depends on.
    """

    engine: Engine = field(repr=False)
    graph: Graph = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    calibration: Calibration = field(repr=False)
    stamp: ModelStamp
    seen: frozenset[str] = field(repr=False)
    versions: dict[str, str]

    @classmethod
    def load(cls, model: str | Path = BUNDLED, *, engine: str = "openvino", threads: int | None = None) -> "Predictor":
        """Return the predictor of a trained model.

        Args:
            model: Folder of a bundle, or `bundled` for the one that comes with the package.
            engine: One of `engines.engine.ENGINES`; all of them compute in float32.
            threads: Processors to use, all by default.

        Raises:
            BundleError: The model is of another version, or its files are not the ones that belong together.
            UsageError: The engine is unknown or not installed.
        """
        folder = model_folder(model)
        content = read_bundle_json(folder)
        try:
            runs, graph = open_engine(engine, folder, content, threads=threads)
            calibration = read_calibration(folder, content)
            preprocessing = Preprocessing.from_json(content["preprocessing"])
            stamp = ModelStamp(
                content["network"], content["weights_sha256"], content["data_fingerprint"], calibrated=calibration.is_fitted
            )
            seen = frozenset(content["trained_on"])
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{folder / BUNDLE_FILE}: incomplete ({error}). Restore the file, or save the model again."
            ) from error
        return cls(runs, graph, preprocessing, calibration, stamp, seen, _versions(runs))

    def __call__(self, scan: Scan, *, heatmap: bool = True) -> Finding:
        """Return what is said about one scan; `heatmap` also places its map on the scan's grid."""
        return self.batch([scan], heatmaps=heatmap)[0]

    def predict(self, path: str | Path, *, choice: SliceChoice = _MIDDLE, heatmap: bool = True) -> Finding:
        """Return what is said about the scan in a file; of a file with several slices, about one, and a warning says so.

        Args:
            path: Of any format that `data.opening` knows.
            choice: Which slice, the middle one by default.
            heatmap: Also place its map on the scan's grid.

        Raises:
            DecodeError: The file is no scan that can be read, or `choice` is of several slices.
        """
        scans = list(islice(open_scans(Path(path), choice=choice), 2))
        if len(scans) != 1:
            raise DecodeError(f"{path}: one slice is needed here. Choose one, or take `predict_slices`.")
        finding = self(scans[0], heatmap=heatmap)
        if scans[0].slice_index is None:
            return finding
        warning = f"One slice of several, number {scans[0].slice_index} counted from 0; the others were not looked at."
        return replace(finding, warnings=(*finding.warnings, warning))

    def predict_slices(self, path: str | Path, *, choice: SliceChoice = _ALL, heatmaps: bool = False) -> Iterator[Finding]:
        """Yield what is said about the slices of a file, in their order; `SliceSummary.of` tells what they come to.

        Args:
            path: Of any format that `data.opening` knows.
            choice: Which slices, all by default.
            heatmaps: Also place the maps on the scans' grids.

        Raises:
            DecodeError: The file is no scan that can be read, or has fewer slices than `choice` asks for.
        """
        return self.stream(open_scans(Path(path), choice=choice), heatmaps=heatmaps)

    def batch(self, scans: Sequence[Scan], *, heatmaps: bool = True) -> list[Finding]:
        """Return what is said about scans, the same as one by one."""
        prepared = [self.prepare(scan, heatmap=heatmaps) for scan in scans]
        return list(self.findings(prepared, self.infer(prepared))) if prepared else []

    def stream(self, scans: Iterable[Scan], *, batch_size: int = AT_ONCE, heatmaps: bool = False) -> Iterator[Finding]:
        """Yield what is said about scans, in their order, as they come; no more than three batches are held.

        The network works on one batch while the scans of the next are drawn from `scans`, so a generator that decodes files is
        decoding at the same time.
        """
        source = iter(scans)
        running: tuple[list[Prepared], Future[Answers]] | None = None
        with ThreadPoolExecutor(1) as network:
            while True:
                prepared = [self.prepare(scan, heatmap=heatmaps) for scan in islice(source, batch_size)]
                ahead = (prepared, network.submit(self.infer, prepared)) if prepared else None
                if running is not None:
                    yield from self.findings(running[0], running[1].result())
                if ahead is None:
                    return
                running = ahead

    def prepare(self, scan: Scan, *, heatmap: bool) -> Prepared:
        """Return what an answer needs of a scan; safe in several threads."""
        eight_bit = self.preprocessing.eight_bit(scan.pixels)
        grid, framing = self.preprocessing.framed_grid(eight_bit)
        look = first_look(eight_bit, colour_share=scan.colour_share)
        return Prepared(scan.origin, scan.sha256, scan.spacing_mm, grid, framing, look, eight_bit if heatmap else None)

    def infer(self, prepared: Sequence[Prepared]) -> Answers:
        """Return the network's raw answers for at least one prepared scan; for one thread at a time."""
        return self.engine.infer(np.stack([one.grid for one in prepared]))

    def findings(self, prepared: Sequence[Prepared], answers: Answers) -> Iterator[Finding]:
        """Yield what is said about prepared scans, given the network's raw answers; each map is placed when its turn comes."""
        decisions = self.calibration.decide(answers.logits, answers.features, [one.look for one in prepared])
        for row, one in enumerate(prepared):
            yield self._finding(one, row, decisions, answers.maps[row])

    def _finding(self, prepared: Prepared, row: int, decisions: Decisions, maps: np.ndarray) -> Finding:
        recommended = int(decisions.recommended[row])
        sets, familiarity = decisions.prediction_sets, decisions.familiarity
        return Finding(
            path=prepared.path,
            sha256=prepared.sha256,
            shape=prepared.framing.shape,
            spacing_mm=prepared.spacing_mm,
            probabilities=dict(zip(LABELS, decisions.probabilities[row].clip(0, 1).tolist(), strict=True)),
            prediction_set=None if sets is None else tuple(label for label, kept in zip(LABELS, sets[row], strict=True) if kept),
            recommended=LABELS[recommended],
            familiarity=None if familiarity is None else float(familiarity[row]),
            refusal=decisions.reasons[row] if decisions.refused[row] else None,
            heatmap=self._heatmap(maps[recommended], LABELS[recommended], prepared),
            model=self.stamp,
            preprocessing=self.preprocessing.to_json(),
            framing={name: value for name, value in asdict(prepared.framing).items() if name != "shape"},
            versions=self.versions,
            warnings=self._warnings(prepared),
        )

    def _heatmap(self, cells: np.ndarray, label: str, prepared: Prepared) -> Heatmap:
        values = None
        if prepared.picture is not None:
            values = place(
                cells,
                stride=self.graph.stride,
                start=self.graph.start,
                preprocessing=self.preprocessing,
                framing=prepared.framing,
            )
        return Heatmap(METHOD, label, float(cells.max()), self._peak(cells, prepared.framing), values, prepared.picture)

    def _peak(self, cells: np.ndarray, framing: Framing) -> tuple[float, float] | None:
        """Centre of the highest cell on the scan: beyond the outermost centres a placed map is even and would have many peaks."""
        highest = peak_of(cells)
        if highest is None:
            return None
        row_at, column_at = (np.array(self.graph.start + self.graph.stride * cell) for cell in highest)
        on_scan = self.preprocessing.to_scan(row_at, column_at, framing)
        row, column = (min(max(float(at), 0.0), length - 1.0) for at, length in zip(on_scan, framing.shape, strict=True))
        return row, column

    def _warnings(self, prepared: Prepared) -> tuple[str, ...]:
        warnings = []
        if not prepared.grid.any():
            warnings.append("The scan is black.")
        if max(prepared.framing.shape) < self.preprocessing.image_size // 2:
            warnings.append(f"The scan is small for this model, which looks at {self.preprocessing.image_size} pixels.")
        if short_digest(prepared.sha256) in self.seen:
            warnings.append("The model was trained on this very scan, so its answer is one of memory.")
        return tuple(warnings)


def _versions(engine: Engine) -> dict[str, str]:
    packages = {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
    return {"tumorscope": __version__, "engine": engine.version, **packages}
