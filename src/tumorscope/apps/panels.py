"""Stored maps of a run back onto the scans that they belong to, for pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tumorscope.apps.explaining import EXPLANATION_FILE, IMAGES_FILE, MAPS_FILE, read_maps
from tumorscope.apps.run_folder import RunFolder, read_json
from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.errors import DecodeError
from tumorscope.explanation.content import read_images
from tumorscope.explanation.placement import place
from tumorscope.explanation.summary import MeasuredImage
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.reporting.study import ExplainedScan, FourMaps
from tumorscope.scan import Scan


class Panels:
    """The maps of one model, of all folds together, and the scans that they are drawn on.

    Args:
        manifest: Images, whose paths the pictures bear.
        preprocessing: How they came onto the network's grid.
        places: Folders that hold an explanation each, with the folder of the run whose manifest its paths start from.
    """

    def __init__(self, manifest: Manifest, preprocessing: Preprocessing, places: Sequence[tuple[Path, Path]]) -> None:
        self._manifest = manifest
        self._preprocessing = preprocessing
        self._records = {absolute_path(manifest.root, record.path): record for record in manifest}
        self._root = manifest.root
        self._maps: dict[str, np.ndarray] = {}
        self._probabilities: dict[str, np.ndarray] = {}
        self.images: tuple[MeasuredImage, ...] = ()
        for folder, root in places:
            self._cells = read_json(folder / EXPLANATION_FILE)["cells"]
            stored = read_maps(folder / MAPS_FILE)
            names = [absolute_path(root, path) for path in stored.paths]
            self._maps |= dict(zip(names, stored.label_maps, strict=True))
            self._probabilities |= dict(zip(names, stored.probabilities, strict=True))
            self.images += tuple(self._renamed(image, root) for image in read_images(folder / IMAGES_FILE))

    def _renamed(self, image: MeasuredImage, root: Path) -> MeasuredImage:
        return replace(image, path=self._records[absolute_path(root, image.path)].path)

    def measured(self, paths: Sequence[str]) -> tuple[MeasuredImage, ...]:
        """Return what was measured of images, in the order of their paths; those that were not explained are left out."""
        known = {image.path: image for image in self.images}
        return tuple(known[path] for path in paths if path in known)

    def has(self, path: str) -> bool:
        """Whether an image was explained."""
        return absolute_path(self._root, path) in self._maps

    def scan(self, path: str, *, index: int, probabilities: np.ndarray | None = None) -> ExplainedScan:
        """Return an image with the map of its answer.

        Args:
            path: Of the image.
            index: Its row in the model's predictions.
            probabilities: What the model answers, shape (4,); None takes what it said while it was explained, before calibration.
        """
        record, scan, mask = self._drawn(path)
        if probabilities is None:
            probabilities = self._probabilities[absolute_path(self._root, path)]
        predicted = int(probabilities.argmax())
        return ExplainedScan(
            path=record.path,
            pixels=self._preprocessing.eight_bit(scan.pixels),
            heatmap=self._placed(path, predicted, self._preprocessing.framing(scan)),
            mask=mask,
            label=record.label,
            predicted=LABELS[predicted],
            probability=float(min(probabilities[predicted], 1.0)),
            index=index,
        )

    def four_maps(self, path: str) -> FourMaps:
        """Return an image with the maps of all labels."""
        record, scan, mask = self._drawn(path)
        framing = self._preprocessing.framing(scan)
        return FourMaps(
            path=record.path,
            pixels=self._preprocessing.eight_bit(scan.pixels),
            heatmaps=np.stack([self._placed(path, label, framing) for label in range(len(LABELS))]),
            mask=mask,
            label=record.label,
            probabilities=self._probabilities[absolute_path(self._root, path)].clip(0, 1),
        )

    def _drawn(self, path: str) -> tuple[Record, Scan, np.ndarray | None]:
        record = self._records[absolute_path(self._root, path)]
        decoded = decode_record(self._manifest, record)
        try:
            mask = read_mask(self._manifest, record, decoded.shape)
        except DecodeError:
            mask = None  # the explanation's notes name it
        return record, decoded, mask

    def _placed(self, path: str, label: int, framing: Framing) -> np.ndarray:
        return place(
            self._maps[absolute_path(self._root, path)][label],
            stride=self._cells["stride"],
            start=self._cells["start"],
            preprocessing=self._preprocessing,
            framing=framing,
        )


def explained_places(
    folder: RunFolder, parts: Sequence[RunFolder], name: str, *, out: Path | None = None
) -> list[tuple[Path, Path]]:
    """Return where the explanations of a model lie, one for each fold, with the folder that its paths start from.

    Args:
        folder: The run.
        parts: Its folds, or itself.
        name: Of the model.
        out: Where the explanations were written instead of the run.
    """
    places = []
    for part in parts:
        inside = part.path.relative_to(folder.path)
        places.append(((folder.path if out is None else out) / inside / name, part.path.resolve()))
    return places


def absolute_path(root: Path, path: str) -> str:
    """Return an image's path as every fold and the whole run agree on it: a manifest's own paths depend on where it lies."""
    return (root.resolve() / path).as_posix()
