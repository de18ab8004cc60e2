import numpy as np
import pytest

from tumorscope.explanation.faithfulness import STEPS, area_under, blur_away, curves_of, drops, fill_of

SIZE = 64


@pytest.fixture
def scan():
    """A textured head with a bright tumour, and its outline."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    head = (rows - 32) ** 2 + (columns - 32) ** 2 < 28**2
    grid = np.where(head, 90 + rng.integers(-8, 8, (SIZE, SIZE)), 0)
    mask = (rows - 24) ** 2 + (columns - 22) ** 2 < 5**2
    grid[mask] = 230
    return grid.astype(np.uint8), mask


def brightness_there(mask):
    """A network that answers by the brightness of one place alone."""

    def ask(grids):
        share = grids[:, mask].mean(axis=1) / 255
        return np.stack([share, (1 - share) / 3, (1 - share) / 3, (1 - share) / 3], axis=1)

    return ask


def test_curves_begin_and_end_where_they_must(scan):
    grid, mask = scan
    ask = brightness_there(mask)
    curves = curves_of(grid, {"map": mask.astype(float)}, ask=ask, label_index=0)
    whole, blurred = ask(np.stack([grid, fill_of(grid, "blurred")]))[:, 0]
    deletion, insertion = curves["deletion", "blurred", "map"], curves["insertion", "blurred", "map"]
    assert (deletion[0], deletion[-1]) == pytest.approx((whole, blurred))
    assert (insertion[0], insertion[-1]) == pytest.approx((blurred, whole))
    assert len(deletion) == STEPS + 1


def test_a_map_of_what_the_network_uses_beats_one_of_what_it_does_not(scan):
    grid, mask = scan
    orders = {"map": mask.astype(float), "elsewhere": np.roll(mask, 20, axis=1).astype(float)}
    curves = curves_of(grid, orders, ask=brightness_there(mask), label_index=0)
    for fill in ("blurred", "mean"):
        assert area_under(curves["deletion", fill, "map"]) < area_under(curves["deletion", fill, "elsewhere"])
        assert area_under(curves["insertion", fill, "map"]) > area_under(curves["insertion", fill, "elsewhere"])


def test_area_under_a_straight_line_is_one_half():
    assert area_under(np.linspace(0, 1, STEPS + 1)) == pytest.approx(0.5)


def test_taking_the_tumour_away_costs_a_network_that_uses_it_and_taking_as_much_elsewhere_does_not(scan):
    grid, mask = scan
    found = drops(grid, mask, ask=brightness_there(mask), label_index=0, seed=0)
    for name in ("tumour_inpainted_drop", "tumour_blurred_drop"):
        assert found[name]["tumour"] > 0.2
        assert abs(found[name]["elsewhere"]) < 0.05


def test_no_room_elsewhere_is_said_and_not_guessed(scan):
    grid, _ = scan
    everywhere = np.ones_like(grid, dtype=bool)
    found = drops(grid, everywhere, ask=brightness_there(everywhere), label_index=0, seed=0)
    assert found["tumour_blurred_drop"]["elsewhere"] is None
    assert found["tumour_blurred_drop"]["tumour"] is not None


def test_blurring_away_leaves_the_rest_as_it_was(scan):
    grid, mask = scan
    blurred = blur_away(grid, mask)
    np.testing.assert_array_equal(blurred[~mask], grid[~mask])
    assert blurred[mask].std() < 30
    assert 70 < blurred[mask].mean() < 110  # the tissue around it, not the tumour of 230


def test_healthy_tissue_elsewhere_is_not_replaced_by_tumour(scan):
    grid, mask = scan
    seen = []

    def ask(grids):
        seen.extend(grids)
        return np.full((len(grids), 4), 0.25)

    for seed in range(6):
        drops(grid, mask, ask=ask, label_index=0, seed=seed)
    without = [picture for picture in seen if (picture[mask] == grid[mask]).all()]
    assert len(without) > 6
    assert max(int(picture[~mask].max()) for picture in without) <= int(grid[~mask].max()) + 5


def test_pixels_of_equal_rank_go_in_no_particular_direction(scan):
    grid, mask = scan
    top = np.zeros_like(mask)
    top[:8] = True
    curves = curves_of(grid, {"flat": np.zeros(grid.shape)}, ask=brightness_there(top | np.flipud(top)), label_index=0)
    upper = curves_of(grid, {"flat": np.zeros(grid.shape)}, ask=brightness_there(top), label_index=0)
    assert np.ptp(curves["deletion", "mean", "flat"]) > 0
    middle = len(upper["deletion", "mean", "flat"]) // 2
    half = np.mean(upper["deletion", "mean", "flat"][[0, -1]])
    assert upper["deletion", "mean", "flat"][middle] == pytest.approx(half, abs=0.02)
