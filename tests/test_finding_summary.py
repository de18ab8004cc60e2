import json
from dataclasses import replace

import pytest

from tumorscope import DISCLAIMER
from tumorscope.errors import FindingError
from tumorscope.finding import Finding, Heatmap, ModelStamp
from tumorscope.finding_summary import NOTE, SliceSummary, SuspiciousSlice
from tumorscope.labels import LABELS


def finding_of(number, *probabilities, recommended=None, refusal=None):
    label = recommended or max(zip(probabilities, LABELS, strict=True))[1]
    return Finding(
        path=f"head.nii.gz#axial:{number}",
        sha256="a" * 64,
        shape=(5, 7),
        spacing_mm=None,
        probabilities=dict(zip(LABELS, probabilities, strict=True)),
        prediction_set=None,
        recommended=label,
        familiarity=None,
        refusal=refusal,
        heatmap=Heatmap("Grad-CAM", label, 0.0, None),
        model=ModelStamp("cnn", "b" * 64, "c" * 64, calibrated=False),
        preprocessing={},
        framing={},
        versions={},
    )


SLICES = (
    finding_of(10, 0.5, 0.25, 0.25, 0.0),
    finding_of(11, 0.25, 0.25, 0.125, 0.375),  # no label is as probable as the first one's, and a tumour is more so
    finding_of(12, 0.0, 0.0, 1.0, 0.0),
    finding_of(13, 1.0, 0.0, 0.0, 0.0, refusal="unlike"),
    finding_of(14, 0.25, 0.25, 0.125, 0.375, recommended="notumor"),
)


def test_slices_are_counted_by_what_they_say_and_refused_ones_apart():
    summary = SliceSummary.of(SLICES)
    assert summary.recommended == {"glioma": 1, "meningioma": 0, "notumor": 2, "pituitary": 1}
    assert (summary.slices, summary.refused, summary.unread) == (5, 1, 0)


def test_the_most_suspicious_slice_is_the_first_with_the_highest_tumour_probability_that_is_not_refused():
    assert SliceSummary.of(SLICES).most_suspicious == SuspiciousSlice(1, "head.nii.gz#axial:11", 0.875, "pituitary", refused=False)


def test_where_all_slices_are_refused_the_most_suspicious_is_one_of_all():
    summary = SliceSummary.of([replace(finding, refusal="unlike") for finding in SLICES])
    assert summary.most_suspicious == SuspiciousSlice(3, "head.nii.gz#axial:13", 1.0, "glioma", refused=True)
    assert (summary.refused, sum(summary.recommended.values())) == (5, 0)
    assert "refused, tumour probability 1.000" in summary.sentences()[1]
    assert str(summary).splitlines() == list(summary.sentences())


def test_a_summary_says_that_it_is_no_volumetric_diagnosis_in_words_and_json():
    summary = SliceSummary.of(SLICES, unread=2, notes=["Ordered by InstanceNumber."])
    content = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert "no volumetric diagnosis" in NOTE
    assert (content["note"], content["disclaimer"]) == (NOTE, DISCLAIMER)
    assert content["most_suspicious"]["index"] == 1
    assert content["recommended"] == dict(summary.recommended)
    assert (content["unread"], content["notes"]) == (2, ["Ordered by InstanceNumber."])
    assert summary.sentences() == (
        "5 slices: 1 glioma, 0 meningioma, 2 no tumour, 1 pituitary tumour; 1 refused. 2 more could not be read.",
        "Most suspicious slice: head.nii.gz#axial:11, pituitary tumour, tumour probability 0.875.",
        "Ordered by InstanceNumber.",
        NOTE,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slices": 4}, "4 slices"),
        ({"refused": 2}, "2 refused"),
        ({"unread": -1}, "from 0"),
        ({"recommended": {"glioma": 4}}, "meningioma"),
        ({"most_suspicious": SuspiciousSlice(5, "x", 0.5, "glioma", refused=False)}, "slice 5"),
        ({"most_suspicious": SuspiciousSlice(3, "x", 0.5, "glioma", refused=True)}, "refused slice"),
    ],
)
def test_a_summary_that_contradicts_itself_cannot_be_built(change, message):
    with pytest.raises(FindingError, match=message):
        replace(SliceSummary.of(SLICES), **change)


def test_no_slices_have_no_summary_and_a_suspicion_is_of_a_known_label_and_probability():
    with pytest.raises(FindingError, match="no slices"):
        SliceSummary.of([])
    with pytest.raises(FindingError, match="cyst"):
        SuspiciousSlice(0, "x", 0.5, "cyst", refused=False)
    with pytest.raises(FindingError, match=r"1\.5"):
        SuspiciousSlice(0, "x", 1.5, "glioma", refused=False)
