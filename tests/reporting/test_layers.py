import base64
import io

import numpy as np
import pytest
from PIL import Image

from tumorscope.reporting import layers
from tumorscope.reporting.heatmap_figures import overlay_colours
from tumorscope.reporting.layers import MAP_PX, SCAN_PX, four_map_view, map_address, outline_path, scale_address, scan_view


def picture(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_a_stored_scan_is_the_scan_itself_when_it_is_small(make_scan):
    scan = make_scan()
    assert np.array_equal(np.asarray(picture(scan_view(scan).base.address)), scan.pixels)


def test_a_large_scan_shrinks_in_the_file_but_keeps_its_own_grid_for_outline_and_peak(make_scan):
    shape = (2 * SCAN_PX, SCAN_PX)
    heatmap = np.zeros(shape, dtype=np.float32)
    heatmap[400, 10] = 1
    view = scan_view(make_scan(pixels=np.zeros(shape, dtype=np.uint8), heatmap=heatmap, mask=None))
    assert picture(view.base.address).size == (SCAN_PX // 2, SCAN_PX)
    assert (view.base.rows, view.base.columns) == shape
    assert "10.5 385.14v30.72" in view.layers[0].cross
    assert picture(view.layers[0].address).size == (MAP_PX // 2, MAP_PX)


def test_a_stored_map_at_the_default_opacity_has_the_colours_of_the_png_figure():
    heatmap = np.linspace(0, 3, 40, dtype=np.float32).reshape(5, 8)
    stored = np.asarray(picture(map_address(heatmap, 3.0)).convert("RGBA")).astype(float) / 255
    stored[..., 3] *= layers.DEFAULT_OPACITY / 100
    assert stored == pytest.approx(overlay_colours(heatmap), abs=0.02)


def test_a_map_is_transparent_at_zero_and_opaque_at_the_top_of_its_scale():
    heatmap = np.float32([[0, 2, 4]])
    opacity = [np.asarray(picture(map_address(heatmap, top)).convert("RGBA"))[0, :, 3].tolist() for top in (4.0, 8.0)]
    assert opacity == [[0, 128, 255], [0, 64, 128]]
    assert np.asarray(picture(map_address(np.zeros((2, 2), dtype=np.float32), 0.0)).convert("RGBA"))[..., 3].max() == 0


def test_the_scale_runs_from_the_lowest_to_the_highest_colour_and_is_opaque():
    scale = np.asarray(picture(scale_address()).convert("RGBA"))[0]
    ends = np.round(255 * overlay_colours(np.float64([[0, 1]]))[0, :, :3])
    assert np.array_equal(scale[[0, 255], :3], ends)
    assert (scale[:, 3] == 255).all()


def test_the_outline_of_one_pixel_is_a_diamond_around_its_middle():
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 3] = True
    start, _, steps = outline_path(mask).removeprefix("M").partition("l")
    points = np.cumsum([np.fromstring(start, sep=" "), *np.fromstring(steps, sep=" ").reshape(-1, 2)], axis=0)
    assert {tuple(point) for point in points.tolist()} == {(3.5, 1.0), (4.0, 1.5), (3.5, 2.0), (3.0, 1.5)}
    assert points[0].tolist() == points[-1].tolist()


def test_two_tumours_have_two_outlines_and_an_empty_mask_none(make_scan):
    mask = np.zeros((12, 10), dtype=bool)
    mask[0, 0] = mask[8:10, 8:10] = True
    assert outline_path(mask).count("M") == 2
    assert scan_view(make_scan(mask=np.zeros((12, 10), dtype=bool))).base.outline == ""
    assert scan_view(make_scan(mask=None)).base.outline == ""


def test_a_scan_has_one_key_whatever_map_lies_on_it_and_another_one_with_another_outline(make_scan):
    heatmap = np.ones((12, 10), dtype=np.float32)
    assert scan_view(make_scan()).base == scan_view(make_scan(heatmap=heatmap, predicted="glioma")).base
    assert scan_view(make_scan()).base.key != scan_view(make_scan(mask=None)).base.key


def test_a_flat_map_has_no_cross_and_is_called_flat(make_scan):
    layer = scan_view(make_scan(heatmap=np.ones((12, 10), dtype=np.float32))).layers[0]
    assert layer.cross == ""
    assert "the map is the same everywhere" in layer.words


def test_the_maps_of_all_labels_share_one_scale_and_name_the_answer(make_four_maps):
    view = four_map_view(make_four_maps())
    assert view.highest == "4"
    highest = [int(np.asarray(picture(layer.address).convert("RGBA"))[..., 3].max()) for layer in view.layers]
    assert highest == [255, 128, 64, 0]
    assert [layer.title for layer in view.layers] == [
        "glioma, 25.0 %",
        "meningioma, 50.0 %, the answer",
        "no tumour, 12.5 %",
        "pituitary tumour, 12.5 %",
    ]
    assert [bool(layer.cross) for layer in view.layers] == [True, True, True, False]
