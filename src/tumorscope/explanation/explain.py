"""Bundle and images to heatmaps, and everything that is measured of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.plane import guess_planes
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DecodeError, EvaluationError
from tumorscope.explanation import faithfulness, sanity
from tumorscope.explanation.attention import attention_features, peak_of
from tumorscope.explanation.baselines import BASELINES, baseline_map
from tumorscope.explanation.localisation import choose_threshold, localise
from tumorscope.explanation.looking import Looked, Looker
from tumorscope.explanation.other_methods import attribute
from tumorscope.explanation.summary import OWN, MeasuredImage, mean_cells
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.models.network import CellGrid

DRAWN_AS_USUAL = "drawn_as_usual"
RANDOM_NETWORK = "random_network"
THRESHOLD_IMAGES = 128
"""Validation images that the threshold of Dice is chosen on, at most."""

CASCADE_IMAGES = 48
AT_ONCE = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExplainChoices:
    """What is measured of a model's heatmaps.

    Attributes:
        split: Images of which split.
        limit: Most images of each class, spread evenly; None takes all.
        sample: Most images for what asks the network again and again (deletion, insertion, drops, stability), spread evenly.
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
        peaks: Row and column of the highest value on the network's grid, float64, shape (n, 2); NaN for a flat map.
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
        raise EvaluationError(
            "the images were preprocessed in another way than the model's. Build the cache with the bundle's own."
        )
    rows = spread(cache, choices.split, choices.limit)
    work = _Work(looker, cache, rows, choices, _Counter(progress, len(rows)))
    return work.explained(other)


def spread(cache: PixelCache, split: str, limit: int | None) -> np.ndarray:
    """Return rows of a split in the manifest's order, of each class at most `limit`, spread evenly over it; int64.

    Raises:
        EvaluationError: The split has no images.
    """
    rows = cache.rows(split)
    if not len(rows):
        raise EvaluationError(f"no image is in the {split} split, so nothing can be explained. Choose another split.")
    if limit is None:
        return rows
    labels = cache.label_index[rows]
    return np.sort(np.concatenate([_evenly(rows[labels == label], limit) for label in np.unique(labels)]))


