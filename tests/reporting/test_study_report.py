import base64
from pathlib import Path

import numpy as np
import pytest
from page_reader import Page

from tumorscope import DISCLAIMER
from tumorscope.errors import OutputError
from tumorscope.labels import LABELS
from tumorscope.reporting import figures, heatmap_figures
from tumorscope.reporting.study_report import SHARED, render_report, write_report

SECTIONS = [
    "comparison",
    "tumours",
    "paired",
    "confusion",
    "training",
    "curves",
    "grad-cam",
    "attention",
    "mistakes",
    "data",
    "augmentation",
    "how",
]


@pytest.fixture
def quick(monkeypatch):
    """Draws no pixels: for tests of the text."""
    monkeypatch.setattr(figures, "png_bytes", lambda figure: b"png")


def folders(root: Path) -> dict[str, Path]:
    return {SHARED: root / "figures", "mobilenet_v2": root / "m" / "figures", "cnn": root / "c" / "figures"}


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_every_section_is_there_in_order_and_the_contents_lead_to_it(make_study, quick):
    page = Page(render_report(make_study()))
    assert page.attributes("section", "id") == SECTIONS
    assert page.attributes("a", "href") == [f"#{name}" for name in SECTIONS]


def test_the_page_says_what_it_is_before_any_number(make_study, quick):
    text = Page(render_report(make_study())).text
    places = [text.index(words) for words in (DISCLAIMER, "Nine of the test scans are copies.", "34 of 40 test scans", "0.800")]
    assert places == sorted(places)


def test_nothing_on_the_page_leads_outside(make_study, quick):
    html = render_report(make_study())
    page = Page(html)
    assert "http://" not in html
    assert "https://" not in html
    assert "//" not in "".join(page.attributes("a", "href"))
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("img", "src"))
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("image", "href"))
    assert all(source.startswith("#") for source in page.attributes("use", "href"))
    assert "url(" not in html
    assert "@import" not in html


def test_every_picture_has_words_for_those_who_cannot_see_it(make_study, quick):
    page = Page(render_report(make_study()))
    words = page.attributes("img", "alt")
    assert len(words) == len(page.attributes("img", "src")) == 10
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(drawn) == 2 * 6
    assert all(attributes.get("aria-hidden") for tag, attributes in page.tags if tag == "svg" and "role" not in attributes)
    words += [text for text in drawn if text != "The scan alone"]
    assert len(words) == 16
    assert all(len(text) > 20 for text in words)
    assert "truth glioma, answer no tumour with probability 0.875, the map is highest at row 3, column 4" in " ".join(words)
    assert "no tumour: 0 as glioma, 1 as meningioma, 9 as no tumour" in " ".join(words)


def test_the_numbers_of_the_study_are_on_the_page(make_study, quick):
    text = Page(render_report(make_study())).text
    for number in ("0.889", "0.543–0.965", "0.765", "0.654", "0.679", "0.931", "0.432", "0.211", "0.247", "3 of 30", "2 min 5 s"):
        assert number in text
    for words in ("d" * 64, "e" * 64, "9.8.7", 'name = "default"', "Took the folders Training and Testing.", "A bootstrap."):
        assert words in text


def test_special_characters_stay_text(make_study, make_model, make_scan, quick):
    odd = "a/<script>alert('x')</script>&\"$.png"
    models = (make_model(mistakes=(make_scan(path=odd),), examples=()),)
    html = render_report(make_study(models=models, title="<b>&", notes=("<img src=x>",), headline=("1 < 2",), paired=None))
    assert "<script>alert" not in html
    assert html.count("<script>") == 1
    assert "<img src=x>" not in html
    text = Page(html).text
    for words in (odd, "<b>&", "<img src=x>", "1 < 2"):
        assert words in text


def test_published_numbers_appear_only_where_they_may(make_study, quick):
    assert "student report" in render_report(make_study())
    assert "student report" not in render_report(make_study(published_key=None))


