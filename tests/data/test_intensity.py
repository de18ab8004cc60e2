import numpy as np
import pytest
import torch

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import Augmenter, Batch
from tumorscope.data.intensity import random_bias_field, random_coarse, random_curve, random_gamma, random_noise
from tumorscope.errors import RecipeError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def ramp(count):
    return torch.linspace(0, 1, 64).expand(count, 1, 64, 64).clone()


CHANGES = [
    lambda images: random_gamma(images, 2.0),
    random_curve,
    lambda images: random_bias_field(images, 0.4),
    lambda images: random_coarse(images, 0.5),
    lambda images: random_noise(images, 0.1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_intensities_stay_in_range_and_images_differ(change):
    images = torch.rand(24, 1, 64, 64)
    before = images.clone()
    changed = change(images)
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert 4 < sum(not torch.equal(a, b) for a, b in zip(changed, images, strict=True)) <= 24


def test_gamma_keeps_the_order_of_intensities_and_curves_do_not():
    smooth, curved = random_gamma(ramp(50), 2.0)[:, 0, 0], random_curve(ramp(50))[:, 0, 0]
    assert (smooth.diff(dim=1) >= 0).all()
    falling = (curved.diff(dim=1) < -1e-4).any(dim=1)
    assert falling.float().mean() > 0.8


def test_gamma_brightens_about_as_often_as_it_darkens():
    middle = random_gamma(torch.full((400, 1, 1, 1), 0.5), 2.0).flatten()
    assert 0.4 < (middle > 0.5).float().mean() < 0.6
    assert middle.min() >= 0.25 - 1e-6
    assert middle.max() <= 0.5**0.5 + 1e-6


def test_curves_leave_black_nearly_black():
    assert random_curve(torch.zeros(200, 1, 2, 2)).max() < 0.5
    assert random_curve(torch.zeros(200, 1, 2, 2)).mean() < 0.1


def test_bias_field_is_slow():
    field = random_bias_field(torch.full((8, 1, 64, 64), 0.3), 0.4)[:, 0]
    assert field.std(dim=(1, 2)).max() > 0.02
    assert field.diff(dim=1).abs().max() < 0.2 * (field.amax() - field.amin())


def test_coarse_takes_fine_detail_away():
    noise = torch.rand(20, 1, 64, 64)
    coarse = random_coarse(noise, 1.0)
    assert (coarse.diff(dim=3).abs().mean(dim=(1, 2, 3)) < 0.7 * noise.diff(dim=3).abs().mean(dim=(1, 2, 3))).all()


def test_masks_move_with_their_images():
    images = torch.zeros(16, 1, 64, 64)
    images[:, :, 10:30, 34:50] = 1.0
    augment = Augmenter(Augmentation(flip=0.5, rotation_deg=25, zoom=(0.8, 1.2), shift=0.1))
    moved, _, masks = augment(Batch(images, torch.zeros(16), images.clone()))
    overlap = ((moved > 0.5) & (masks > 0.5)).sum(dim=(1, 2, 3)) / ((moved > 0.5) | (masks > 0.5)).sum(dim=(1, 2, 3))
    assert overlap.min() > 0.85
    assert (moved - images).abs().mean() > 0.02


def test_masks_are_not_touched_by_changes_of_intensity():
    masks = (torch.rand(6, 1, 32, 32) > 0.5).float()
    choice = Augmentation(gamma=2, curve=0.5, bias_field=0.4, coarse=0.5, noise=0.1, contrast=0.2)
    images, _, kept = Augmenter(choice)(Batch(torch.rand(6, 1, 32, 32), torch.zeros(6), masks.clone()))
    assert torch.equal(kept, masks)
    assert np.isfinite(images.numpy()).all()


@pytest.mark.parametrize("choice", [{"gamma": 0.5}, {"curve": 1.5}, {"noise": -0.1}, {"bias_field": 2.0}])
def test_choices_out_of_range_are_refused(choice):
    with pytest.raises(RecipeError, match=next(iter(choice))):
        Augmentation(**choice)
