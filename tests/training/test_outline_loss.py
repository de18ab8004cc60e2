import math

import pytest
import torch

from tumorscope.errors import RecipeError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.network import CellGrid, build
from tumorscope.training.guidance import Guidance
from tumorscope.training.outline_loss import around, cells_loss, outline_shares, peak_loss, relative

GLIOMA, NONE = LABELS.index("glioma"), LABELS.index(NO_TUMOUR)


def test_a_spot_touches_the_cells_around_whose_centre_it_lies():
    """With a stride of 16 and a first centre at 0, cell i sees pixels 16 i - 8 to 16 i + 7 as its own."""
    for pixel, cell in ((0, 0), (7, 0), (8, 1), (23, 1), (24, 2), (103, 6)):
        masks = torch.zeros(1, 1, 112, 112)
        masks[0, 0, pixel, 40] = 1
        shares = outline_shares(masks, CellGrid(stride=16, start=0), (7, 7))
        assert shares.nonzero().tolist() == [[0, cell, 3]]


def test_a_cell_counts_by_the_share_of_it_that_the_tumour_fills():
    masks = torch.zeros(2, 1, 112, 112)
    masks[0, 0, 8:28, 24:40] = 1  # all of cell (1, 2), a quarter of the one below it
    masks[1, 0, 8:10, 24:40] = 1
    shares = outline_shares(masks, CellGrid(stride=16, start=0), (7, 7))
    assert shares[0, 1:3, 2].tolist() == [1.0, 0.25]
    assert shares[1].sum() == shares[1, 1, 2] == 2 / 16
    assert relative(shares).amax(dim=(1, 2)).tolist() == [1.0, 1.0]
    assert not relative(torch.zeros(1, 2, 2)).any()


@pytest.mark.parametrize(("name", "output_stride"), [("mobilenet_v2", 16), ("mobilenet_v2", 32), ("cnn", 16)])
def test_touched_cells_are_those_whose_centre_is_nearest(name, output_stride):
    network = build(name, output_stride=output_stride)
    grid = network.cell_grid()
    shape = tuple(network.eval().features(torch.zeros(1, 3, 96, 96)).shape[2:])
    for row, column in ((3, 90), (50, 17), (70, 70)):
        masks = torch.zeros(1, 1, 96, 96)
        masks[0, 0, row, column] = 1
        (found,) = outline_shares(masks, grid, shape).nonzero().tolist()
        centres = [grid.start + grid.stride * cell for cell in found[1:]]
        assert all(
            abs(centre - place) <= grid.stride / 2 + 0.5 or cell in (0, side - 1)
            for centre, place, cell, side in zip(centres, (row, column), found[1:], shape, strict=True)
        )


def test_peak_loss_is_the_share_of_an_even_map_that_lies_inside():
    allowed = torch.zeros(2, 4, 4)
    allowed[0, 0, :2] = 1
    allowed[1] = 1
    torch.testing.assert_close(peak_loss(torch.zeros(2, 4, 4), allowed), torch.tensor([math.log(8.0), 0.0]))


def test_peak_loss_falls_as_the_peak_moves_inside_and_stays_finite_outside():
    allowed = torch.zeros(1, 4, 4)
    allowed[0, 1, 1] = 1
    inside, outside = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    inside[0, 1, 1] = outside[0, 3, 3] = 30.0
    assert peak_loss(inside, allowed) < 1e-5
    assert 25 < peak_loss(outside, allowed) < 35


def cells(label, logits_inside, logits_outside, *, known=True):
    touched = torch.zeros(1, 10, 10)
    if label != NONE:
        touched[0, 4:6, 4:6] = 1
    evidence = torch.full((1, 4, 10, 10), logits_outside)
    evidence[0, label if label != NONE else GLIOMA, 4:6, 4:6] = logits_inside
    return cells_loss(evidence, torch.tensor([label]), touched, known=torch.tensor([known])).item()


def test_cells_loss_wants_tumour_inside_and_silence_elsewhere():
    assert cells(GLIOMA, 12.0, -12.0) < 1e-4
    assert cells(GLIOMA, -12.0, -12.0) > 5
    assert cells(GLIOMA, 12.0, 12.0) > 5
    assert cells(NONE, -12.0, -12.0) < 1e-4


def test_four_false_cells_among_many_healthy_ones_are_not_drowned():
    assert cells(NONE, 12.0, -12.0) > 3


def test_an_image_whose_cells_are_not_known_adds_nothing():
    assert cells(GLIOMA, 3.0, 3.0, known=False) == 0


def test_peak_loss_counts_a_cell_by_what_lies_inside():
    inside = torch.zeros(1, 4, 4)
    inside[0, 0, 0], inside[0, 0, 1] = 1.0, 0.25
    torch.testing.assert_close(peak_loss(torch.zeros(1, 4, 4), inside), torch.tensor([math.log(16 / 1.25)]))


def test_cells_next_to_an_outline_and_those_it_merely_touches_are_left_to_the_network():
    inside = torch.zeros(1, 8, 8)
    inside[0, 3, 3:6] = torch.tensor([1.0, 0.4, 0.1])
    for_tumour = torch.full((1, 4, 8, 8), -12.0)
    own = (inside == 1).float()
    for_tumour[:, GLIOMA][(around(own) > 0) | (inside > 0)] = 12.0
    assert cells_loss(for_tumour, torch.tensor([GLIOMA]), inside, known=torch.tensor([True])) < 1e-4
    for_tumour[0, GLIOMA, 3, 3] = -12.0
    assert cells_loss(for_tumour, torch.tensor([GLIOMA]), inside, known=torch.tensor([True])) > 5


def test_guidance_refuses_negative_weights():
    with pytest.raises(RecipeError, match=r"guidance.peak = -1"):
        Guidance(peak=-1)
    assert not Guidance()
    assert Guidance(cells=0.5)
