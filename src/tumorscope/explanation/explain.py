"""Looker and images to heatmaps, and everything that is measured of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.plane import guess_planes
from tumorscope.errors import EvaluationError
from tumorscope.explanation import faithfulness, sanity
from tumorscope.explanation.attention import attention_features, peak_of
from tumorscope.explanation.baselines import BASELINES, baseline_map
from tumorscope.explanation.localisation import choose_threshold, localise, pointing_game
from tumorscope.explanation.looking import Looked, Looker
from tumorscope.explanation.other_methods import attribute
from tumorscope.explanation.outlines import Outlines, read_outlines
from tumorscope.explanation.sampling import evenly, sample_of, spread
from tumorscope.explanation.summary import OWN, MeasuredImage, mean_cells
from tumorscope.labels import LABELS
from tumorscope.models.network import CellGrid

DRAWN_AS_USUAL = "drawn_as_usual"
RANDOM_NETWORK = "random_network"
THRESHOLD_IMAGES = 128
"""Validation images that the threshold of Dice is chosen on, at most; for other methods `METHOD_THRESHOLD_IMAGES`."""

METHOD_THRESHOLD_IMAGES = 8
CASCADE_IMAGES = 48
"""Most images for random weights and stability."""

AT_ONCE = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExplainChoices:
    """What is measured of a model's heatmaps.

    Attributes:
        split: Images of which split.
        limit: Most images of each class, spread evenly; None takes all.
        sample: Most images for what asks the network again and again (deletion, insertion, drops), spread evenly; random weights
            and stability take at most `CASCADE_IMAGES` of them.
        methods: Other methods to compare with, of `other_methods.OTHER_METHODS`.
        method_images: Most images that other methods are computed for, spread evenly.
        seed: Of the sample's textures, random weights, noise and intervals.
    """

    split: str = "test"
    limit: int | None = None
    sample: int = 128
    methods: tuple[str, ...] = ()
    method_images: int = 32
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The Grad-CAM of the answer for every image, and what was measured.

    Attributes:
        images: One for each map.
        looked: Probabilities, and the raw maps of all labels.
        cells: Where the cells lie on the network's grid.
        peaks: Row and column of the highest cell's centre on the network's grid, float64, shape (n, 2); NaN for a flat map.
        threshold: Share of the highest value at which Dice is taken, how many validation images chose it; None without any.
        curves: Deletion and insertion: (kind, fill, order) to the mean probability over `faithfulness.SHARES`.
        randomisation: Layer to cells {rank_correlation, structural_similarity}, from the head downwards.
        stability: Change to cells {rank_correlation, peak_distance_px, same_answer}.
        repeatability: Cells of the comparison with another training, None without one.
        notes: What was left out, in sentences.
    """

    images: tuple[MeasuredImage, ...]
    looked: Looked
    cells: CellGrid
    peaks: np.ndarray
    threshold: dict[str, Any] | None
    curves: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    randomisation: dict[str, Any] = field(default_factory=dict)
    stability: dict[str, Any] = field(default_factory=dict)
    repeatability: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def maps(self) -> np.ndarray:
        """Raw map of each answer, float32, shape (n, cell rows, cell columns), at least 0."""
        return self.looked.maps_of(self.looked.predicted_index)


