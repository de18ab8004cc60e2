from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import Augmenter, Batch, EpochOrder, Part, batches, normalise, resize, training_batches
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.training_images import TrainingImages
from tumorscope.errors import ManifestError, RecipeError
from tumorscope.labels import LABELS


def test_every_training_image_comes_once_an_epoch_in_an_order_of_its_own(banded_cache):
    loader = training_batches(TrainingImages(banded_cache), batch_size=16, seed=1)
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


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 51.0)])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_divide_the_batches_of_one_among_them(processes, weights):
    rows, edited = np.arange(50), np.arange(50, 60)
    choices = {"batch_size": 16, "seed": 3, "weights": weights, "edited": edited, "edited_share": 0.2}
    whole = EpochOrder(rows, **choices)
    parts = [EpochOrder(rows, **choices, part=Part(rank, processes)) for rank in range(processes)]
    for order in (whole, *parts):
        order.set_epoch(2)
    shared = list(zip(*parts, strict=True))
    assert [sorted(chain(*batch)) for batch in shared] == [sorted(batch) for batch in whole]
    assert sum(len(part) for batch in shared for part in batch) == 62


def test_weights_of_processes_make_the_mean_over_the_whole_batch():
    parts = [EpochOrder(np.arange(22), batch_size=15, seed=0, part=Part(rank, 2)) for rank in range(2)]
    for number, batch in enumerate(zip(*parts, strict=True)):
        weighted = [np.mean(rows) * order.weight(number) for order, rows in zip(parts, batch, strict=True)]
        assert np.mean(weighted) == pytest.approx(np.mean([*chain(*batch)]))
    assert {len(rows) for rows in batch} == {4, 3}


def test_what_is_left_over_waits_where_a_process_would_get_a_single_image():
    assert len(EpochOrder(np.arange(35), batch_size=16, seed=0, part=Part(1, 2))) == 2
    assert len(EpochOrder(np.arange(36), batch_size=16, seed=0, part=Part(1, 2))) == 3


def test_processes_divide_a_split_without_repeating_an_image(banded_cache):
    parts = [batches(banded_cache, "test", batch_size=4, part=Part(rank, 3)).sampler for rank in range(3)]
    taken = [row for part in parts for batch in part for row in batch]
    assert sorted(taken) == banded_cache.rows("test").tolist()


def test_batches_carry_pixels_and_labels_of_their_split(banded_cache):
    images, labels, masks = next(iter(batches(banded_cache, "test", batch_size=64)))
    rows = banded_cache.rows("test")
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images[:, 0].numpy(), banded_cache.grids[rows])
    np.testing.assert_array_equal(labels.numpy(), banded_cache.label_index[rows])
    assert masks is None


def unlabelled(images):
    return Batch(images, torch.zeros(len(images), dtype=torch.int64))


def test_flip_twice_is_the_identity():
    images = torch.rand(4, 1, 32, 32)
    augment = Augmenter(Augmentation(flip=1.0))
    torch.testing.assert_close(augment(augment(unlabelled(images))).images, images)
    torch.testing.assert_close(augment(unlabelled(images)).images, images.flip(-1))


def test_augmentation_at_rest_changes_nothing():
    images = torch.rand(4, 1, 32, 32)
    assert torch.equal(Augmenter(Augmentation())(unlabelled(images)).images, images)


def test_each_image_of_a_batch_is_augmented_by_its_own_draw():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 48, 48).expand(6, 1, -1, -1).clone()
    choice = Augmentation(rotation_deg=20, zoom=(0.9, 1.1), shift=0.05, contrast=0.2, brightness=0.1)
    changed = Augmenter(choice)(unlabelled(images)).images
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert all((changed[0] - changed[k]).abs().mean() > 1e-3 for k in range(1, 6))


def test_rotation_stays_within_its_bound():
    """A bar turned by at most 20 degrees keeps an axis within 20 degrees of the old one."""
    torch.manual_seed(1)
    bar = torch.zeros(32, 1, 65, 65)
    bar[:, :, 30:35, 8:57] = 1
    turned = Augmenter(Augmentation(rotation_deg=20))(unlabelled(bar)).images.numpy()[:, 0]
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


def with_edits(cache, *, count=6):
    """Return the images with random masks, and some of them once more as edited scans of another grey."""
    masks = np.random.default_rng(0).random(cache.grids.shape) > 0.5
    records = [replace(cache.manifest.records[k], path=f"edited-{k}.png", split="train") for k in range(count)]
    edited = PixelCache(cache.manifest.with_records(records), 255 - cache.grids[:count], cache.preprocessing)
    return TrainingImages(cache, masks, edited, ~masks[:count])


def test_edited_scans_follow_the_images_with_their_own_labels_and_masks(banded_cache):
    images = with_edits(banded_cache)
    assert len(images) == 86
    grids, labels, masks = images.at(np.array([81, 3, 80]))
    own = banded_cache.grids
    np.testing.assert_array_equal(grids, np.stack([255 - own[1], own[3], 255 - own[0]]))
    assert labels.tolist() == [1, 3, 0]
    np.testing.assert_array_equal(masks[0], images.edited_masks[1])
    np.testing.assert_array_equal(masks[1], images.masks[3])


def test_an_epoch_holds_the_share_of_edited_scans_that_was_asked_for(banded_cache):
    loader = training_batches(with_edits(banded_cache), batch_size=16, seed=1, edited_share=0.25)
    rows = [row for batch in loader.sampler for row in batch]
    assert len(rows) == 64
    edited = [row for row in rows if row >= 80]
    assert len(edited) == 16
    counts = np.bincount(edited)[80:]
    assert counts.min() >= 2
    assert counts.max() <= 3
    assert sorted(row for row in rows if row < 80) == banded_cache.rows("train").tolist()


def test_balanced_epochs_draw_every_class_as_often(banded_cache):
    lone = banded_cache.manifest.where(lambda record: record.label != LABELS[2] or record.path in ("2.png", "14.png", "18.png"))
    loader = training_batches(TrainingImages(banded_cache.with_manifest(lone)), batch_size=16, seed=1, balanced=True)
    labels = []
    for epoch in range(30):
        loader.sampler.set_epoch(epoch)
        labels += [label for batch in loader for label in batch.labels.tolist()]
    assert np.bincount(labels) / len(labels) == pytest.approx([0.25] * 4, abs=0.04)


def test_a_class_without_images_is_drawn_never(banded_cache):
    lone = banded_cache.manifest.where(lambda record: record.label != LABELS[2])
    loader = training_batches(TrainingImages(banded_cache.with_manifest(lone)), batch_size=16, seed=1, balanced=True)
    assert {label for batch in loader for label in batch.labels.tolist()} == {0, 1, 3}


def test_masks_of_another_size_are_refused(banded_cache):
    with pytest.raises(ManifestError, match="one for each image"):
        TrainingImages(banded_cache, np.zeros((80, 32, 32), dtype=bool))
