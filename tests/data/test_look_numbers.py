import numpy as np
import pytest

from tumorscope.data.look_numbers import LOOK_NAMES, look_numbers


def named(pixels):
    return dict(zip(LOOK_NAMES, look_numbers(pixels).tolist(), strict=True))


def test_numbers_of_a_half_bright_picture_are_worked_by_hand():
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[:, 32:] = 204
    look = named(pixels)
    assert look["levels"] == pytest.approx(2 / 256)
    assert look["top_level_share"] == pytest.approx(np.sqrt(0.5))
    assert look["mean"] == pytest.approx(102 / 255)
    assert look["std"] == pytest.approx(102 / 128)
    assert look["dark_share"] == pytest.approx(np.sqrt(0.5))
    assert look["white_share"] == 0
    assert look["darkest_corner"] == 0
    assert look["brightest_corner"] == pytest.approx(204 / 255)


def test_percentiles_are_those_inside_of_the_head_s_ellipse_alone():
    y, x = np.mgrid[-1 : 1 : 64 * 1j, -1 : 1 : 64 * 1j]
    pixels = np.where(y**2 + x**2 < 1, 51, 255).astype(np.uint8)
    look = named(pixels)
    assert [look[name] for name in LOOK_NAMES if name.startswith("inside")] == pytest.approx([51 / 255] * 9)


def test_a_blank_picture_has_finite_numbers():
    for level in (0, 255):
        numbers = look_numbers(np.full((20, 30), level, dtype=np.uint8))
        assert numbers.dtype == np.float32
        assert numbers.shape == (len(LOOK_NAMES),) == (20,)
        assert np.isfinite(numbers).all()


def test_mirroring_changes_nothing_and_inverting_much():
    pixels = np.random.default_rng(0).integers(0, 200, (64, 64), dtype=np.uint8)
    pixels[:10] = 0
    np.testing.assert_allclose(look_numbers(pixels[:, ::-1].copy()), look_numbers(pixels), atol=0.02)
    assert np.abs(look_numbers(255 - pixels) - look_numbers(pixels)).max() > 0.3
