import copy

import pytest
from page_reader import Page
from trust_content import trust_content

from tumorscope import DISCLAIMER
from tumorscope.errors import EvaluationError
from tumorscope.reporting.trust_report import TrustedModel, TrustPage, write_trust_page
from tumorscope.reporting.trust_sentences import external_trust_sentences, trust_sentences, warning_sentences
from tumorscope.reporting.trust_tables import ALL, NEW, operating_rows, parts_of, promise_rows, subgroup_table

EXTERNAL = {
    "n": 40.0,
    "sensitivity": 0.9,
    "specificity": 0.5,
    "coverage": 0.7,
    "set_size": 1.4,
    "ece": 0.21,
    "accuracy": 0.6,
    "refused": 0.3,
    "accuracy_kept": 0.7,
    "sensitivity_kept": 0.95,
    "wrong_refused": 0.4,
    "models": 1,
    "sources": {},
    "halves": {"choosing": None, "final": None},
}


@pytest.fixture(scope="module")
def content():
    return trust_content()


def test_the_first_sentence_is_about_tumours_found_and_says_what_was_promised(content):
    first = trust_sentences(content)[0]
    found = content["all"]["operating_point"]["sensitivity"]["value"]
    assert first.startswith(f"At its operating point it finds {found:.1%}"[:-1])
    assert "Promised was at least 99.0 %, with 95.0 % confidence" in first


def test_a_coverage_outside_of_what_theory_allows_is_called_so(content):
    assert any("within the" in sentence for sentence in trust_sentences(content))
    changed = copy.deepcopy(content)
    row = next(row for row in changed["all"]["sets"] if row["promised"] == 0.95 and not row["conditional"])
    row["band"] = [0.1, 0.2]
    assert any("outside of the 10.0 % to 20.0 %" in sentence for sentence in trust_sentences(changed))


def test_too_few_tumours_promise_less_and_say_so():
    few = trust_content(held=40, split="validation")
    assert any("30 calibration tumours are too few to promise 99.0 %" in sentence for sentence in trust_sentences(few))
    warnings = warning_sentences(few)
    assert any("40 validation images" in sentence for sentence in warnings)
    assert "independent" in warnings[-1]


def test_nothing_measured_says_nothing():
    assert trust_sentences({}) == ()
    assert external_trust_sentences("far", {}) == ()


def test_scans_from_elsewhere_are_promised_nothing():
    said = external_trust_sentences("cross-source", EXTERNAL)
    assert "finds 90.0 % of the tumours and recognises 50.0 %" in said[0]
    assert "catches 40.0 % of the wrong answers" in said[1]
    assert said[-1].startswith("None of the promises")


def test_tables_have_a_line_for_every_part_of_every_model(content):
    assert [name for name, _ in parts_of(content)] == [ALL, NEW]
    rows = promise_rows([("One", content), ("Two", content)])
    assert len(rows) == 6
    assert [line.who for line in rows[0].lines] == [f"One, {ALL}", f"One, {NEW}", f"Two, {ALL}", f"Two, {NEW}"]
    [row] = operating_rows([("One", content)])
    assert row.lines[0].cells[1].text == "at least 99.0 %"
    assert next(row.title for row in subgroup_table(content)) == "all images"


def test_the_page_says_everything_and_links_nowhere(content, tmp_path):
    model = TrustedModel("cnn", content, {"cross-source": EXTERNAL})
    page = TrustPage("2026-01-01T00:00:00+00:00", (model,), synthetic=True)
    write_trust_page(page, tmp_path / "trust.html", {"cnn": tmp_path / "figures"})
    text = (tmp_path / "trust.html").read_text()
    assert DISCLAIMER in text
    assert "How far can you trust it?" in text
    assert "CNN from scratch: cross-source" in text
    assert "http" not in text.replace("http-equiv", "")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["promises.png"]
    assert all(address.startswith("data:") for address in Page(text).attributes("img", "src"))


def test_a_page_without_models_or_with_one_twice_is_refused(content):
    model = TrustedModel("cnn", content)
    for models in ((), (model, model)):
        with pytest.raises(EvaluationError, match="at least one model"):
            TrustPage("now", models)
