"""Measured heatmaps in plain sentences that say as readily that a baseline is better as that the map is.

A baseline counts as beaten only where it lies outside the interval of the map on the worse side. The content is that of
`explanation.json`; what is missing there is not spoken of.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tumorscope.reporting.explanation_tables import (
    ORDER,
    REMOVAL,
    Unit,
    cell_text,
    interval_text,
    standing,
    standings,
)
from tumorscope.reporting.report_tables import percent, value_at

Content = Mapping[str, Any]

RIVALS = {
    "centred_gaussian": "a centred spot that never saw the scan",
    "brightest_region": "the brightest region of the scan",
    "edges": "the edges of the scan",
    "random_network": "a network that learned nothing",
}
ORDERS = {"random_order": "a random order", "centre": "an order from the centre outwards"}
LITTLE_LEFT, MOST_LEFT = 0.2, 0.5
"""Rank correlation with the real map below which a map of random weights counts as another one, and from which on as the same."""


def model_sentences(content: Content) -> tuple[str, ...]:
    """Return what was measured of one model's heatmaps, the most important first.

    Args:
        content: Content of `explanation.json`.
    """
    parts = (_without_masks, _peak, _near, _right_and_wrong_peaks, _energy, _removal, _order, _random, _stable, _repeated, _wrong)
    return tuple(sentence for part in parts for sentence in part(content))


def threshold_sentence(content: Content) -> str | None:
    """Return where the threshold of Dice and intersection over union comes from, or None where it is not known."""
    value = value_at(content, "threshold", "value")
    if value is None:
        return None
    chosen_on, count = value_at(content, "threshold", "chosen_on"), value_at(content, "threshold", "n")
    where = f", chosen on {chosen_on}" if chosen_on else ""
    return f"Dice and intersection over union are taken at a threshold of {value:.3g}{where}" + (
        f" ({count:,} scans)." if count else "."
    )


def verdict(
    metric: Mapping[str, Any], rivals: Mapping[str, str], unit: Unit, *, more_is_better: bool = True
) -> tuple[str, bool | None]:
    """Return how a map stands to its baselines in one sentence, and whether it beats every one of them.

    Args:
        metric: Cell with `baselines`.
        rivals: Baseline to what it is called in a sentence.
        unit: Of all values.
        more_is_better: Whether the better of two values is the higher.

    Returns:
        The sentence, empty without any baseline; and None where nothing can be said.
    """
    known = [name for name in rivals if value_at(metric, "baselines", name, "value") is not None]
    named = {name: f"{rivals[name]} ({cell_text(value_at(metric, 'baselines', name), unit)})" for name in known}
    if not known:
        return "", None
    results = standings(metric, known, more_is_better=more_is_better)
    if not results:
        return f"No interval is known, so it stays open whether the map beats {_joined(list(named.values()))}.", None
    sorted_names = {result: [named[name] for name in known if results[name] == result] for result in ("loses", "ties", "beats")}
    words = {"loses": "does worse than", "ties": "cannot be told from", "beats": "beats"}
    clauses = [f"{words[result]} {_joined(names)}" for result, names in sorted_names.items() if names]
    return f"The map {_joined(clauses, last=', and ', between='; ')}.", len(sorted_names["beats"]) == len(known)


def _without_masks(content: Content) -> Iterator[str]:
    if content.get("with_mask") == 0:
        yield "No scan has an outline of its tumour, so nothing here says whether the map falls on one."


def _peak(content: Content) -> Iterator[str]:
    metric = _known(content, "pointing_game")
    if metric is None:
        return
    said = f"The peak of the map lies inside the tumour in {_said(metric, 'share')}{_of_scans(metric, 'outlined scan')}."
    usual = value_at(metric, "baselines", "drawn_as_usual")
    if value_at(usual, "value") is not None:
        said += f" Stretched over the scan as usual, without asking where the network's cells lie: {_said(usual, 'share')}."
    yield said
    sentence, beats_all = verdict(metric, RIVALS, "share")
    if beats_all is True:
        elsewhere = percent(1 - metric["value"])
        sentence += f" So it owes something to the tumour and to what was learned; in {elsewhere} the peak lies elsewhere."
    elif beats_all is False:
        sentence += " A map that does not beat the baselines has not been shown to be about the tumour."
    if sentence:
        yield sentence


def _near(content: Content) -> Iterator[str]:
    metric = _known(content, "pointing_game_15px")
    if metric is not None:
        sentence, _ = verdict(metric, RIVALS, "share")
        yield f"The peak lies inside or within 15 pixels of the outline in {_said(metric, 'share')}. {sentence}".strip()


def _right_and_wrong_peaks(content: Content) -> Iterator[str]:
    right, wrong = (value_at(content, "pointing_game", name) for name in ("correct", "incorrect"))
    if value_at(right, "value") is not None and value_at(wrong, "value") is not None:
        yield (
            f"Where the answer is right the peak lies inside in {_said(right, 'share')}{_of_scans(right, 'scan')}, "
            f"where it is wrong in {_said(wrong, 'share')}{_of_scans(wrong, 'scan')}."
        )


def _energy(content: Content) -> Iterator[str]:
    metric, even = _known(content, "energy_inside"), _known(content, "mask_share")
    if metric is None:
        return
    said = f"Of the whole map {_said(metric, 'share')} lies inside the outline"
    if even is not None:
        said += f", of the picture {cell_text(even, 'share')}"
        result = standing(metric, even, more_is_better=True)
        ends = {"beats": ": more than an even map would have there", "ties": ": no more than an even map would have there"}
        said += ends.get(result or "", ": less than an even map would have there" if result else "")
    yield f"{said}."


def _removal(content: Content) -> Iterator[str]:
    words = {
        "tumour_inpainted_drop": ("Painting the tumour over", "painting over"),
        "tumour_blurred_drop": ("Blurring the tumour", "blurring"),
    }
    for name in REMOVAL:
        metric = _known(content, name)
        if metric is None:
            continue
        first, again = words[name]
        said = f"{first} {_change(metric, 'the probability of the answer')}"
        elsewhere = value_at(metric, "baselines", "elsewhere")
        if value_at(elsewhere, "value") is None:
            yield f"{said}."
            continue
        ends = {
            "beats": "The answer rests on the tumour more than on other places.",
            "ties": "The difference is within the interval: it was not shown that the answer rests on the tumour.",
            "loses": "Other places matter more to the answer than the tumour does.",
        }
        result = standing(metric, elsewhere, more_is_better=True)
        yield f"{said}; {again} as much elsewhere {_change(elsewhere, 'it')}. {ends.get(result or '', '')}".strip()


def _order(content: Content) -> Iterator[str]:
    starts = {
        "deletion_auc": "Blurring the scan in the order of the map leaves the answer a mean probability of {} (less is better).",
        "insertion_auc": "Bringing back a blurred scan in the order of the map gives the answer {} on average (more is better).",
    }
    for name, start in starts.items():
        metric = _known(content, name)
        if metric is None:
            continue
        sentence, beats_all = verdict(metric, ORDERS, "score", more_is_better=ORDER[name].more_is_better)
        ends = {True: "It marks places that matter to the answer.", False: "So it was not shown to mark what the answer rests on."}
        said = start.format(_said(metric, "score"))
        yield " ".join(part for part in (said, sentence, "" if beats_all is None else ends[beats_all]) if part)


def _random(content: Content) -> Iterator[str]:
    layers = [
        layer
        for layer in value_at(content, "randomisation", "layers") or ()
        if value_at(layer, "rank_correlation", "value") is not None
    ]
    if not layers:
        return
    first, last = layers[0]["rank_correlation"], layers[-1]["rank_correlation"]
    said = f"With random weights in “{layers[0].get('layer')}” the rank correlation with the real map is {_said(first, 'change')}"
    if len(layers) > 1:
        said += f", with random weights from there down to “{layers[-1].get('layer')}” {_said(last, 'change')}"
    left = abs(last["value"])
    if left < LITTLE_LEFT:
        end = "Hardly anything of the map is left: it depends on what was learned, as it must."
    elif left < MOST_LEFT:
        end = "Part of the map is left, and that part does not come from what was learned."
    else:
        end = "Most of the map is left without anything learned: it shows the picture rather than what the network knows."
    yield f"{said}. {end}"


def _stable(content: Content) -> Iterator[str]:
    names = {"flip": "the scan mirrored", "rotation": "the scan turned a little", "noise": "noise added"}
    found = {words: value_at(content, "stability", name) for name, words in names.items()}
    said = [
        f"{_said(cells.get('rank_correlation'), 'change')} with {words}"
        + (
            f" (same answer in {cell_text(same, 'share')})"
            if value_at(same := cells.get("same_answer"), "value") is not None
            else ""
        )
        for words, cells in found.items()
        if value_at(cells, "rank_correlation", "value") is not None
    ]
    if said:
        yield f"The map agrees with itself, as rank correlation: {_joined(said)}; 1 is the same map."


def _repeated(content: Content) -> Iterator[str]:
    repeated = content.get("repeatability")
    if repeated is None or _known(repeated, "rank_correlation") is None:
        return
    against = repeated.get("against") or "another training"
    said = f"Against {against} its rank correlation is {_said(repeated['rank_correlation'], 'change')}"
    apart = repeated.get("peak_distance_px")
    yield said + (f", and the peaks lie {_said(apart, 'px')} pixels apart." if value_at(apart, "value") is not None else ".")


def _wrong(content: Content) -> Iterator[str]:
    yield from map(str, value_at(content, "correct_and_incorrect", "sentences") or ())


def _known(content: Content, name: str) -> Mapping[str, Any] | None:
    """A metric that has a value."""
    metric = content.get(name)
    return None if value_at(metric, "value") is None else metric


def _said(cell: Mapping[str, Any] | None, unit: Unit) -> str:
    bounds = interval_text(cell, unit)
    return cell_text(cell, unit) + (f" ({bounds})" if bounds else "")


def _change(cell: Mapping[str, Any], what: str) -> str:
    """`lowers ... by`, or `raises ... by` for a negative drop, whose interval then changes signs and sides."""
    if cell["value"] >= 0:
        return f"lowers {what} by {_said(cell, 'change')}"
    bounds = value_at(cell, "interval")
    turned = None if bounds is None else [None if bound is None else -bound for bound in reversed(bounds)]
    return f"raises {what} by {_said({'value': -cell['value'], 'interval': turned}, 'change')}"


def _of_scans(cell: Mapping[str, Any] | None, noun: str) -> str:
    count = value_at(cell, "n")
    return "" if count is None else f" of {count:,} {noun}{'' if count == 1 else 's'}"


def _joined(parts: Sequence[str], *, last: str = " and ", between: str = ", ") -> str:
    return parts[0] if len(parts) == 1 else between.join(parts[:-1]) + last + parts[-1]
