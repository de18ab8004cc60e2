import base64
import io
import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tumorscope import DISCLAIMER
from tumorscope.errors import OutputError
from tumorscope.labels import LABELS
from tumorscope.reporting import figures

CORNER = (np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]))
DIAGONAL = (np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def curve_lines(figure: Figure):
    return {line.get_label().split(":")[0]: line for line in figure.axes[0].lines if not line.get_label().startswith("_")}


def test_drawing_loads_neither_pyplot_nor_torch():
    code = "import sys, tumorscope.reporting.study_report; print([m for m in ('matplotlib.pyplot', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_png_carries_the_disclaimer_and_is_the_same_every_time():
    first, second = (figures.png_bytes(figures.class_counts({"train": {"glioma": 3}})) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
        assert image.text["Disclaimer"] == DISCLAIMER


def test_a_data_address_holds_the_same_png_as_the_file(tmp_path):
    content = figures.png_bytes(Figure(figsize=(1, 1)))
    figures.save_png(content, tmp_path / "new" / "one.png")
    address = figures.png_data_uri(content)
    assert (
        base64.b64decode(address.removeprefix("data:image/png;base64,")) == (tmp_path / "new" / "one.png").read_bytes() == content
    )


def test_a_figure_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match=r"taken\.png"):
        figures.save_png(Figure(figsize=(1, 1)), tmp_path / "taken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_bars_are_as_high_as_the_counts_and_a_class_without_images_says_zero():
    figure = figures.class_counts({"train": {"glioma": 1200, "notumor": 7}, "test": dict.fromkeys(LABELS, 5)})
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1200, 0, 7, 0, 5, 5, 5, 5]
    assert [text.get_text() for text in axes.texts][:4] == ["1,200", "0", "7", "0"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["glioma", "meningioma", "no tumour", "pituitary tumour"]


def test_splits_differ_by_hatching_and_not_by_colour_alone():
    axes = figures.class_counts({split: {"glioma": 1} for split in ("train", "validation", "test")}).axes[0]
    assert len({bars.patches[0].get_hatch() for bars in axes.containers if hasattr(bars, "patches")}) == 3


def test_learning_curves_show_the_history_with_gaps_where_a_value_is_missing():
    history = [
        {"epoch": 1, "train_loss": 2.0, "validation_loss": 1.5, "train_accuracy": 0.25, "validation_accuracy": 0.5},
        {"epoch": 2, "train_loss": 1.0, "validation_loss": None, "train_accuracy": 0.75, "validation_accuracy": 0.625},
    ]
    loss, accuracy = figures.learning_curves(history, title="model", best_epoch=1).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.0]]
    assert math.isnan(loss.lines[1].get_ydata()[1])
    assert list(accuracy.lines[1].get_ydata()) == [0.5, 0.625]
    assert [axes.lines[2].get_xdata()[0] for axes in (loss, accuracy)] == [1, 1]
    assert loss.lines[2].get_label() == "kept: epoch 1"


def test_without_a_kept_epoch_the_highest_validation_accuracy_is_marked_and_called_so():
    history = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in ((1, 0.5), (2, 0.8), (3, 0.8), (4, None))]
    mark = figures.learning_curves(history, title="model").axes[0].lines[2]
    assert (mark.get_xdata()[0], mark.get_label()) == (2, "highest validation accuracy: epoch 2")


def test_an_epoch_without_validation_is_drawn_unmarked():
    figure = figures.learning_curves([{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}], title="model")
    assert len(figure.axes[0].lines) == 2
    assert figures.png_bytes(figure)


def test_a_confusion_matrix_shows_counts_and_row_shares_and_a_dash_for_an_empty_row():
    figure = figures.confusion_matrix([[3, 1, 0, 0], [0, 1000, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]], title="model")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:8] == ["3", "75.0 %", "1", "25.0 %", "0", "0.0 %", "0", "0.0 %"]
    assert texts[10:12] == ["1,000", "100.0 %"]
    assert texts[16:24] == ["0", "–"] * 4


def test_almost_a_whole_row_does_not_read_as_a_whole_row():
    figure = figures.confusion_matrix([[9999, 1, 0, 0], *([[0] * 4] * 3)], title="model")
    assert figure.axes[0].texts[1].get_text() == ">99.9 %"


@pytest.mark.parametrize("draw", [figures.roc_curves, figures.precision_recall_curves])
def test_curves_keep_their_points_and_name_their_areas(draw):
    figure = draw({"glioma": DIAGONAL, "tumour": CORNER}, {"glioma": 0.5, "tumour": 0.99996, "notumor": 0.7}, title="model")
    lines = curve_lines(figure)
    assert list(lines) == ["glioma", "any tumour"]
    assert np.array_equal(lines["glioma"].get_xydata(), np.stack(DIAGONAL, axis=1))
    assert lines["glioma"].get_label() == "glioma: 0.500"
    assert lines["any tumour"].get_label() == "any tumour: >0.999"


@pytest.mark.parametrize("draw", [figures.roc_curves, figures.precision_recall_curves])
def test_the_corner_is_magnified_only_where_no_curve_runs_below_the_inset(draw):
    assert len(draw({"glioma": CORNER}, {"glioma": 1.0}, title="model").axes[0].child_axes) == 1
    assert draw({"glioma": CORNER, "tumour": DIAGONAL}, {"glioma": 1.0, "tumour": 0.5}, title="model").axes[0].child_axes == []
    assert draw({"glioma": CORNER}, {"glioma": None}, title="model").axes[0].child_axes == []


def test_curves_differ_by_line_style_and_not_by_colour_alone():
    figure = figures.roc_curves(dict.fromkeys((*LABELS, "tumour"), CORNER), {}, title="model")
    assert len({str(line._unscaled_dash_pattern) for line in curve_lines(figure).values()}) == 5


def test_no_curves_and_odd_names_are_drawn_without_warnings():
    assert figures.png_bytes(figures.roc_curves({}, {}, title="a_model $x$ {"))
    assert figures.png_bytes(figures.class_counts({}))


def test_a_stamp_stands_on_the_figure():
    figure = figures.class_counts({"train": {"glioma": 1}})
    figures.stamp(figure, "synthetic $ data")
    assert figure.get_supxlabel() == "synthetic $ data"
    assert figures.png_bytes(figure)
