import numpy as np
import pytest

from tumorscope.data.corruptions import CORRUPTIONS, STRENGTHS
from tumorscope.evaluation.robustness import CLEAN, Answers, robustness_table
from tumorscope.predictions import Predictions
from tumorscope.reporting.figures import png_bytes
from tumorscope.reporting.robustness_figures import robustness_curves


def table(names, *, refuses=False):
    """Eight images, one more of them wrong with every strength."""
    truth = np.array([0, 1, 2, 3] * 2)

    def answered(wrong):
        called = np.where(np.arange(8) < wrong, 2 - 2 * (truth == 2), truth)
        refused = np.arange(8) < wrong if refuses else None
        return Answers(Predictions(tuple("abcdefgh"), truth, np.eye(4)[called]), refused)

    return robustness_table(
        {CLEAN: answered(0)} | {(name, strength): answered(strength) for name in names for strength in STRENGTHS}
    )


def test_every_corruption_has_a_panel_that_starts_at_the_clean_scans():
    figure = robustness_curves(table(CORRUPTIONS), title="a $x$ {")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [corruption.title for corruption in CORRUPTIONS.values()]
    accuracy, sensitivity = figure.axes[5].lines
    assert accuracy.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert accuracy.get_ydata() == pytest.approx([1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8])
    assert sensitivity.get_ydata() == pytest.approx([1, 5 / 6, 4 / 6, 4 / 6, 3 / 6, 2 / 6])
    assert accuracy.get_linestyle() != sensitivity.get_linestyle()
    assert accuracy.get_marker() != sensitivity.get_marker()
    assert png_bytes(figure)


def test_all_panels_share_one_scale():
    figure = robustness_curves(table(["blur", "crop", "jpeg", "gamma", "rotation"]), title="A")
    assert len({(axes.get_ylim(), axes.get_xlim()) for axes in figure.axes}) == 1
    assert len(figure.axes) == 5


def test_refusals_are_drawn_where_the_model_can_refuse():
    axes = robustness_curves(table(["blur"], refuses=True), title="A").axes[0]
    assert [line.get_label() for line in axes.lines] == ["accuracy", "tumour sensitivity", "refused"]
    assert axes.lines[2].get_ydata() == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8])


def test_a_corruption_of_another_version_goes_by_its_name():
    rows = [{**row, "corruption": "fog" if row["corruption"] == "blur" else row["corruption"]} for row in table(["blur"])]
    assert robustness_curves(rows, title="A").axes[0].get_title(loc="left") == "fog"
