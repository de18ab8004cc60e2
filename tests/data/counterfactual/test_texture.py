"""Texture is measured by size of detail and brought to what is wanted, up and down."""

import numpy as np
import pytest

from tumorscope.data.counterfactual.blending import blended, faded, membrane
from tumorscope.data.counterfactual.texture import BANDS, texture_of, with_texture


def noise(strength, seed):
    return np.random.default_rng(seed).normal(100, strength, (96, 96)).astype(np.float32)


WHERE = np.zeros((96, 96), dtype=bool)
WHERE[20:76, 20:76] = True


@pytest.mark.parametrize(("has", "wants"), [(2, 8), (8, 2), (5, 5)])
def test_texture_becomes_about_as_strong_as_wanted(has, wants):
    wanted = texture_of(noise(wants, 1), WHERE)
    changed = with_texture(noise(has, 0), WHERE, wanted=wanted, sample=noise(wants, 2), bands=len(BANDS))
    assert np.allclose(texture_of(changed, WHERE), wanted, rtol=0.4)


def test_texture_that_fits_stays_as_it_is():
    pixels = noise(5, 0)
    same = with_texture(pixels, WHERE, wanted=texture_of(pixels, WHERE), sample=noise(5, 1), bands=len(BANDS))
    assert np.abs(same - pixels).max() < 0.01


def test_coarse_detail_is_left_alone_where_only_fine_bands_are_changed():
    rows = np.sin(np.arange(96) / 8)[:, None] * np.ones((1, 96))
    pixels = (100 + 30 * rows).astype(np.float32)
    changed = with_texture(pixels, WHERE, wanted=[3, 3, 3, 3], sample=noise(5, 1), bands=1)
    assert abs(float((changed * rows).sum() / (pixels * rows).sum()) - 1) < 0.01


def test_a_blend_of_two_noises_is_as_strong_as_either():
    weight = np.full((96, 96), 0.5, dtype=np.float32)
    assert blended(noise(5, 0), noise(5, 1), weight, grain=5.0).std() == pytest.approx(5, rel=0.06)


def test_a_blend_of_a_picture_with_itself_is_that_picture():
    pixels = noise(5, 0)
    weight = np.full((96, 96), 0.3, dtype=np.float32)
    assert np.abs(blended(pixels, pixels, weight, grain=2.0) - pixels).max() < 0.01


def test_a_membrane_keeps_known_values_and_lies_between_them():
    known = np.ones((40, 50), dtype=bool)
    known[8:32, 8:42] = False
    slope = np.broadcast_to(np.arange(50, dtype=np.float32), (40, 50))
    surface = membrane(np.where(known, slope, np.float32(999)), known)
    assert np.array_equal(surface[known], slope[known])
    assert np.abs(surface - slope).max() < 1.5


def test_weights_rise_from_the_border_of_an_area_to_one():
    weight = faded(WHERE, 6.0)
    assert weight[~WHERE].max() == 0
    assert weight[20, 48] < 0.2
    assert weight[48, 48] == 1