def explain(
    looker: Looker,
    cache: PixelCache,
    choices: ExplainChoices,
    *,
    other: Looker | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Return where a model looked when it answered, and every measure of it that the images allow.

    Args:
        looker: The trained network.
        cache: Decoded images, preprocessed as the network asks.
        choices: What is measured.
        other: The same network from another training, to see whether the maps repeat; it must fit the same grids.
        progress: Called with (done, all) now and then.

    Raises:
        EvaluationError: The images were preprocessed in another way, or the split has no images.
        UsageError: A method is unknown, or its package is not installed.
    """
    if cache.preprocessing != looker.preprocessing or (other is not None and other.preprocessing != looker.preprocessing):
        raise EvaluationError("the images were preprocessed in another way than the model's. Build the cache with its own.")
    rows = spread(cache, choices.split, choices.limit)
    return _Work(looker, cache, rows, choices, _Counter(progress, len(rows))).explained(other)


@dataclass(slots=True)
class _Counter:
    """Turns pieces of work into progress over all of it."""

    progress: Progress | None
    total: int
    done: int = 0

    def expect(self, more: int) -> None:
        self.total += more

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A map on the network's grid, the place of its image, and its peak."""

    place: int
    heatmap: np.ndarray
    peak: tuple[float, float] | None


@dataclass(slots=True)
class _Work:
    """One explanation while it is made."""

    looker: Looker
    cache: PixelCache
    rows: np.ndarray
    choices: ExplainChoices
    counter: _Counter

    def explained(self, other: Looker | None) -> Explanation:
        grids = np.asarray(self.cache.grids[self.rows])
        looked = self.looker.look(grids)
        outlines = read_outlines(self.cache.manifest, self.rows, self.looker.preprocessing)
        thresholds, chosen_on, notes = self._thresholds()
        images = self._answers(grids, looked, outlines)
        images, peaks = self._localised(grids, looked, outlines, images, thresholds)
        images, curves, no_room = self._faithful(grids, looked, outlines, images)
        few = self._sample(images, min(self.choices.sample, CASCADE_IMAGES))
        some, groups = Looked(looked.probabilities[few], looked.maps[few]), [images[place].group for place in few]
        return Explanation(
            images=tuple(images),
            looked=looked,
            cells=self.looker.cells,
            peaks=peaks,
            threshold={"value": thresholds[OWN], "chosen_on": "validation", "n": chosen_on} if OWN in thresholds else None,
            curves=curves,
            randomisation=self._randomised(grids[few], some, groups),
            stability=self._stable(grids[few], some, groups),
            repeatability=None if other is None else self._repeated(other, grids, looked, outlines, images),
            notes=(*outlines.notes, *notes, *no_room),
        )

    def _answers(self, grids: np.ndarray, looked: Looked, outlines: Outlines) -> list[MeasuredImage]:
        records = [self.cache.manifest.records[row] for row in self.rows]
        confidence = looked.probabilities.max(axis=1)
        rows = zip(records, looked.predicted_index, confidence, guess_planes(grids), outlines.masks, strict=True)
        return [
            MeasuredImage(
                path=record.path,
                label=record.label,
                predicted=LABELS[predicted],
                confidence=float(min(probability, 1.0)),
                group=record.group,
                plane=plane or "",
                mask_share=None if mask is None else float(mask.mean()),
            )
            for record, predicted, probability, plane, mask in rows
        ]

    def _sample(self, images: Sequence[MeasuredImage], count: int) -> list[int]:
        places: list[int] = sample_of([image.label for image in images], count).tolist()
        return places

    def _kinds(self) -> tuple[str, ...]:
        return (OWN, DRAWN_AS_USUAL, *BASELINES, RANDOM_NETWORK, *self.choices.methods)

    def _localised(
        self,
        grids: np.ndarray,
        looked: Looked,
        outlines: Outlines,
        images: Sequence[MeasuredImage],
        thresholds: Mapping[str, float],
    ) -> tuple[list[MeasuredImage], np.ndarray]:
        measured, peaks = list(images), np.full((len(grids), 2), np.nan)
        strength = looked.maps_of(looked.predicted_index).max(axis=(1, 2))
        for kind in self._kinds():
            chosen = self._sample(images, self.choices.method_images) if kind in self.choices.methods else range(len(images))
            places = [place for place in chosen if outlines.masks[place] is not None or kind == OWN]
            self.counter.expect(0 if kind == OWN else len(places))
            for one in self._maps(kind, grids, looked, places):
                if kind == OWN:
                    peaks[one.place] = np.nan if one.peak is None else one.peak
                    features = attention_features(one.heatmap) | {"strength": float(strength[one.place])}
                    measured[one.place] = _measured(measured[one.place], OWN, features)
                found = self._on_tumour(one, outlines, thresholds.get(kind))
                measured[one.place] = _measured(measured[one.place], kind, found)
                self.counter.step()
        return measured, peaks

    def _on_tumour(self, one: _Placed, outlines: Outlines, threshold: float | None) -> dict[str, float | None]:
        mask = outlines.masks[one.place]
        if mask is None:
            return {}
        return localise(one.heatmap, mask, peak=one.peak, threshold=threshold, pixel_mm=outlines.pixel_mm[one.place])

    def _maps(self, kind: str, grids: np.ndarray, looked: Looked, places: Sequence[int]) -> Iterator[_Placed]:
        """Yield maps of one kind on the network's grid."""
        size, own = self.looker.preprocessing.image_size, looked.maps_of(looked.predicted_index)
        if kind in BASELINES:
            for place in places:
                heatmap = baseline_map(kind, grids[place])
                yield _Placed(place, heatmap, peak_of(heatmap))
        elif kind in (OWN, DRAWN_AS_USUAL):
            stride = size / own.shape[-1]
            cells = self.looker.cells if kind == OWN else CellGrid(stride=stride, start=(stride - 1) / 2)
            yield from (self._placed(place, own[place], cells) for place in places)
        elif kind == RANDOM_NETWORK and places:
            untrained = sanity.random_network(self.looker.network, seed=self.choices.seed)
            fresh = Looker(untrained, self.looker.preprocessing, self.looker.device)
            maps = fresh.look(grids[places]).maps_of(looked.predicted_index[places])
            yield from (self._placed(place, heatmap, fresh.cells) for place, heatmap in zip(places, maps, strict=True))
        elif kind in self.choices.methods:
            yield from self._method_maps(kind, grids, looked, places)

    def _method_maps(self, kind: str, grids: np.ndarray, looked: Looked, places: Sequence[int]) -> Iterator[_Placed]:
        for start in range(0, len(places), AT_ONCE):
            some = list(places[start : start + AT_ONCE])
            labels = torch.from_numpy(looked.predicted_index[some]).to(self.looker.device)
            found = attribute(kind, self.looker.network, self.looker.inputs(grids[some]), labels)
            yield from (self._placed(place, heatmap, found.cells) for place, heatmap in zip(some, found.maps, strict=True))

    def _placed(self, place: int, heatmap: np.ndarray, cells: CellGrid) -> _Placed:
        return _Placed(place, self.looker.place(heatmap, cells=cells), self.looker.peak(heatmap, cells=cells))

    def _thresholds(self) -> tuple[dict[str, float], int, list[str]]:
        """Of every kind of map the threshold that is best on validation images; how many these were; what to say of it."""
        records = self.cache.manifest.records
        rows = np.array([row for row in self.cache.rows("validation") if records[row].mask], dtype=np.int64)
        if not len(rows):
            return {}, 0, []
        if self.choices.split == "validation":
            return {}, 0, ["Dice and intersection over union are left out: their threshold would be chosen on the same images."]
        rows = evenly(rows, THRESHOLD_IMAGES)
        outlines = read_outlines(self.cache.manifest, rows, self.looker.preprocessing)
        grids = np.asarray(self.cache.grids[rows])
        looked = self.looker.look(grids)
        usable = np.array([place for place, mask in enumerate(outlines.masks) if mask is not None], dtype=np.int64)
        thresholds = {}
        for kind in self._kinds():
            few = evenly(usable, METHOD_THRESHOLD_IMAGES if kind in self.choices.methods else len(usable))
            placed = list(self._maps(kind, grids, looked, few.tolist()))
            masks = [mask for one in placed if (mask := outlines.masks[one.place]) is not None]
            chosen = choose_threshold([one.heatmap for one in placed], masks)
            if chosen is not None:
                thresholds[kind] = chosen
        return thresholds, len(usable), [f"Validation images: {note}" for note in outlines.notes]

    def _faithful(
        self, grids: np.ndarray, looked: Looked, outlines: Outlines, images: Sequence[MeasuredImage]
    ) -> tuple[list[MeasuredImage], dict[tuple[str, str, str], list[float]], list[str]]:
        measured, sums, no_room = list(images), dict[tuple[str, str, str], np.ndarray](), 0
        places = self._sample(images, self.choices.sample)
        self.counter.expect(len(places))
        for place in places:
            grid, label, mask = grids[place], int(looked.predicted_index[place]), outlines.masks[place]
            orders = self._orders(looked.maps[place, label], grid, place)
            for key, curve in faithfulness.curves_of(grid, orders, ask=self.looker.ask, label_index=label).items():
                kind, fill, order = key
                sums[key] = sums.get(key, 0) + curve / len(places)
                metric = f"{kind}_auc" + ("" if fill == "blurred" else f"_{fill}_fill")
                found = {metric: faithfulness.area_under(curve)}
                measured[place] = _measured(measured[place], OWN if order == "map" else order, found)
            if mask is not None:
                lost = faithfulness.drops(grid, mask, ask=self.looker.ask, label_index=label, seed=self.choices.seed + place)
                if any(where["elsewhere"] is None for where in lost.values()):
                    no_room += 1
                else:
                    tumour = {metric: where["tumour"] for metric, where in lost.items()}
                    elsewhere = {metric: where["elsewhere"] for metric, where in lost.items()}
                    measured[place] = _measured(_measured(measured[place], OWN, tumour), "elsewhere", elsewhere)
            self.counter.step()
        notes = [f"Tumours that leave no room for as much healthy tissue elsewhere: {no_room}; their drops are left out."]
        return measured, {key: total.tolist() for key, total in sums.items()}, notes if no_room else []

    def _orders(self, heatmap: np.ndarray, grid: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """The map, and what it must beat: cells in random order, drawn alike, and a spot in the middle."""
        drawn = np.random.default_rng((self.choices.seed, place)).permutation(heatmap.size).reshape(heatmap.shape)
        return {
            "map": self.looker.place(heatmap),
            "random_order": self.looker.place(drawn.astype(np.float32)),
            "centre": baseline_map("centred_gaussian", grid),
        }

    def _randomised(self, grids: np.ndarray, looked: Looked, groups: Sequence[str]) -> dict[str, Any]:
        found = sanity.cascade(self.looker, grids, looked, seed=self.choices.seed)
        layers = [{"layer": layer, **mean_cells(rows, groups, seed=self.choices.seed)} for layer, rows in found.items()]
        return {"n": len(grids), "layers": layers}

    def _stable(self, grids: np.ndarray, looked: Looked, groups: Sequence[str]) -> dict[str, Any]:
        found = sanity.stability(self.looker, grids, looked, seed=self.choices.seed)
        return {change: mean_cells(rows, groups, seed=self.choices.seed) for change, rows in found.items()}

    def _repeated(
        self, other: Looker, grids: np.ndarray, looked: Looked, outlines: Outlines, images: Sequence[MeasuredImage]
    ) -> dict[str, Any]:
        """Compare the maps of both models' own answers, image by image."""
        again = other.look(grids)
        rows = []
        for place, mask in enumerate(outlines.masks):
            one = looked.maps[place, looked.predicted_index[place]]
            two = again.maps[place, again.predicted_index[place]]
            row: dict[str, float | None] = dict(sanity.compare_maps(self.looker.place(one), other.place(two)))
            row["same_answer"] = float(looked.predicted_index[place] == again.predicted_index[place])
            row["pointing_game"] = None if mask is None else pointing_game(other.peak(two), mask)
            rows.append(row)
        return {"n": len(rows), **mean_cells(rows, [image.group for image in images], seed=self.choices.seed)}


def _measured(image: MeasuredImage, kind: str, found: Mapping[str, float | None]) -> MeasuredImage:
    if not found:
        return image
    return replace(image, measures={**image.measures, kind: {**image.measures.get(kind, {}), **found}})
