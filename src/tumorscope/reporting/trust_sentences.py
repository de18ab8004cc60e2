"""What a model's promises came to, in sentences for somebody who looks at one scan."""

from collections.abc import Mapping
from typing import Any

from tumorscope.reporting.report_tables import interval, number, percent, value_at

FEW_FOR_WORST = 30


def trust_sentences(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentences about one model's test images, the most important first.

    Args:
        content: Of `trust.json`; entries may be missing or None, which says less.
    """
    measured = content.get("all") or {}
    told = [
        _operating(content, measured),
        _calibration(measured),
        *_sets(content, measured),
        _refusal(content, measured),
        _selective(measured),
        _worst(measured),
    ]
    return tuple(sentence for sentence in told if sentence)


def warning_sentences(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader must know about the images that the promises were fitted on."""
    parts = content.get("folds") or [content]
    said = dict.fromkeys(sentence for part in parts for sentence in value_at(part, "fitted_on", "sentences") or ())
    patients = (
        "Every promise holds for images that are like those it was fitted on: from the same source, drawn as they were. It takes "
        "images as independent, which slices of one patient are not; and scans from elsewhere are promised nothing."
    )
    return (*said, patients)


def external_trust_sentences(name: str, trust: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the promises became on a set of scans from elsewhere.

    Args:
        name: Of the set.
        trust: What `external_trust` returned.
    """
    sensitivity, specificity, coverage = (trust.get(key) for key in ("sensitivity", "specificity", "coverage"))
    if sensitivity is None:
        return ()
    said = f"On {name}, scans from other sources, the operating point finds {percent(sensitivity)} of the tumours"
    said += f" and recognises {percent(specificity)} of the scans without one" if specificity is not None else ""
    said += f"; the prediction sets hold the truth for {percent(coverage)}" if coverage is not None else ""
    said += f", and {percent(trust['refused'])} of these scans are refused as unlike what it knows."
    caught = trust.get("wrong_refused")
    more = f"Refusal catches {percent(caught)} of the wrong answers there." if caught is not None else ""
    return tuple(sentence for sentence in (said, more, "None of the promises above was made for such scans.") if sentence)


def local_sentences(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a calibration on given images came to.

    Args:
        found: What `calibrate_on` returned.
    """
    tested = found["tested"]
    if tested is None:
        return (*found["sentences"], f"{found['groups']} groups of images are too few to test what is promised.")
    words = {
        "sensitivity": "finds {} of the tumours",
        "specificity": "recognises {} of the scans without one",
        "coverage": f"gives sets of {number(tested['set_size'], digits=2)} labels that hold the truth for {{}}",
        "refused": "and refuses {}",
    }
    said = ", ".join(what.format(percent(tested[key])) for key, what in words.items() if tested[key] is not None)
    tried = f"On {found['n']} images in five parts, each answered by a calibration on the other four, it {said}."
    return tuple(sentence for sentence in (*found["sentences"], _promise(found["operating_point"]), tried) if sentence)


def _operating(content: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    found, spared = value_at(measured, "operating_point", "sensitivity"), value_at(measured, "operating_point", "specificity")
    if not found or found.get("value") is None:
        return ""
    said = f"At its operating point it finds {percent(found['value'])}{_within(found)} of the tumours in the test images"
    if spared and spared.get("value") is not None:
        said += f" and recognises {percent(spared['value'])}{_within(spared)} of the scans without one"
    return said + ". " + _promise(content.get("operating_point"))


def _promise(point: Mapping[str, Any] | None) -> str:
    if not point:
        return ""
    if point["guaranteed"]:
        return (
            f"Promised was at least {percent(point['target'])}, with {percent(point['confidence'])} confidence, from "
            f"{point['n_tumours']} tumours of which {point['missed']} lie below the threshold."
        )
    return (
        f"Its {point['n_tumours']} calibration tumours are too few to promise {percent(point['target'])}: they promise "
        f"{percent(point['reachable_target'])}, with {percent(point['confidence'])} confidence."
    )


def _calibration(measured: Mapping[str, Any]) -> str:
    after, before = value_at(measured, "calibration", "after"), value_at(measured, "calibration", "before")
    error, was = (value_at(one, "top_label", "equal_mass") for one in (after, before))
    if not error or not was:
        return ""
    said = (
        f"Its probabilities are off by {percent(error['ece'])} on average ({percent(was['ece'])} before calibration; "
        f"{percent(error['expected_if_calibrated'])} is what chance alone would give on so many images)."
    )
    confidence, accuracy = after["confidence"]["value"], after["accuracy"]["value"]
    return said + f" It is on average {percent(confidence)} sure and right on {percent(accuracy)}."


def _sets(content: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    level, conditional = content.get("level", 0.95), content.get("conditional", False)
    rows = [row for row in measured.get("sets") or () if row["promised"] == level and row["conditional"] == conditional]
    if not rows:
        return []
    [row] = rows
    coverage, size = row["coverage"]["by_image"]["value"], row["size"]["by_image"]["value"]
    said = f"Its {percent(level)} prediction sets hold the truth for {percent(coverage)} of the test images"
    band = row.get("band")
    if band:
        inside = band[0] <= coverage <= band[1]
        said += f", {'within' if inside else 'outside of'} the {percent(band[0])} to {percent(band[1])} that theory gives"
    said += f"; they name {size:.2f} labels on average, and one alone for {percent(row['singletons'])}."
    return [said]


def _refusal(content: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    refused = measured.get("refused")
    if refused is None:
        return ""
    kept = value_at(content, "fitted_on", "promises", "kept")
    expected = f" ({percent(1 - kept)} are expected)" if kept else ""
    return f"It refuses {percent(refused)} of the test images as unlike what it knows{expected}."


def _selective(measured: Mapping[str, Any]) -> str:
    at = value_at(measured, "selective", "accuracy_at") or {}
    told = [f"{percent(found['value'])} on the surest {percent(float(share))}" for share, found in at.items()]
    return f"Its answers are right for {', '.join(told)}." if told else ""


def _worst(measured: Mapping[str, Any]) -> str:
    rows = [
        row
        for row in measured.get("subgroups") or ()
        if row["by"] != "all" and row["groups"] >= FEW_FOR_WORST and value_at(row, "accuracy", "value") is not None
    ]
    if not rows:
        return ""
    lowest = min(rows, key=lambda row: (row["accuracy"]["value"], row["part"]))
    return (
        f"It is weakest on {lowest['by']} “{lowest['part']}”: right on {percent(lowest['accuracy']['value'])}"
        f"{_within(lowest['accuracy'])} of {lowest['n']} images."
    )


def _within(found: Mapping[str, Any]) -> str:
    bounds = interval(found.get("interval"))
    return f" ({bounds})" if bounds else ""