def test_synthetic_scans_are_called_so_on_the_page_and_on_every_figure(make_study, monkeypatch):
    lines = []
    monkeypatch.setattr(figures, "png_bytes", lambda figure: lines.append(figure.get_supxlabel()) or b"png")
    assert "made up" in render_report(make_study(synthetic=True))
    assert len(lines) == 16
    assert all("synthetic data" in line and "not a medical device" in line for line in lines)
    lines.clear()
    assert "made up" not in render_report(make_study())
    assert not any("synthetic" in line for line in lines)


def test_what_is_missing_is_said_and_not_shown(make_study, make_model, make_metrics, quick):
    bare = make_model(
        metrics=dict.fromkeys(make_metrics()), history=(), examples=(), mistakes=(), attention=None, curves={}, best_epoch=None
    )
    study = make_study(
        models=(bare,), lookup=None, augmentation=None, paired=None, published_key=None, counts={}, notes=(), versions={}
    )
    page = Page(render_report(study))
    assert page.attributes("section", "id") == [name for name in SECTIONS if name != "paired"]
    assert page.attributes("img", "src") == []
    for words in (
        "no confusion matrix was handed over",
        "no training history was recorded",
        "ROC curves are undefined",
        "No right answer is shown for: Glioma, Meningioma, No tumour, Pituitary tumour.",
        "Attention was not compared",
        "No mistake is shown",
    ):
        assert words in page.text
    assert "None" not in page.text
    assert "nan" not in page.text


def test_classes_without_an_example_are_named(make_study, quick):
    text = Page(render_report(make_study())).text
    assert "No right answer is shown for: Glioma, Meningioma, No tumour." in text
    assert "No wrong answer is shown for: Meningioma, No tumour, Pituitary tumour." in text


def test_folds_are_explained(make_study, quick):
    assert "Cross-validation with 5 folds" in render_report(make_study(folds=5))
    assert "Cross-validation" not in render_report(make_study())


def test_a_report_and_its_figures_are_written_and_the_page_holds_the_very_same_charts(make_study, make_model, tmp_path):
    study = make_study(models=(make_model(),), paired=None)
    write_report(study, tmp_path / "report.html", folders(tmp_path))
    charts = {"learning_curves", "confusion_matrix", "roc_curves", "precision_recall_curves"}
    own = charts | {"grad_cam_correct_pituitary", "grad_cam_incorrect_glioma", "mistake_01"}
    expected = {"report.html", "figures/class_counts.png", "figures/augmentation.png", *(f"m/figures/{name}.png" for name in own)}
    assert files(tmp_path) == expected
    shown = {
        base64.b64decode(src.partition(",")[2]) for src in Page((tmp_path / "report.html").read_text()).attributes("img", "src")
    }
    drawn = {"figures/class_counts.png", "figures/augmentation.png", *(f"m/figures/{name}.png" for name in charts)}
    assert shown == {(tmp_path / name).read_bytes() for name in drawn}


def test_figures_of_an_earlier_report_with_more_mistakes_are_removed_and_other_files_stay(make_study, make_model, tmp_path):
    folder = tmp_path / "m" / "figures"
    folder.mkdir(parents=True)
    for name in ("mistake_07.png", "notes.png"):
        (folder / name).write_bytes(b"older")
    write_report(make_study(models=(make_model(),), paired=None), tmp_path / "report.html", folders(tmp_path))
    assert not (folder / "mistake_07.png").exists()
    assert (folder / "mistake_01.png").exists()
    assert (folder / "notes.png").read_bytes() == b"older"


def test_the_same_study_gives_the_same_page(make_study, make_model):
    study = make_study(models=(make_model(history=(), examples=()),), paired=None, augmentation=None)
    assert render_report(study) == render_report(study)


