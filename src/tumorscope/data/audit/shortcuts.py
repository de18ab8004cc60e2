"""How far the class can be told without looking at anatomy: from size, framing, intensity and compression alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from tumorscope.data.audit.files import FileFacts

Progress = Callable[[int, int], None]

MOST_IMAGES = 10_000
"""Images that a score is measured on; of more, that many are drawn."""

_FOLDS = 5
_TREES = 100
_NUMBERS: Mapping[str, Callable[[FileFacts], float | None]] = MappingProxyType(
    {
        "rows": lambda facts: facts.rows,
        "columns": lambda facts: facts.columns,
        "height over width": lambda facts: facts.rows / facts.columns,
        "JPEG quality": lambda facts: facts.stored.jpeg_quality,
        "bits per pixel": lambda facts: 8 * facts.stored.file_bytes / _area(facts) if facts.stored.file_bytes else None,
        "coloured share": lambda facts: facts.stored.colour_share,
        "top margin": lambda facts: facts.look.margins[0],
        "bottom margin": lambda facts: facts.look.margins[1],
        "left margin": lambda facts: facts.look.margins[2],
        "right margin": lambda facts: facts.look.margins[3],
        "mean grey": lambda facts: facts.look.mean,
        "grey deviation": lambda facts: facts.look.std,
        "near-black share": lambda facts: facts.look.dark_share,
        "near-white share": lambda facts: facts.look.white_share,
        "grey levels": lambda facts: facts.look.levels,
        "darkest corner": lambda facts: facts.look.darkest_corner,
        "brightest corner": lambda facts: facts.look.brightest_corner,
        "background noise": lambda facts: facts.look.background_noise,
        "blockiness": lambda facts: facts.look.blockiness,
        "sharpness": lambda facts: facts.look.sharpness,
        "lettering": lambda facts: facts.look.lettering,
    }
)
_WORDS: Mapping[str, Callable[[FileFacts], str]] = MappingProxyType(
    {"file format": lambda facts: facts.stored.file_format, "colour mode": lambda facts: facts.stored.mode}
)


@dataclass(frozen=True, slots=True, eq=False)
class MetaFeatures:
    """What a table of images says about files, not about anatomy.

    Attributes:
        names: One per column.
        values: float64, shape (images, columns); NaN where unknown.
        words: Name of a column to the words that its numbers 0, 1, 2, ... stand for; none for a column of measurements.
    """

    names: tuple[str, ...]
    values: np.ndarray
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: np.ndarray) -> "MetaFeatures":
        """Return the features of some images."""
        return MetaFeatures(self.names, self.values[rows], self.words)


@dataclass(frozen=True, slots=True)
class Difference:
    """What one feature says about one class.

    Attributes:
        feature: Its name.
        label: The class that stands out most.
        what: The value or range meant, such as `RGB` or `at most 0.12`.
        share: Part of the class's images of which that is true, 0 to 1.
        share_of_others: Likewise, of all other images.
    """

    feature: str
    label: str
    what: str
    share: float
    share_of_others: float

    @property
    def gap(self) -> float:
        """How far the shares differ, 0 to 1."""
        return abs(self.share - self.share_of_others)

    @property
    def sentence(self) -> str:
        """The same in words."""
        return f"{self.feature}: {self.what} in {self.share:.0%} of {self.label}, in {self.share_of_others:.0%} of the others"


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How far meta-features alone tell the class, measured on images whose groups were not learned from.

    Attributes:
        images: Number of images measured on.
        accuracy: 0 to 1.
        majority_share: Accuracy of always answering the most frequent class.
        balanced_accuracy: Mean recall of the classes, 0 to 1.
        chance: Balanced accuracy of any answer that knows nothing: one over the number of classes.
        recall: Of every class, 0 to 1.
        single: Balanced accuracy of each feature on its own, the best first.
        differences: What each feature says about the class that stands out most, the widest gap first.
    """

    images: int
    accuracy: float
    majority_share: float
    balanced_accuracy: float
    chance: float
    recall: Mapping[str, float]
    single: Mapping[str, float]
    differences: tuple[Difference, ...]

    @property
    def sentence(self) -> str:
        """What a reader must know of it."""
        score = f"{self.accuracy:.0%} of the images (the most frequent class is {self.majority_share:.0%})"
        balanced = f"balanced accuracy {self.balanced_accuracy:.0%}, chance {self.chance:.0%}"
        return f"Size, framing, intensity and compression alone tell the class of {score}; {balanced}."


def _area(facts: FileFacts) -> int:
    return facts.rows * facts.columns


def meta_features(facts: Sequence[FileFacts]) -> MetaFeatures:
    """Return what the facts of images say about files; columns that say the same of every image are left out."""
    numbers = [[np.nan if (v := value(fact)) is None else float(v) for value in _NUMBERS.values()] for fact in facts]
    coded = [word_feature(name, [value(fact) for fact in facts]) for name, value in _WORDS.items()]
    values = np.concatenate([np.array(numbers), *(feature.values for feature in coded)], axis=1)
    names = (*_NUMBERS, *_WORDS)
    words = {name: meant for feature in coded for name, meant in feature.words.items()}
    # An unknown value beside known ones is a difference too.
    varies = [column for column in range(len(names)) if len(np.unique(values[:, column])) > 1]
    kept = tuple(names[column] for column in varies)
    return MetaFeatures(kept, values[:, varies], {name: words[name] for name in kept if name in words})


