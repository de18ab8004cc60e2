import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from tumorscope import DISCLAIMER
from tumorscope.errors import FindingError
from tumorscope.finding import Finding, Heatmap, ModelStamp
from tumorscope.finding_schema import finding_schema

SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "finding.schema.json"


@pytest.fixture
def finding():
    rng = np.random.default_rng(0)
    return Finding(
        path="scans/<b>one</b>.png",
        sha256="a" * 64,
        shape=(5, 7),
        spacing_mm=(0.1 + 0.2, 0.5),
        probabilities={"glioma": 0.1, "meningioma": 0.7, "notumor": 1 / 7, "pituitary": 0.2 - 1 / 7},
        prediction_set=("meningioma", "notumor"),
        recommended="notumor",
        familiarity=-1.25,
        refusal=None,
        heatmap=Heatmap(
            "Grad-CAM", "notumor", 0.3, (1 / 3, 2.0), rng.random((5, 7)).astype(np.float32), np.zeros((5, 7), np.uint8)
        ),
        model=ModelStamp("cnn", "b" * 64, "c" * 64, calibrated=True),
        preprocessing={"image_size": 64, "mean": [0.485, 0.456, 0.406]},
        framing={"top": 0, "left": 0, "rows": 5, "columns": 7},
        versions={"tumorscope": "0.1.0"},
        warnings=("It is small.",),
    )


def through_json(content):
    return json.loads(json.dumps(content, allow_nan=False))


@pytest.mark.parametrize("with_heatmap", [False, True])
def test_a_finding_read_back_is_equal_to_the_last_bit(finding, with_heatmap):
    content = through_json(finding.to_json(with_heatmap=with_heatmap))
    again = Finding.from_json(content)
    assert again == finding
    assert through_json(again.to_json(with_heatmap=with_heatmap)) == content
    assert (again.heatmap.values is not None) == with_heatmap
    if with_heatmap:
        assert again.heatmap.values.tobytes() == finding.heatmap.values.tobytes()


def test_a_finding_with_nothing_but_an_answer_reads_back_too(finding):
    bare = replace(
        finding,
        spacing_mm=None,
        prediction_set=None,
        familiarity=None,
        refusal="unlike",
        heatmap=Heatmap("Grad-CAM", "notumor", 0.0, None),
        warnings=(),
    )
    content = through_json(bare.to_json(with_heatmap=True))
    assert Finding.from_json(content) == bare
    assert content["refused"] is True
    assert "values" not in content["heatmap"]


def test_the_most_probable_label_is_not_always_the_recommended_one(finding):
    content = finding.to_json()
    assert (content["most_probable"], content["recommended"]) == ("meningioma", "notumor")
    assert content["disclaimer"] == DISCLAIMER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "version 2"),
        ({"refused": "no"}, "refused"),
        ({"shape": [5]}, "shape"),
        ({"probabilities": {"glioma": 1.0}}, "four"),
        ({"probabilities": {"glioma": 0.5, "meningioma": 0.5, "notumor": 0.5, "pituitary": 0.5}}, "sum"),
        ({"recommended": "cyst"}, "cyst"),
        ({"heatmap": {"method": "x", "label": "glioma", "highest": 1.0, "peak": None, "values": "AAAA"}}, "5 x 7"),
    ],
)
def test_what_is_no_finding_of_this_version_is_refused_with_a_reason(finding, change, message):
    with pytest.raises(FindingError, match=message):
        Finding.from_json({**through_json(finding.to_json()), **change})


@pytest.mark.parametrize("content", [None, [], "finding", {}])
def test_other_json_is_refused(content):
    with pytest.raises(FindingError, match="version"):
        Finding.from_json(content)


def test_a_finding_cannot_be_built_with_a_familiarity_that_is_no_number(finding):
    with pytest.raises(FindingError, match="familiarity"):
        replace(finding, familiarity=float("nan"))


def test_the_published_schema_is_the_code():
    """To make it anew: `python -c` with `json.dumps(finding_schema(), indent=1)` and a line break at the end."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json.dumps(finding_schema(), indent=1) + "\n"


def test_the_schema_asks_for_every_field_that_is_written_and_knows_no_other(finding):
    schema = finding_schema()
    content = through_json(finding.to_json(with_heatmap=True))
    assert set(schema["properties"]) == set(schema["required"]) == set(content)
    assert set(schema["$defs"]["MapJson"]["properties"]) == set(content["heatmap"])
    assert set(schema["$defs"]["MapJson"]["required"]) == set(content["heatmap"]) - {"values"}
    assert TypeAdapter(dict).validate_python(schema)["$schema"].startswith("https://json-schema.org/")


def test_a_notebook_shows_scan_and_overlay_and_escapes_what_files_are_called(finding):
    page = finding._repr_html_()
    assert page.count("data:image/png;base64,") == 2
    assert "<b>one</b>" not in page
    assert "&lt;b&gt;one" in page
    assert DISCLAIMER in page
    assert "It is small." in page
    assert "data:image" not in replace(finding, heatmap=replace(finding.heatmap, values=None))._repr_html_()


def test_a_refused_finding_says_so_first_and_an_uncalibrated_model_is_called_so(finding):
    refused = replace(finding, refusal="the scan is strange", model=replace(finding.model, calibrated=False))
    assert refused.sentences()[0] == "Refused: the scan is strange."
    assert any("not calibrated" in sentence for sentence in refused.sentences())
    assert not any("not calibrated" in sentence for sentence in finding.sentences())


def test_a_finding_in_a_notebook_takes_its_colours_from_the_page_and_shows_probabilities_as_bars(finding):
    page = finding._repr_html_()
    assert not re.search(r"#[0-9a-f]{3,6}\b|\brgb|white|black", re.sub(r'src="[^"]*"', "", page))
    assert [float(width) for width in re.findall(r"width:([\d.]+)%;height", page)] == [10.0, 70.0, 14.3, 5.7]
    assert page.index("Answer: no tumour") < page.index("<img") < page.index("It is small.")


def test_a_finding_prints_as_words(finding):
    lines = str(finding).splitlines()
    assert lines[0] == "scans/<b>one</b>.png (5 x 7 pixels)"
    assert [line.split()[-1] for line in lines[1:5]] == ["0.100", "0.700", "0.143", "0.057"]
    assert tuple(lines[5:]) == finding.sentences()