def test_nothing_is_left_behind_when_drawing_fails_half_way(make_study, tmp_path, monkeypatch):
    def fail(examples, notes):
        raise MemoryError("no room to draw")

    monkeypatch.setattr(heatmap_figures, "grad_cam_panel", fail)
    with pytest.raises(MemoryError):
        write_report(make_study(), tmp_path / "report.html", folders(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_older_page_stays_when_a_figure_cannot_be_written(make_study, tmp_path, quick):
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "c").write_text("a file where a folder is needed")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(make_study(), tmp_path / "report.html", folders(tmp_path))
    assert (tmp_path / "report.html").read_text() == "older"
    assert not [name for name in files(tmp_path) if name.endswith(".part")]


def test_a_model_without_a_figure_folder_is_refused_before_anything_is_written(make_study, tmp_path):
    with pytest.raises(OutputError, match="'cnn'"):
        write_report(make_study(), tmp_path / "report.html", {SHARED: tmp_path, "mobilenet_v2": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_flat_map_and_a_single_pixel_reach_the_page_without_warnings(make_study, make_model, make_scan):
    tiny = make_scan(pixels=np.zeros((1, 1), dtype=np.uint8), heatmap=np.zeros((1, 1), dtype=np.float32), mask=None)
    study = make_study(models=(make_model(examples=(tiny,), mistakes=(), history=(), curves={}),), paired=None, augmentation=None)
    assert "the map is the same everywhere" in render_report(study)


def test_new_slices_stand_in_a_column_of_their_own_in_every_table(make_study, make_model, make_metrics, quick):
    part = make_metrics(accuracy=0.4321, n=17)
    study = make_study(models=(make_model(metrics=make_metrics(twin_free=part)),))
    text = render_report(study)
    assert "Recall, new slices" in text
    assert "0.432" in text
    assert text.count("slices not in training") == 1
    assert "the 17 test scans" in text


def test_what_the_audit_found_stands_in_the_report(make_study, quick):
    per_label = dict.fromkeys(LABELS, 3)
    leaks = {"images": per_label, "flagged": {"twin_in_train": dict.fromkeys(LABELS, 2)}, "twin_free": dict.fromkeys(LABELS, 1)}
    text = render_report(make_study(audit={"sentences": ["Something leaks."], "leaks": leaks}))
    assert "Something leaks." in text
    assert '<th scope="row">all</th><td>12</td><td>8</td>' in text
    assert "Something leaks." not in render_report(make_study())


def test_a_scan_that_is_shown_three_times_is_stored_once(make_study, quick):
    page = Page(render_report(make_study()))
    shown = [attributes["href"] for tag, attributes in page.tags if tag == "use" and attributes["href"].startswith("#scan-")]
    assert len(shown) == 2 * 6
    stored = [attributes["id"] for tag, attributes in page.tags if tag == "image" and "scan-" in attributes.get("id", "")]
    assert [f"#{name}" for name in stored] == list(dict.fromkeys(shown))
    assert len(stored) == 1


def test_the_policy_allows_the_script_of_the_sliders_and_nothing_else(make_study, quick):
    page = Page(render_report(make_study()))
    assert page.may_run_its_script()
    assert len([tag for tag, _ in page.tags if tag == "input"]) == page.text.count("Opacity of the map") == 6


def test_without_overlays_there_is_no_script_and_none_is_allowed(make_study, make_model, quick):
    html = render_report(make_study(models=(make_model(examples=(), mistakes=()),), paired=None))
    assert "script" not in html.partition("</head>")[0]
    assert "<script" not in html


def test_measured_heatmaps_stand_in_the_report_of_a_run_only_where_they_were_measured(make_study, make_model, make_content, quick):
    models = (make_model(explanation=make_content()), make_model(name="cnn", explanation={"pointing_game": None}))
    page = Page(render_report(make_study(models=models)))
    assert "MobileNetV2: is the map about the tumour?" in page.text
    assert "CNN from scratch: is the map about the tumour?" not in page.text
    assert "13.6\u00a0% (10.9–16.5) of 612 outlined scans" in page.text
    assert "Brightest region" in page.text
    assert "is the map about" not in render_report(make_study())
