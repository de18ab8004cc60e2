import json

import numpy as np
import pytest

from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.errors import RecipeError
from tumorscope.scan import Scan

SMALL = Preprocessing(image_size=64)


def scan_of(pixels: np.ndarray) -> Scan:
    return Scan(pixels=pixels, origin="test")


def test_a_scan_of_the_networks_size_is_taken_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    np.testing.assert_array_equal(SMALL.grid(scan_of(pixels)), pixels)


def test_pad_keeps_proportions_and_centres_on_black():
    grid = SMALL.grid(scan_of(np.full((30, 60), 200, dtype=np.uint8)))
    assert (grid[16:48] == 200).all()
    assert (grid[:16] == 0).all()
    assert (grid[48:] == 0).all()


def test_stretch_fills_the_square():
    assert (Preprocessing(image_size=64, fit="stretch").grid(scan_of(np.full((30, 60), 200, dtype=np.uint8))) == 200).all()


@pytest.mark.parametrize("shape", [(7, 5), (64, 63), (333, 129), (1, 500), (500, 1)])
def test_a_flat_scan_stays_flat_at_every_size(shape):
    grid = SMALL.grid(scan_of(np.full(shape, 77, dtype=np.uint8)))
    assert set(np.unique(grid)) <= {0, 77}
    assert (grid == 77).any()


def test_enlarging_interpolates_linearly_between_pixel_centres():
    """16 rows of 0, 8, 16 ... on 32: centres lie at -1/4, 1/4, 3/4 ... of the old rows, held at the ends."""
    ramp = np.repeat(np.arange(16, dtype=np.uint8)[:, None] * 8, 16, axis=1)
    expected = ((np.arange(32) + 0.5) / 2 - 0.5).clip(0, 15) * 8
    grid = Preprocessing(image_size=32).grid(scan_of(ramp))
    np.testing.assert_array_equal(grid, np.repeat(expected[:, None], 32, axis=1))
    np.testing.assert_array_equal(Preprocessing(image_size=32).grid(scan_of(ramp.T)), grid.T)


def test_shrinking_weighs_neighbours_by_their_distance():
    """By a factor of two a centre lies between two pixels: three quarters of the weight on them, an eighth on each next one."""
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[20] = 160
    column = Preprocessing(image_size=32).grid(scan_of(pixels))[:, 5]
    assert column[9:12].tolist() == [20, 60, 0]
    assert column.sum() == 80


def test_shrinking_skips_no_pixel():
    pixels = np.zeros((640, 640), dtype=np.uint8)
    pixels[::2] = 200
    assert abs(float(SMALL.grid(scan_of(pixels)).mean()) - 100) < 1


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(
    ("shape", "row", "column"), [((51, 37), 12, 30), ((37, 51), 30, 12), ((301, 177), 200, 40), ((63, 65), 31, 32)]
)
def test_to_scan_finds_a_marked_spot_of_a_scan_of_odd_size(fit, shape, row, column):
    preprocessing = Preprocessing(image_size=64, fit=fit)
    pixels = np.zeros(shape, dtype=np.uint8)
    pixels[row - 2 : row + 3, column - 2 : column + 3] = 255
    weights = preprocessing.grid(scan_of(pixels)).astype(np.float64)
    rows, columns = np.indices(weights.shape)
    centre = np.average(rows, weights=weights), np.average(columns, weights=weights)
    np.testing.assert_allclose(
        preprocessing.to_scan(*centre, Framing.whole(shape)), (row, column), atol=0.2 * max(1, max(shape) / 64)
    )


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("shape", [(51, 37), (224, 224), (301, 513)])
def test_to_grid_and_to_scan_undo_each_other(fit, shape):
    preprocessing = Preprocessing(fit=fit)
    framing = Framing.whole(shape)
    rows, columns = np.random.default_rng(1).uniform(0, 224, (2, 20))
    back = preprocessing.to_grid(*preprocessing.to_scan(rows, columns, framing), framing)
    np.testing.assert_allclose(back, (rows, columns), atol=1e-9)


def test_the_outer_edges_of_the_scan_meet_those_of_its_part_of_the_grid():
    edges = np.array([15.5, 47.5]), np.array([-0.5, 63.5])
    rows, columns = SMALL.to_scan(*edges, Framing.whole((30, 60)))
    np.testing.assert_allclose(rows, [-0.5, 29.5])
    np.testing.assert_allclose(columns, [-0.5, 59.5])


def test_a_mask_is_carried_like_its_scan():
    mask = np.zeros((128, 64), dtype=bool)
    mask[32:64, 16:48] = True
    expected = np.zeros((64, 64), dtype=bool)
    expected[16:32, 16 + 8 : 16 + 24] = True
    np.testing.assert_array_equal(SMALL.grid_mask(mask, Framing.whole(mask.shape)), expected)


def test_a_mask_of_the_networks_size_is_taken_as_it_is():
    mask = np.random.default_rng(2).random((64, 64)) < 0.5
    np.testing.assert_array_equal(SMALL.grid_mask(mask, Framing.whole(mask.shape)), mask)


