"""Erasing takes the tumour out, leaves everything else bit for bit, and knows where a control may stand."""

import numpy as np
import pytest

from tumorscope.data.counterfactual import erase, place_elsewhere
from tumorscope.errors import DataError


def with_tumour(pixels, mask):
    shown = pixels.copy()
    shown[mask] = 240
    return shown


@pytest.fixture
def scan(head):
    return head()


@pytest.fixture
def mask(blob):
    return blob((192, 192), (80, 120), (11, 8))


def test_the_tumour_is_gone_and_its_place_looks_like_tissue(scan, mask):
    erased = erase(with_tumour(scan, mask), mask, seed=0)
    assert abs(float(erased[mask].mean()) - 110) < 4


def test_the_grain_stays(scan, mask):
    erased = erase(with_tumour(scan, mask), mask, seed=0)
    assert 4 < erased[mask].std() < 6.5


def test_away_from_the_mask_every_bit_stays(scan, mask, blob):
    erased = erase(with_tumour(scan, mask), mask, seed=0)
    far = ~blob((192, 192), (80, 120), (20, 17))
    assert np.array_equal(erased[far], scan[far])


def test_the_same_seed_gives_the_same_pixels(scan, mask):
    assert np.array_equal(erase(scan, mask, seed=3), erase(scan, mask, seed=3))


def test_other_seeds_choose_other_tissue(scan, mask):
    assert len({erase(scan, mask, seed=seed).tobytes() for seed in range(8)}) > 1


def test_what_is_given_is_not_changed(scan, mask):
    shown = with_tumour(scan, mask)
    before = shown.copy()
    shown.setflags(write=False)
    erase(shown, mask, seed=0)
    assert np.array_equal(shown, before)


def test_an_empty_mask_changes_nothing(scan):
    assert np.array_equal(erase(scan, np.zeros_like(scan, dtype=bool), seed=0), scan)


def test_no_tissue_comes_from_what_is_to_be_avoided(scan, mask):
    """The whole other half of the head is painted white and forbidden; nothing white may turn up."""
    other = np.zeros_like(mask)
    other[:, :90] = True
    painted = np.where(other & (scan > 80), 255, with_tumour(scan, mask)).astype(np.uint8)
    for seed in range(4):
        assert erase(painted, mask, seed=seed, avoid=other)[mask].max() < 180


def test_a_region_too_large_for_one_piece_is_filled_by_several(scan, blob):
    large = blob((192, 192), (96, 96), (42, 36))
    erased = erase(with_tumour(scan, large), large, seed=0)
    assert erased[large].mean() < 140
    assert erased[blob((192, 192), (96, 96), (30, 25))].max() < 200


def test_a_mask_over_the_whole_scan_is_survived(scan):
    assert erase(scan, np.ones_like(scan, dtype=bool), seed=0).shape == scan.shape


def test_a_mask_at_the_border_of_the_scan_is_erased(head):
    scan = head()[:, 60:140]
    mask = np.zeros_like(scan, dtype=bool)
    mask[80:95, :10] = True
    assert erase(with_tumour(scan, mask), mask, seed=0)[mask].mean() < 140


def test_a_mask_of_another_shape_is_refused(scan):
    with pytest.raises(DataError, match=r"mask has shape \(10, 10\), its scan \(192, 192\)"):
        erase(scan, np.zeros((10, 10), dtype=bool), seed=0)


def test_a_mask_of_numbers_is_refused(scan):
    with pytest.raises(DataError, match="bool is needed"):
        erase(scan, scan, seed=0)


def test_a_scan_of_floats_is_refused(scan, mask):
    with pytest.raises(DataError, match="float64"):
        erase(scan.astype(float), mask, seed=0)


def test_the_place_elsewhere_is_as_large_inside_the_head_and_apart(scan, mask):
    place = place_elsewhere(mask, scan, seed=0)
    assert place.sum() == mask.sum()
    assert not (place & mask).any()
    assert scan[place].min() > 60


def test_the_place_elsewhere_is_the_mirrored_one_where_that_is_free(scan, mask):
    place = place_elsewhere(mask, scan, seed=0)
    rows, columns = np.nonzero(place)
    assert abs(rows.mean() - 80) < 1
    assert abs(columns.mean() - (192 - 120)) < 3


def test_a_region_on_the_midline_gets_another_place_drawn_by_the_seed(scan, blob):
    middle = blob((192, 192), (96, 96), (9, 9))
    places = [place_elsewhere(middle, scan, seed=seed) for seed in range(6)]
    assert all(place.sum() == middle.sum() and not (place & middle).any() for place in places)
    assert len({place.tobytes() for place in places}) > 1
    assert np.array_equal(places[2], place_elsewhere(middle, scan, seed=2))


def test_there_is_no_place_elsewhere_without_room(scan, blob):
    assert place_elsewhere(blob((192, 192), (96, 96), (60, 50)), scan, seed=0) is None


def test_there_is_no_place_elsewhere_for_nothing_or_in_nothing(scan, mask):
    assert place_elsewhere(np.zeros_like(mask), scan, seed=0) is None
    assert place_elsewhere(mask, np.zeros_like(scan), seed=0) is None
