import math

from tumorscope.reporting import explanation_figures as charts
from tumorscope.reporting.figures import png_bytes


def names(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_the_pointing_game_has_a_dot_with_its_interval_for_the_map_every_baseline_and_every_group(make_content):
    axes = charts.pointing_game(make_content()["pointing_game"], title="A").axes[0]
    assert names(axes)[:3] == ["The map, all scans (n 612)", "Drawn as usual (n 612)", "Centred spot (n 612)"]
    assert names(axes)[6:8] == ["Glioma (n 212)", "Pituitary tumour (n 200)"]
    whisker, dot = axes.lines[0], axes.lines[1]
    assert list(whisker.get_xdata()) == [0.109, 0.165]
    assert list(dot.get_xdata()) == [0.136]
    assert axes.lines[3].get_marker() == "s" != dot.get_marker()


def test_the_best_baseline_is_marked_across_all_groups_and_the_usual_drawing_is_none(make_content, make_cell):
    metric = make_content()["pointing_game"]
    metric["baselines"]["drawn_as_usual"] = make_cell(0.9)
    assert list(charts.pointing_game(metric, title="A").axes[0].lines[-1].get_xdata()) == [0.141, 0.141]


def test_a_value_alone_is_drawn_without_warnings(make_cell):
    figure = charts.pointing_game(make_cell(0.0), title="a $x$ {")
    assert names(figure.axes[0]) == ["The map, all scans (n 612)"]
    assert png_bytes(figure)


def test_curves_show_the_map_and_other_orders_over_the_share_of_pixels_with_gaps(make_content):
    content = make_content()
    deletion, insertion = charts.order_curves(content["curves"], content, title="A").axes
    assert deletion.lines[0].get_xydata().tolist() == [[0, 0.9], [0.5, 0.4], [1, 0.1]]
    assert math.isnan(deletion.lines[2].get_ydata()[1])
    assert deletion.get_title(loc="left") == "deletion, blurred: area 0.440"
    assert insertion.get_title(loc="left") == "insertion, blurred: area 0.710"
    assert len({str(line._unscaled_dash_pattern) for line in deletion.lines}) == 3


def test_a_curve_that_was_not_measured_has_no_axes(make_content):
    curves = make_content()["curves"] | {"insertion": None}
    figure = charts.order_curves(curves, {}, title="A")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["deletion, blurred: area –"]
    assert png_bytes(figure)


def test_the_cascade_goes_from_the_head_down_with_its_intervals(make_content):
    axes = charts.randomisation(make_content()["randomisation"]["layers"], title="A").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["classifier", "features.18", "features.0"]
    assert axes.lines[0].get_ydata().tolist() == [0.6, 0.3, 0.04]
    assert list(axes.lines[1].get_ydata()) == [0.6 - 0.05, 0.6 + 0.05]


def test_a_cascade_without_numbers_is_drawn_without_warnings():
    assert png_bytes(charts.randomisation([{"layer": "head", "rank_correlation": None}], title="A"))
