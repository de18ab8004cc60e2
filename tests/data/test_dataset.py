import numpy as np
import pytest
import torch

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import EpochOrder, augmenter, batches, normalise, resize
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import RecipeError


def test_every_training_image_comes_once_an_epoch_in_an_order_of_its_own(banded_cache):
    loader = batches(banded_cache, "train", batch_size=16, seed=1)
    rows = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        rows.append([row for batch in loader.sampler for row in batch])
    assert sorted(rows[0]) == sorted(rows[1]) == banded_cache.rows("train").tolist()
    assert rows[0] != rows[1]


def test_order_depends_on_seed_and_epoch_alone():
    order = EpochOrder(np.arange(50), batch_size=8, seed=3)
    order.set_epoch(4)
    first = list(order)
    other = EpochOrder(np.arange(50), batch_size=8, seed=3)
    other.set_epoch(4)
    assert list(other) == first


def test_single_left_over_image_is_dropped_in_training_but_not_in_testing():
    assert len(EpochOrder(np.arange(33), batch_size=16, seed=0)) == 2
    assert sum(map(len, EpochOrder(np.arange(33), batch_size=16, seed=None))) == 33


def test_batches_carry_pixels_and_labels_of_their_split(banded_cache):
    images, labels = next(iter(batches(banded_cache, "test", batch_size=64)))
    rows = banded_cache.rows("test")
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images[:, 0].numpy(), banded_cache.grids[rows])
    np.testing.assert_array_equal(labels.numpy(), banded_cache.label_index[rows])


def test_flip_twice_is_the_identity():
    images = torch.rand(4, 1, 32, 32)
    flip = augmenter(Augmentation(flip=1.0))
    torch.testing.assert_close(flip(flip(images)), images)
    torch.testing.assert_close(flip(images), images.flip(-1))


def test_augmentation_at_rest_changes_nothing():
    images = torch.rand(4, 1, 32, 32)
    assert torch.equal(augmenter(Augmentation())(images), images)


def test_each_image_of_a_batch_is_augmented_by_its_own_draw():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 48, 48).expand(6, 1, -1, -1).clone()
    changed = augmenter(Augmentation(rotation_deg=20, zoom=(0.9, 1.1), shift=0.05, contrast=0.2, brightness=0.1))(images)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert all((changed[0] - changed[k]).abs().mean() > 1e-3 for k in range(1, 6))


def test_rotation_stays_within_its_bound():
    """A bar turned by at most 20 degrees keeps an axis within 20 degrees of the old one."""
    torch.manual_seed(1)
    bar = torch.zeros(32, 1, 65, 65)
    bar[:, :, 30:35, 8:57] = 1
    turned = augmenter(Augmentation(rotation_deg=20))(bar).numpy()[:, 0]
    rows, columns = np.mgrid[-32:33, -32:33]
    angles = []
    for image in turned:
        spread = np.array([[(image * rows * rows).sum(), (image * rows * columns).sum()], [0, (image * columns * columns).sum()]])
        angles.append(0.5 * np.degrees(np.arctan2(2 * spread[0, 1], spread[1, 1] - spread[0, 0])))
    assert max(np.abs(angles)) < 20.5
    assert np.std(angles) > 5


def test_torch_and_numpy_normalise_alike():
    preprocessing = Preprocessing(image_size=32)
    grids = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    by_torch = normalise(torch.from_numpy(grids)[:, None].float() / 255, preprocessing)
    np.testing.assert_allclose(by_torch.numpy(), preprocessing.normalise(grids), atol=1e-6)


def test_resize_keeps_the_mean_and_is_idle_at_the_same_size():
    images = torch.rand(2, 1, 64, 64)
    assert resize(images, 64) is images
    assert resize(images, 32).mean().item() == pytest.approx(images.mean().item(), abs=0.01)


@pytest.mark.parametrize("wrong", [{"flip": 2.0}, {"rotation_deg": 200.0}, {"zoom": (2.0, 1.0)}, {"shift": -0.1}])
def test_impossible_augmentation_is_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Augmentation(**wrong)