def word_feature(name: str, words: Sequence[str]) -> MetaFeatures:
    """Return a single feature that is a word for every image, such as its source."""
    meant, codes = np.unique(np.array(words, dtype=str), return_inverse=True)
    return MetaFeatures((name,), codes[:, None].astype(np.float64), {name: tuple(meant.tolist())})


def shortcut_score(
    features: MetaFeatures, labels: Sequence[str], groups: Sequence[str], *, seed: int, progress: Progress | None = None
) -> Shortcut | None:
    """Return how far meta-features alone tell the class, by cross-validation over whole groups.

    The score is a lower bound: a network sees more of a file than these numbers.

    Args:
        features: Of every image.
        labels: Its class, or whatever else is to be told, such as its source.
        groups: What must not be learned from and measured on at once; where empty, the image stands for itself.
        seed: Of the folds, of the trees, and of the draw where there are more than `MOST_IMAGES`.
        progress: Called with (done, all) after every model that was cross-validated: one of all features, then one of each.

    Returns:
        None when nothing can be measured: no feature differs, there is one class, or a class has a single group.
    """
    names, target = np.unique(np.array(labels, dtype=str), return_inverse=True)
    group = np.unique([name or f"\0{row}" for row, name in enumerate(groups)], return_inverse=True)[1]
    rows = np.sort(np.random.default_rng(seed).permutation(len(target))[:MOST_IMAGES])
    features, target, group = features.at(rows), target[rows], group[rows]
    folds = min(_FOLDS, *(len(np.unique(group[target == number])) for number in range(len(names))), len(np.unique(group)))
    if not features.names or len(names) < 2 or folds < 2:
        return None
    cut = [
        pair for pair in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(target, target, group) if len(pair[1])
    ]
    if len(cut) < 2:
        return None
    answer = _answers(_forest(seed), features.values, target, cut)
    single = {}
    for column, name in enumerate(features.names):
        if progress is not None:
            progress(column + 1, len(features.names) + 1)
        alone = _answers(_stump(seed), features.values[:, [column]], target, cut)
        single[name] = float(balanced_accuracy_score(target, alone))
    if progress is not None:
        progress(len(features.names) + 1, len(features.names) + 1)
    recall = recall_score(target, answer, average=None, labels=range(len(names)), zero_division=0.0)
    return Shortcut(
        images=len(target),
        accuracy=float(accuracy_score(target, answer)),
        majority_share=max(Counter(target.tolist()).values()) / len(target),
        balanced_accuracy=float(balanced_accuracy_score(target, answer)),
        chance=1 / len(names),
        recall=dict(zip(names.tolist(), recall.tolist(), strict=True)),
        single=dict(sorted(single.items(), key=lambda item: -item[1])),
        differences=differences(features, names[target].tolist()),
    )


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(_TREES, min_samples_leaf=2, class_weight="balanced", n_jobs=-1, random_state=seed)


def _stump(seed: int) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=5, class_weight="balanced", random_state=seed)


def _answers(
    model: RandomForestClassifier | DecisionTreeClassifier,
    values: np.ndarray,
    target: np.ndarray,
    cut: Sequence[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    answer = np.empty_like(target)
    for learned, held_out in cut:
        answer[held_out] = model.fit(values[learned], target[learned]).predict(values[held_out])
    return answer


def differences(features: MetaFeatures, labels: Sequence[str]) -> tuple[Difference, ...]:
    """Return what each feature says about the class that stands out most, the widest gap first."""
    of_image = np.array(labels, dtype=str)
    found = [
        max((_difference(features, column, of_image, label) for label in np.unique(of_image).tolist()), key=lambda one: one.gap)
        for column in range(len(features.names))
    ]
    return tuple(sorted(found, key=lambda one: -one.gap))


def _difference(features: MetaFeatures, column: int, labels: np.ndarray, label: str) -> Difference:
    """Return the word, or the side of a bound, that is more often true of one class than of the others by most."""
    name, values = features.names[column], features.values[:, column]
    steps = np.unique(values[~np.isnan(values)])
    parts = values[labels == label], values[labels != label]
    until = [_share_until(steps, part) for part in parts]
    if name in features.words:
        candidates = [("", [np.diff(shares, prepend=0.0) for shares in until])]
    else:
        over = [np.mean(~np.isnan(part)) - shares if len(part) else shares for part, shares in zip(parts, until, strict=True)]
        candidates = [("at most", until), ("more than", over)]
    what, (share, others) = max(candidates, key=lambda side: float((side[1][0] - side[1][1]).max()))
    best = int((share - others).argmax())
    meant = f"{what} {steps[best]:.3g}" if what else features.words[name][int(steps[best])]
    return Difference(name, label, meant, float(share[best]), float(others[best]))


def _share_until(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the share of the values that are known and at most each step."""
    shares: np.ndarray = np.searchsorted(np.sort(values), steps, side="right") / max(1, len(values))
    return shares
