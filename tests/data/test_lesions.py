import pytest
import torch

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import Augmenter, Batch
from tumorscope.data.lesions import UNSTATED, drawn_lesions, recoloured
from tumorscope.labels import LABELS, NO_TUMOUR

NONE = LABELS.index(NO_TUMOUR)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def heads(count, size=96):
    """Discs of tissue with grain on black."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    disc = (down**2 + across**2 < 0.8).float()
    return (disc * (0.45 + 0.03 * torch.randn(count, 1, size, size))).clamp(0, 1)


def tumours(count, size=96):
    masks = torch.zeros(count, 1, size, size)
    masks[:, :, 40:56, 30:50] = 1
    return heads(count, size) + 0.2 * masks, masks


def test_drawn_lesions_stand_out_from_their_surroundings_and_lie_in_the_head():
    before = heads(40)
    after, masks = drawn_lesions(before)
    shown = masks.flatten(1).any(dim=1)
    assert shown.float().mean() > 0.9
    assert after.min() >= 0
    assert after.max() <= 1
    near = torch.nn.functional.max_pool2d(before, 5, stride=1, padding=2)
    assert not masks[near == 0].any()
    change = ((after - before).abs() * masks).sum((1, 2, 3))[shown] / masks.sum((1, 2, 3))[shown]
    assert change.median() > 0.12
    far = torch.nn.functional.max_pool2d(masks, 61, stride=1, padding=30) == 0
    assert ((after - before).abs() * far).max() < 0.02


def test_drawn_lesions_differ_in_size_place_and_sign():
    before = heads(60)
    after, masks = drawn_lesions(before)
    area = masks.sum((1, 2, 3))
    assert area.quantile(0.9) > 4 * area.quantile(0.1)
    sign = ((after - before) * masks).sum((1, 2, 3)) > 0
    assert 0.5 < sign.float().mean() < 0.95


def test_nothing_is_drawn_where_there_is_no_head():
    blank = torch.zeros(4, 1, 64, 64)
    after, masks = drawn_lesions(blank)
    assert torch.equal(after, blank)
    assert not masks.any()


def test_recolouring_changes_the_tumour_and_nothing_far_from_it():
    images, masks = tumours(30)
    after, changed = recoloured(images, masks, 1.0)
    assert changed.all()
    assert ((after - images).abs() * masks).sum() / masks.sum() > 0.1
    far = torch.nn.functional.max_pool2d(masks, 9, stride=1, padding=4) == 0
    assert torch.equal(after[far], images[far])
    levels = (after * masks).sum((1, 2, 3)) / masks.sum((1, 2, 3))
    assert (levels - 0.45).abs().min() > 0.05
    assert 0.4 < (levels > 0.45).float().mean() < 0.95


def test_recolouring_leaves_images_without_an_outline():
    images, masks = tumours(10)
    masks[::2] = 0
    after, changed = recoloured(images, masks, 1.0)
    assert changed.tolist() == [False, True] * 5
    assert torch.equal(after[::2], images[::2])


def test_augmentation_draws_into_healthy_scans_alone_and_says_so_in_the_labels():
    images, masks = tumours(40)
    labels = torch.arange(40) % len(LABELS)
    masks[labels == NONE] = 0
    changed = Augmenter(Augmentation(drawn=1.0))(Batch(images, labels, masks))
    healthy = labels == NONE
    assert torch.equal(changed.images[~healthy], images[~healthy])
    assert torch.equal(changed.labels[~healthy], labels[~healthy])
    drawn = changed.labels == UNSTATED
    assert drawn[healthy].float().mean() > 0.8
    assert torch.equal(drawn, healthy & changed.masks.flatten(1).any(dim=1))


def test_a_recoloured_tumour_is_of_unstated_type():
    images, masks = tumours(12)
    changed = Augmenter(Augmentation(recoloured=0.5))(Batch(images, torch.zeros(12, dtype=torch.int64), masks))
    moved = (changed.images != images).flatten(1).any(dim=1)
    assert 0 < moved.sum() < 12
    assert torch.equal(moved, changed.labels == UNSTATED)


def test_without_outlines_lesions_are_drawn_and_nothing_is_recoloured():
    images = heads(8)
    changed = Augmenter(Augmentation(drawn=1.0, recoloured=1.0))(Batch(images, torch.full((8,), NONE)))
    assert changed.masks is None
    assert (changed.labels == UNSTATED).any()