def test_sixteen_bits_are_windowed_between_their_percentiles():
    # 1001 equal steps of 10: percentiles 0.5 and 99.5 are 50 and 9950 exactly.
    ramp = np.tile((np.arange(1001) * 10).astype(np.uint16), (3, 1))
    shown = SMALL.eight_bit(ramp)[0]
    assert (shown[0], shown[5], shown[995], shown[1000]) == (0, 0, 255, 255)
    assert shown[335] == round((3350 - 50) * 255 / 9900) == 85
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_windowing_does_not_depend_on_type_or_units():
    pixels = np.random.default_rng(3).integers(0, 4000, (64, 64)).astype(np.uint16)
    grid = SMALL.grid(scan_of(pixels))
    np.testing.assert_array_equal(SMALL.grid(scan_of(pixels.astype(np.float32))), grid)
    np.testing.assert_array_equal(SMALL.grid(scan_of(pixels.astype(np.int16) - 1000)), grid)
    difference = SMALL.grid(scan_of(pixels.astype(np.float32) / 1000)).astype(int) - grid
    assert np.abs(difference).max() <= 1


def test_eight_bits_are_never_stretched():
    pixels = np.full((64, 64), 10, dtype=np.uint8)
    pixels[0, 0] = 20
    np.testing.assert_array_equal(SMALL.grid(scan_of(pixels)), pixels)


def test_a_flat_sixteen_bit_scan_is_black():
    assert not SMALL.grid(scan_of(np.full((64, 64), 1234, dtype=np.uint16))).any()


def test_normalise_gives_every_channel_its_mean_and_deviation():
    grids = np.zeros((2, 64, 64), dtype=np.uint8)
    grids[1] = 255
    batch = SMALL.normalise(grids)
    assert (batch.shape, batch.dtype) == ((2, 3, 64, 64), np.float32)
    np.testing.assert_allclose(batch[0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)
    np.testing.assert_allclose(batch[1, :, 0, 0], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-6)


def test_settings_survive_json():
    settings = Preprocessing(image_size=96, fit="stretch", low_percentile=1, mean=(0.1, 0.2, 0.3))
    assert Preprocessing.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 31}, "32 to 1024"),
        ({"fit": "crop"}, "pad and stretch"),
        ({"low_percentile": 60, "high_percentile": 50}, "percentiles"),
        ({"std": (0.2, 0.0, 0.2)}, "above 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Preprocessing(**settings)


def head_on_black(shape=(200, 260), *, top=40, left=70, rows=120, columns=90, level=140):
    """A scan with an ellipse for a head, and the ellipse alone."""
    row, column = np.indices(shape)
    inside = ((row - top - rows / 2) / (rows / 2)) ** 2 + ((column - left - columns / 2) / (columns / 2)) ** 2 <= 1
    noise = np.random.default_rng(0).integers(0, 12, shape)
    return (inside * level + noise).astype(np.uint8), inside


def test_a_head_frame_is_the_same_wherever_the_head_lies_and_however_wide_the_margin():
    framed = Preprocessing(image_size=64, frame="head")
    grids = []
    for shape, top, left in (((200, 260), 40, 70), ((300, 300), 150, 20), ((190, 160), 30, 40)):
        row, _ = np.indices(shape)
        pixels, _ = head_on_black(shape, top=top, left=left)
        pixels = np.where(row - top > 60, pixels // 2, pixels).astype(np.uint8)
        grids.append(framed.grid(scan_of(pixels)).astype(float))
    for grid in grids[1:]:
        assert np.corrcoef(grids[0].ravel(), grid.ravel())[0, 1] > 0.97
    whole = [Preprocessing(image_size=64).grid(scan_of(head_on_black((300, 300), top=t, left=20)[0])) for t in (20, 150)]
    assert np.corrcoef(whole[0].ravel(), whole[1].ravel())[0, 1] < 0.5


def test_what_is_cut_away_is_background_and_masks_follow():
    framed = Preprocessing(image_size=64, frame="head")
    pixels, inside = head_on_black()
    scan = scan_of(pixels)
    framing = framed.framing(scan)
    outside = np.ones(pixels.shape, dtype=bool)
    framing.cut(outside)[:] = False
    assert outside.any()
    assert not (inside & outside).any()
    mask = framed.grid_mask(inside, framing)
    assert (framed.grid(scan)[mask] > 60).mean() > 0.97
    assert mask.sum() > 0.45 * 64 * 64 * 90 / 120


def test_points_of_a_framed_head_go_to_the_scan_and_back():
    framed = Preprocessing(image_size=64, frame="head")
    pixels, _ = head_on_black()
    pixels[95:100, 120:125] = 255
    scan = scan_of(pixels)
    framing = framed.framing(scan)
    row, column = np.unravel_index(framed.grid(scan).argmax(), (64, 64))
    assert np.hypot(*np.subtract(framed.to_scan(row, column, framing), (97, 122))) < 3
    places = np.random.default_rng(1).uniform(0, 64, (2, 20))
    np.testing.assert_allclose(framed.to_grid(*framed.to_scan(*places, framing), framing), places, atol=1e-9)


def test_a_blank_scan_has_no_head_to_be_framed():
    framed = Preprocessing(image_size=64, frame="head")
    blank = scan_of(np.zeros((80, 50), dtype=np.uint8))
    assert framed.framing(blank) == Framing.whole((80, 50))
    assert not framed.grid(blank).any()


def test_framing_is_stored_with_the_rest_and_old_bundles_know_none():
    framed = Preprocessing(frame="head")
    assert Preprocessing.from_json(json.loads(json.dumps(framed.to_json()))) == framed
    old = {key: value for key, value in Preprocessing().to_json().items() if key != "frame"}
    assert Preprocessing.from_json(old).frame == "whole"
    with pytest.raises(RecipeError, match="frame 'face'"):
        Preprocessing(frame="face")