def sample_of(images: Sequence[MeasuredImage], count: int) -> np.ndarray:
    """Return places of at most `count` images in all, as many of every class and spread evenly, wrong answers first; int64."""
    labels = np.array([image.label for image in images])
    places: list[np.ndarray] = []
    present = [label for label in LABELS if (labels == label).any()]
    for label in present:
        own = np.flatnonzero(labels == label)
        wrong = own[[not images[place].correct for place in own.tolist()]]
        share = max(1, count // len(present))
        chosen = _evenly(wrong, max(1, share // 4)) if len(wrong) else wrong
        right = np.setdiff1d(own, wrong)
        places += [chosen, _evenly(right, share - len(chosen)) if len(right) else right]
    return np.sort(np.concatenate(places))


def _evenly(rows: np.ndarray, count: int) -> np.ndarray:
    if len(rows) <= count:
        return rows
    return rows[[place * len(rows) // count for place in range(count)]]


@dataclass(slots=True)
class _Counter:
    """Turns pieces of work into progress over all of it."""

    progress: Progress | None
    total: int
    done: int = 0

    def expect(self, more: int) -> None:
        self.total += more

    def step(self, count: int = 1) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


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
        masks = _Masks.of(self.cache.manifest, self.rows, self.looker.preprocessing)
        images, peaks = self._own_images(grids, looked, masks), np.full((len(grids), 2), np.nan)
        thresholds, chosen_on = self._thresholds()
        for kind in self._kinds():
            places = np.arange(len(images)) if kind not in self.choices.methods else sample_of(images, self.choices.method_images)
            with_mask = [place for place in places.tolist() if masks.grid[place] is not None or kind == OWN]
            for place, heatmap in self._maps(kind, grids, looked, with_mask):
                if kind == OWN:
                    peaks[place] = _peak(heatmap)
                    images[place] = _measured(images[place], OWN, attention_features(heatmap))
                mask = masks.grid[place]
                if mask is not None:
                    found = localise(heatmap, mask, threshold=thresholds.get(kind), mm_per_px=masks.mm_per_px[place])
                    images[place] = _measured(images[place], kind, found)
                self.counter.step()
        images, curves = self._faithful(grids, looked, masks, images)
        places = sample_of(images, min(self.choices.sample, CASCADE_IMAGES))
        return Explanation(
            images=tuple(images),
            looked=looked,
            cells=self.looker.cells,
            peaks=peaks,
            threshold={"value": thresholds[OWN], "chosen_on": "validation", "n": chosen_on} if OWN in thresholds else None,
            curves=curves,
            randomisation=self._randomised(grids, looked, images, places),
            stability=self._stable(grids, looked, images, places),
            repeatability=None if other is None else self._repeated(other, grids, looked, masks, images),
            notes=masks.notes,
        )

    def _own_images(self, grids: np.ndarray, looked: Looked, masks: "_Masks") -> list[MeasuredImage]:
        records = [self.cache.manifest.records[row] for row in self.rows]
        planes = guess_planes(grids)
        answers = zip(records, looked.predicted_index, looked.probabilities.max(axis=1), planes, masks.grid, strict=True)
        return [
            MeasuredImage(
                path=record.path,
                label=record.label,
                predicted=LABELS[predicted],
                confidence=float(min(confidence, 1.0)),
                group=record.group,
                plane=plane or "",
                mask_share=None if mask is None else float(mask.mean()),
            )
            for record, predicted, confidence, plane, mask in answers
        ]

    def _kinds(self) -> tuple[str, ...]:
        kinds = (OWN, DRAWN_AS_USUAL, *BASELINES, RANDOM_NETWORK, *self.choices.methods)
        self.counter.expect(len(self.rows) * (len(kinds) - 1) // 2)
        return kinds

    def _maps(self, kind: str, grids: np.ndarray, looked: Looked, places: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield maps of one kind on the network's grid, each with its place."""
        size = self.looker.preprocessing.image_size
        if kind in BASELINES:
            yield from ((place, baseline_map(kind, grids[place])) for place in places)
        elif kind in (OWN, DRAWN_AS_USUAL):
            own = looked.maps_of(looked.predicted_index)
            stride = size / own.shape[-1]
            cells = self.looker.cells if kind == OWN else CellGrid(stride=stride, start=(stride - 1) / 2)
            yield from ((place, self.looker.place(own[place], cells=cells)) for place in places)
        elif kind == RANDOM_NETWORK:
            untrained = sanity.random_network(self.looker.network.name, seed=self.choices.seed)
            fresh = Looker(untrained, self.looker.preprocessing, self.looker.device)
            if places:
                chosen = np.array(places)
                maps = fresh.look(grids[chosen]).maps_of(looked.predicted_index[chosen])
                yield from ((place, fresh.place(heatmap)) for place, heatmap in zip(places, maps, strict=True))
        else:
            yield from self._method_maps(kind, grids, looked, places)

    def _method_maps(self, kind: str, grids: np.ndarray, looked: Looked, places: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        import torch

        for start in range(0, len(places), AT_ONCE):
            some = np.array(places[start : start + AT_ONCE])
            labels = torch.from_numpy(looked.predicted_index[some]).to(self.looker.device)
            found = attribute(kind, self.looker.network, self.looker.inputs(grids[some]), labels)
            for place, heatmap in zip(some.tolist(), found.maps, strict=True):
                yield place, self.looker.place(heatmap, cells=found.cells)

    def _thresholds(self) -> tuple[dict[str, float], int]:
        """Of every kind of map the threshold that is best on validation images, and how many these were."""
        records = self.cache.manifest.records
        rows = np.array([row for row in self.cache.rows("validation") if records[row].mask], dtype=np.int64)
        if self.choices.split == "validation" or not len(rows):
            return {}, 0
        rows = _evenly(rows, THRESHOLD_IMAGES)
        masks = _Masks.of(self.cache.manifest, rows, self.looker.preprocessing).grid
        grids = np.asarray(self.cache.grids[rows])
        looked = self.looker.look(grids)
        usable = [place for place, mask in enumerate(masks) if mask is not None]
        thresholds = {}
        for kind in (OWN, DRAWN_AS_USUAL, *BASELINES, RANDOM_NETWORK, *self.choices.methods):
            own = usable if kind not in self.choices.methods else _evenly(np.array(usable, dtype=np.int64), 8).tolist()
            found = dict(self._maps(kind, grids, looked, own))
            chosen = choose_threshold([found[place] for place in own], [masks[place] for place in own])  # type: ignore[misc]
            if chosen is not None:
                thresholds[kind] = chosen
        return thresholds, len(usable)

    def _faithful(
        self, grids: np.ndarray, looked: Looked, masks: "_Masks", images: list[MeasuredImage]
    ) -> tuple[list[MeasuredImage], dict[tuple[str, str, str], list[float]]]:
        images, sums = list(images), dict[tuple[str, str, str], np.ndarray]()
        places = sample_of(images, self.choices.sample)
        self.counter.expect(len(places))
        for place in places.tolist():
            grid, label = grids[place], int(looked.predicted_index[place])
            orders = self._orders(looked.maps[place, label], grid, place)
            curves = faithfulness.curves_of(grid, orders, ask=self.looker.ask, label_index=label)
            for key, curve in curves.items():
                kind, fill, order = key
                sums[key] = sums.get(key, 0) + curve / len(places)
                metric = f"{kind}_auc" + ("" if fill == "blurred" else f"_{fill}_fill")
                images[place] = _measured(images[place], OWN if order == "map" else order, {metric: faithfulness.area_under(curve)})
            mask = masks.grid[place]
            if mask is not None:
                lost = faithfulness.drops(grid, mask, ask=self.looker.ask, label_index=label, seed=self.choices.seed + place)
                for metric, where in lost.items():
                    images[place] = _measured(images[place], OWN, {metric: where["tumour"]})
                    images[place] = _measured(images[place], "elsewhere", {metric: where["elsewhere"]})
            self.counter.step()
        return images, {key: total.tolist() for key, total in sums.items()}

    def _orders(self, heatmap: np.ndarray, grid: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """The map, and what it must beat: cells in random order, drawn alike, and a spot in the middle."""
        drawn = np.random.default_rng((self.choices.seed, place)).permutation(heatmap.size).reshape(heatmap.shape)
        return {
            "map": self.looker.place(heatmap),
            "random_order": self.looker.place(drawn.astype(np.float32)),
            "centre": baseline_map("centred_gaussian", grid),
        }

    def _randomised(self, grids: np.ndarray, looked: Looked, images: Sequence[MeasuredImage], places: np.ndarray) -> dict[str, Any]:
        some = Looked(looked.probabilities[places], looked.maps[places])
        found = sanity.cascade(self.looker, grids[places], some, seed=self.choices.seed)
        groups = [images[place].group for place in places]
        layers = [{"layer": layer, **mean_cells(rows, groups, seed=self.choices.seed)} for layer, rows in found.items()]
        return {"n": len(places), "layers": layers}

    def _stable(self, grids: np.ndarray, looked: Looked, images: Sequence[MeasuredImage], places: np.ndarray) -> dict[str, Any]:
        some = Looked(looked.probabilities[places], looked.maps[places])
        found = sanity.stability(self.looker, grids[places], some, seed=self.choices.seed)
        groups = [images[place].group for place in places]
        return {change: mean_cells(rows, groups, seed=self.choices.seed) for change, rows in found.items()}

    def _repeated(
        self, other: Looker, grids: np.ndarray, looked: Looked, masks: "_Masks", images: Sequence[MeasuredImage]
    ) -> dict[str, Any]:
        """Compare the maps of both models' own answers, image by image."""
        again = other.look(grids)
        rows = []
        for place, mask in enumerate(masks.grid):
            one = self.looker.place(looked.maps[place, looked.predicted_index[place]])
            two = other.place(again.maps[place, again.predicted_index[place]])
            both: dict[str, float | None] = dict(sanity.compare_maps(one, two))
            both["same_answer"] = float(looked.predicted_index[place] == again.predicted_index[place])
            both["pointing_game"] = None if mask is None else localise(two, mask, threshold=None)["pointing_game"]
            rows.append(both)
        cells = mean_cells(rows, [image.group for image in images], seed=self.choices.seed)
        return {"n": len(rows), **cells}


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """The outlines of some images on the network's grid, as far as they can be used."""

    grid: tuple[np.ndarray | None, ...]
    mm_per_px: tuple[float | None, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest, rows: Iterable[int], preprocessing: Preprocessing) -> "_Masks":
        grids, sizes, empty, refused = [], [], [], []
        for row in rows:
            record = manifest.records[row]
            mask, spacing = None, None
            if record.mask:
                try:
                    mask, spacing = _grid_mask(manifest, record, preprocessing)
                except DecodeError as error:
                    refused.append(str(error))
                else:
                    if not mask.any():
                        empty.append(record.path)
            grids.append(None if mask is None or not mask.any() else mask)
            sizes.append(spacing)
        notes = [_left_out(refused, "Masks that cannot be used")] if refused else []
        notes += [_left_out(empty, "Masks without any tumour at this resolution")] if empty else []
        return cls(tuple(grids), tuple(sizes), tuple(notes))


def _left_out(names: Sequence[str], what: str) -> str:
    return f"{what}: {len(names):,}; their images count as images without an outline (first: {names[0]})."


def _grid_mask(manifest: Manifest, record: Record, preprocessing: Preprocessing) -> tuple[np.ndarray, float | None]:
    """A record's mask on the network's grid, and how many millimetres a pixel of that grid is."""
    scan = decode_record(manifest, record)
    drawn = read_mask(manifest, record, scan.shape)
    assert drawn is not None
    if scan.spacing_mm is None:
        return preprocessing.grid_mask(drawn), None
    rows, columns = preprocessing.to_scan(np.array([0.0, 1.0]), np.array([0.0, 1.0]), scan.shape)
    steps = float(np.diff(rows)[0]) * scan.spacing_mm[0], float(np.diff(columns)[0]) * scan.spacing_mm[1]
    return preprocessing.grid_mask(drawn), sum(steps) / 2


def _measured(image: MeasuredImage, kind: str, found: Mapping[str, float | None]) -> MeasuredImage:
    return replace(image, measures={**image.measures, kind: {**image.measures.get(kind, {}), **found}})


def _peak(heatmap: np.ndarray) -> tuple[float, float]:
    peak = peak_of(heatmap)
    return (np.nan, np.nan) if peak is None else (float(peak[0]), float(peak[1]))
