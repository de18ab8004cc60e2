import pytest

from tumorscope.reporting import explanation_tables as tables


def texts(line):
    return [cell.text for cell in line.cells]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "share", "–"),
        (0.136, "share", "13.6 %"),
        (0.99999, "share", ">99.9 %"),
        (31.24, "px", "31.2"),
        (1234.5, "mm", "1,234.5"),
        (-0.02, "change", "−0.020"),
        (0.5, "score", "0.500"),
    ],
)
def test_a_number_is_shown_in_its_unit(value, unit, text):
    assert tables.cell_text({"value": value}, unit) == text


def test_intervals_leave_out_the_unit_and_use_words_where_signs_stand():
    assert tables.interval_text({"value": 0.1, "interval": [0.05, 0.25]}, "share") == "5.0–25.0"
    assert tables.interval_text({"value": 0.1, "interval": [-0.05, 0.25]}, "change") == "−0.050 to 0.250"
    assert tables.interval_text({"value": 0.1, "interval": [-0.05, 0.25]}, "score") == "−0.050 to 0.250"
    assert tables.interval_text({"value": 0.1, "interval": None}, "share") == ""
    assert tables.interval_text({"value": 0.1, "interval": [None, 1]}, "share") == ""
    assert tables.interval_text({"value": None, "interval": [0, 1]}, "share") == ""


def test_the_localisation_table_has_a_row_per_metric_and_a_line_per_model(make_content):
    rows = tables.localisation_rows([("A", make_content()), ("B", make_content(mask_share=None, energy_inside={"value": None}))])
    assert [row.title for row in rows][:2] == ["Peak inside the outline", "Peak within 15 pixels of it"]
    assert [line.who for line in rows[0].lines] == ["A", "B"]
    assert texts(rows[0].lines[0]) == ["13.6 %", "8.0 %", "12.4 %", "14.1 %", "3.0 %", "5.0 %", "2 of 4"]
    assert len(texts(rows[0].lines[0])) == len(tables.LOCALISATION_COLUMNS) - 1
    by_title = {row.title: row for row in rows}
    assert [line.who for line in by_title["Share of the picture inside"].lines] == ["A"]
    assert "Dice" not in by_title


def test_where_less_is_better_a_baseline_is_beaten_when_it_is_higher(make_content):
    row = next(row for row in tables.localisation_rows([("A", make_content())]) if row.title == "Peak to the outline, pixels")
    assert texts(row.lines[0])[-1] == "1 of 2"


def test_other_tables_fit_their_headings(make_content):
    models = [("A", make_content())]
    for rows, columns in (
        (tables.order_rows(models), tables.ORDER_COLUMNS),
        (tables.removal_rows(models), tables.REMOVAL_COLUMNS),
        (tables.group_rows(models), tables.GROUP_COLUMNS),
        (tables.random_rows(make_content()), tables.RANDOM_COLUMNS),
        (tables.stability_rows(models), tables.STABILITY_COLUMNS),
        (tables.feature_rows(models), tables.FEATURE_COLUMNS),
        (tables.auroc_rows(models), tables.AUROC_COLUMNS),
        tables.method_table(models)[::-1],
    ):
        assert rows
        assert {len(line.cells) for row in rows for line in row.lines} == {len(columns) - 1}


def test_groups_come_in_the_order_of_labels_and_sizes_with_their_number_of_scans(make_content):
    rows = tables.group_rows([("A", make_content())])
    titles = ["All", "Glioma", "Pituitary tumour", "Axial", "Small tumours", "Large tumours", "Right answers", "Wrong answers"]
    assert [row.title for row in rows] == titles
    assert texts(rows[1].lines[0]) == ["212", "6.0 %", "–", "–"]
    assert rows[1].lines[0].cells[1].interval == "3.0–9.0"


def test_other_methods_stand_below_this_map(make_content):
    columns, rows = tables.method_table([("A", make_content())])
    assert columns == ("Method", "Peak inside the outline")
    assert [row.title for row in rows] == ["Grad-CAM, this map", "Grad-CAM++", "Occlusion"]
    assert texts(rows[2].lines[0]) == ["12.3 %"]
    assert tables.method_table([("A", {})])[1] == ()


def test_two_models_against_the_same_other_training_share_a_row(make_content):
    last = tables.stability_rows([("A", make_content()), ("B", make_content())])[-1]
    assert (last.title, [line.who for line in last.lines]) == ("The training with seed 1", ["A", "B"])


def test_a_small_p_value_is_a_bound_and_differences_keep_their_sign(make_content):
    line = tables.feature_rows([("A", make_content())])[0].lines[0]
    assert texts(line) == ["0.200", "0.100", "−0.100", "<0.001"]
    assert line.cells[2].interval == "−0.200 to 0.050"


@pytest.mark.parametrize("content", [{}, {"pointing_game": None, "stability": None, "randomisation": None, "repeatability": None}])
def test_nothing_measured_gives_no_rows(content):
    models = [("A", content)]
    for rows in (tables.localisation_rows, tables.order_rows, tables.removal_rows, tables.group_rows, tables.stability_rows):
        assert rows(models) == ()
    assert tables.feature_rows(models) == tables.auroc_rows(models) == tables.random_rows(content) == ()
    assert tables.extent(content) == "How many scans were measured was not recorded."


def test_the_extent_counts_scans_outlines_and_groups(make_content):
    said = "1,120 scans, 612 with an outline of the tumour, in 48 groups; intervals resample groups."
    assert tables.extent(make_content()) == said
    assert tables.extent({"images_count": 1}) == "1 scan."
