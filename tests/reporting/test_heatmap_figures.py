import numpy as np
import pytest

from tumorscope.explanation.attention import peak_of
from tumorscope.reporting.figures import png_bytes
from tumorscope.reporting.heatmap_figures import STRONGEST_ALPHA, augmentation, four_maps, grad_cam_panel, overlay_colours
from tumorscope.reporting.study import AugmentationExamples


def test_a_map_of_zeros_stays_invisible():
    assert (overlay_colours(np.zeros((3, 2), dtype=np.float32))[..., 3] == 0).all()


def test_opacity_rises_with_the_raw_value_from_nothing_at_zero():
    opacity = overlay_colours(np.array([[0, 1], [2, 4]], dtype=np.float32))[..., 3]
    assert opacity == pytest.approx(STRONGEST_ALPHA * np.array([[0, 0.25], [0.5, 1]]))


def test_colours_depend_on_the_share_of_the_maps_own_highest_value_only():
    heatmap = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    assert overlay_colours(heatmap * 1024) == pytest.approx(overlay_colours(heatmap))
    assert overlay_colours(np.float32([[1e-30]]))[0, 0, 3] == STRONGEST_ALPHA


def test_the_peak_is_row_and_column_of_the_first_highest_value():
    heatmap = np.zeros((4, 5), dtype=np.float32)
    heatmap[1, 3] = heatmap[2, 0] = 7
    assert peak_of(heatmap) == (1, 3)


@pytest.mark.parametrize("value", [0, 3])
def test_a_map_that_is_the_same_everywhere_has_no_peak(value):
    assert peak_of(np.full((3, 3), value, dtype=np.float32)) is None


def test_a_panel_marks_the_peak_and_scales_its_bar_to_the_raw_values(make_scan):
    _, overlay, bar = grad_cam_panel([make_scan()]).axes
    assert overlay.lines[0].get_xydata().tolist() == [[4, 3]]
    assert bar.get_ylim() == (0, 2.5)
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["0", "2.5"]


def test_a_panel_says_in_words_whether_the_answer_is_right(make_scan):
    examples = [make_scan(), make_scan(predicted="glioma", probability=0.99996)]
    axes = grad_cam_panel(examples).axes
    assert [a.get_title(loc="left") for a in axes if a.get_title(loc="left")] == [
        "Wrong: glioma taken for no tumour, 87.5 %",
        "Right: glioma, >99.9 %",
    ]


def test_the_outline_runs_half_a_pixel_around_the_mask_and_is_closed_at_the_edge_of_the_picture(make_scan):
    mask = np.zeros((12, 10), dtype=bool)
    mask[0:2, 0:3] = True
    overlay = grad_cam_panel([make_scan(mask=mask)]).axes[1]
    corners = overlay.collections[0].get_paths()[0].vertices
    assert corners.min(axis=0).tolist() == [-0.5, -0.5]
    assert corners.max(axis=0).tolist() == [2.5, 1.5]
    assert corners[0].tolist() == corners[-1].tolist()


@pytest.mark.parametrize("mask", [None, np.zeros((12, 10), dtype=bool)])
def test_no_outline_is_drawn_without_a_mask(make_scan, mask):
    assert len(grad_cam_panel([make_scan(mask=mask)]).axes[1].collections) == 0


@pytest.mark.parametrize("shape", [(12, 10), (1, 1), (1, 40)])
@pytest.mark.parametrize("value", [0, 5])
def test_flat_maps_of_any_shape_are_drawn_without_warnings(make_scan, shape, value):
    flat = make_scan(
        pixels=np.zeros(shape, dtype=np.uint8), heatmap=np.full(shape, value, dtype=np.float32), mask=np.ones(shape, dtype=bool)
    )
    figure = grad_cam_panel([flat])
    assert len(figure.axes[1].lines) == 0
    assert png_bytes(figure)


def test_augmentation_shows_flips_on_top_and_rotations_below():
    pictures = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((4, 4), dtype=np.uint8)
    figure = augmentation(AugmentationExamples(pictures[0], pictures[1:2], pictures[2:4], pictures[4:6]))
    shown = [
        [int(axes.images[0].get_array()[0, 0]) if axes.images else None for axes in figure.axes[row : row + 3]] for row in (0, 3, 6)
    ]
    assert shown == [[0, 1, None], [None, 2, 3], [None, 4, 5]]


def test_augmentation_leaves_out_what_has_no_examples():
    none = np.zeros((0, 4, 4), dtype=np.uint8)
    original = np.zeros((4, 4), dtype=np.uint8)
    assert len(augmentation(AugmentationExamples(original, none, original[None], none)).axes) == 2
    assert png_bytes(augmentation(AugmentationExamples(original, none, none, none)))


def test_a_note_stands_above_the_answer_of_its_scan(make_scan):
    panel = grad_cam_panel([make_scan()], ["best: 71 $x$ %"])
    assert panel.axes[0].get_title(loc="left") == "best: 71 $x$ %\nWrong: glioma taken for no tumour, 87.5 %"
    assert png_bytes(panel)


def test_maps_of_all_labels_share_the_scale_of_the_highest(make_four_maps):
    figure = four_maps(make_four_maps())
    alone, *others, bar = figure.axes
    assert [float(axes.images[1].get_array()[..., 3].max()) for axes in others] == pytest.approx([0.75, 0.375, 0.1875, 0])
    assert bar.get_ylim() == (0, 4)
    assert alone.get_title(loc="left") == "truth:\nglioma"
    assert others[1].get_title(loc="left") == "meningioma\n50.0 % (answer)"
    assert [len(axes.lines) for axes in others] == [1, 1, 1, 0]
    assert png_bytes(figure)
