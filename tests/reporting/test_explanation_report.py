import numpy as np
import pytest
from page_reader import Page

from tumorscope import DISCLAIMER
from tumorscope.errors import EvaluationError, OutputError
from tumorscope.reporting import figures
from tumorscope.reporting.explanation_report import (
    CaptionedScan,
    ExplainedModel,
    ExplanationPage,
    render_explanation_page,
    write_explanation_page,
)

SECTIONS = ["words", "where", "matters", "trust", "wrong", "methods", "pictures", "how"]


@pytest.fixture
def quick(monkeypatch):
    """Draws no pixels: for tests of the text."""
    monkeypatch.setattr(figures, "png_bytes", lambda figure: b"png")


@pytest.fixture
def make_page(make_content, make_scan, make_four_maps):
    """Builder of a page on two models; keywords replace its fields."""

    def build(**changes):
        panels = (
            CaptionedScan(make_scan(), "best: 71.4 % inside"),
            CaptionedScan(make_scan(path="test/glioma/2.png", heatmap=np.ones((12, 10), dtype=np.float32)), "worst: 0.0 % inside"),
            CaptionedScan(make_scan(label="pituitary"), "median: 12.3 % inside"),
        )
        models = (
            ExplainedModel("mobilenet_v2", make_content(), panels, make_four_maps()),
            ExplainedModel("cnn", make_content(notes=None)),
        )
        values = {
            "title": "Heatmaps",
            "created": "2030-01-02T03:04:05+00:00",
            "split": "test",
            "headline": ("The map is worth little.",),
            "models": models,
        }
        return ExplanationPage(**values | changes)

    return build


def test_every_section_is_there_in_order_and_the_contents_lead_to_it(make_page, quick):
    page = Page(render_explanation_page(make_page()))
    assert page.attributes("section", "id") == SECTIONS
    assert page.attributes("a", "href") == [f"#{name}" for name in SECTIONS]


def test_the_page_says_what_it_is_then_sentences_then_tables(make_page, quick):
    text = Page(render_explanation_page(make_page())).text
    words = (DISCLAIMER, "The map is worth little.", "The peak of the map lies inside", "Baselines beaten", "best: 71.4 % inside")
    places = [text.index(part) for part in words]
    assert places == sorted(places)


def test_nothing_on_the_page_leads_outside(make_page, quick):
    html = render_explanation_page(make_page())
    page = Page(html)
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("img", "src"))
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("image", "href"))
    assert all(source.startswith("#") for source in page.attributes("use", "href"))


def test_the_policy_allows_the_script_of_the_sliders_and_nothing_else(make_page, quick):
    page = Page(render_explanation_page(make_page()))
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert page.may_run_its_script()


def test_every_group_of_overlays_has_a_labelled_slider_that_needs_the_script_and_starts_at_the_default(make_page, quick):
    page = Page(render_explanation_page(make_page()))
    sliders = [attributes for tag, attributes in page.tags if tag == "input"]
    labels = [attributes for tag, attributes in page.tags if tag == "label"]
    assert len(sliders) == len(labels) == 3
    assert all(slider == sliders[0] for slider in sliders)
    assert (sliders[0]["type"], sliders[0]["min"], sliders[0]["max"], sliders[0]["value"]) == ("range", "0", "100", "75")
    assert all("hidden" in label for label in labels)
    assert page.text.count("Opacity of the map") == 3
    assert "opacity: var(--opacity, .75)" in render_explanation_page(make_page())


def test_models_stand_side_by_side_in_every_table(make_page, quick):
    text = Page(render_explanation_page(make_page())).text
    assert text.count("CNN from scratch") > 10
    assert text.count("13.6 %") > 2


def test_a_single_model_is_not_named_in_every_line(make_page, make_content, quick):
    page = Page(render_explanation_page(make_page(models=(ExplainedModel("cnn", make_content()),))))
    assert page.attributes("section", "id") == [name for name in SECTIONS if name != "pictures"]
    assert "who" not in page.attributes("td", "class")
    assert "script" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("content", [{}, {"pointing_game": None, "curves": {"shares": None}, "randomisation": {"layers": []}}])
def test_what_was_not_measured_is_left_out(make_page, content, quick):
    page = Page(render_explanation_page(make_page(models=(ExplainedModel("cnn", content),), headline=())))
    assert page.attributes("section", "id") == ["words", "how"]
    assert "Nothing was measured." in page.text
    assert "None" not in page.text
    assert page.attributes("img", "src") == []


def test_special_characters_stay_text(make_page, make_content, make_scan, quick):
    odd = "<script>alert('x')</script>&\"$"
    content = make_content(notes=[odd], repeatability={"against": odd, "rank_correlation": {"value": 0.5}})
    content["randomisation"]["layers"][0]["layer"] = odd
    model = ExplainedModel("cnn", content, (CaptionedScan(make_scan(path=odd), odd),))
    html = render_explanation_page(make_page(models=(model,), title=odd, headline=(odd,)))
    assert "<script>alert" not in html
    page = Page(html)
    assert page.text.count(odd) >= 6
    assert page.may_run_its_script()


def test_every_picture_has_words_for_those_who_cannot_see_it(make_page, quick):
    page = Page(render_explanation_page(make_page()))
    words = page.attributes("img", "alt")
    words += [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(words) == 6 + 2 * 3 + 5
    assert "Grad-CAM of meningioma, probability 0.500, the map is highest at row 5, column 5" in " ".join(words)
    assert "Pointing game of MobileNetV2: 13.6 % of all scans. Glioma 6.0 %" in " ".join(words)


def test_synthetic_scans_are_called_so_on_the_page_and_on_every_figure(make_page, monkeypatch):
    lines = []
    monkeypatch.setattr(figures, "png_bytes", lambda figure: lines.append(figure.get_supxlabel()) or b"png")
    assert "made up" in render_explanation_page(make_page(synthetic=True))
    assert len(lines) == 9
    assert all("synthetic data" in line and "not a medical device" in line for line in lines)


def test_the_page_and_its_figures_are_written_and_older_figures_of_its_own_removed(make_page, tmp_path):
    folders = {"mobilenet_v2": tmp_path / "m", "cnn": tmp_path / "c"}
    folders["mobilenet_v2"].mkdir()
    for name in ("explained_meningioma.png", "confusion_matrix.png"):
        (folders["mobilenet_v2"] / name).write_bytes(b"older")
    write_explanation_page(make_page(), tmp_path / "explanation.html", folders)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    charts = {f"{folder}/{name}.png" for folder in "mc" for name in ("pointing_game", "order_curves", "randomisation")}
    own = {f"m/{name}.png" for name in ("explained_glioma", "explained_pituitary", "four_maps", "confusion_matrix")}
    assert found == {"explanation.html"} | charts | own
    assert (tmp_path / "m" / "confusion_matrix.png").read_bytes() == b"older"


def test_a_model_without_a_figure_folder_is_refused_before_anything_is_written(make_page, tmp_path):
    with pytest.raises(OutputError, match="'cnn'"):
        write_explanation_page(make_page(), tmp_path / "explanation.html", {"mobilenet_v2": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_models_or_with_one_twice_is_refused(make_page):
    with pytest.raises(EvaluationError, match="at least one model"):
        make_page(models=())
    with pytest.raises(EvaluationError, match="no name twice"):
        make_page(models=(ExplainedModel("cnn", {}), ExplainedModel("cnn", {})))
