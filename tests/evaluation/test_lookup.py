from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.decode import decode_file
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.lookup import lookup_baseline, lookup_predictions, nearest
from tumorscope.labels import label_index

REAL = Path(__file__).resolve().parents[2] / "../shared/data/nickparvar"


def random_grids(count: int, *, seed: int, side: int = 96) -> np.ndarray:
    """Random pictures of 12 x 12 cells, unlike each other at every scale that matters here."""
    cells = np.random.default_rng(seed).integers(20, 200, size=(count, 12, 12), dtype=np.uint8)
    return cells.repeat(side // 12, axis=1).repeat(side // 12, axis=2)


def test_two_pixels_give_the_cosines_worked_out_by_hand():
    test = np.array([[[0, 100], [0, 0]]], dtype=np.uint8)
    train = np.array([[[0, 0], [90, 0]], [[0, 50], [0, 50]], [[80, 80], [0, 80]]], dtype=np.uint8)
    # Less its mean the test image is (-1, 3, -1, -1) / sqrt(12); the second training image is (-1, 1, -1, 1) / 2.
    index, similarity = nearest(train, test, size=2)
    assert index.tolist() == [1]
    assert similarity[0] == pytest.approx(4 / np.sqrt(12 * 4))
    assert nearest(train[:1], test, size=2)[1][0] == pytest.approx(-4 / 12)


def test_the_same_image_is_found_whatever_its_brightness_and_contrast():
    train = random_grids(40, seed=0)
    chosen = np.array([7, 31, 0])
    test = (train[chosen] * 0.5 + 30).astype(np.uint8)
    index, similarity = nearest(train, test)
    assert index.tolist() == chosen.tolist()
    assert (similarity > 0.999).all()


def test_a_mirror_image_is_found_only_when_mirrors_may_match():
    train = random_grids(40, seed=1)
    test = train[[3, 20]][:, :, ::-1]
    index, similarity = nearest(train, test, mirrored=True)
    assert index.tolist() == [3, 20]
    assert similarity == pytest.approx(np.ones(2))
    assert (nearest(train, test)[1] < 0.6).all()


def test_reduction_is_the_mean_over_areas_also_when_sizes_do_not_divide():
    rng = np.random.default_rng(2)
    grids = rng.integers(0, 256, size=(6, 30, 30), dtype=np.uint8)
    # 30 pixels to 20: every pixel is cut in two by way of 60, then three pieces make one cell.
    fine = grids.repeat(2, axis=1).repeat(2, axis=2).astype(float)
    small = fine.reshape(6, 20, 3, 20, 3).mean(axis=(2, 4)).reshape(6, -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    expected = small[:2] @ small[2:].T
    index, similarity = nearest(grids[2:], grids[:2], size=20)
    assert index.tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(similarity, expected.max(axis=1), atol=1e-5)


def test_blocks_of_training_images_give_what_one_product_gives():
    cells = np.random.default_rng(3).integers(0, 256, size=(1100, 8, 8), dtype=np.uint8)
    test = np.random.default_rng(4).integers(0, 256, size=(530, 8, 8), dtype=np.uint8)

    def units(grids):
        flat = grids.reshape(len(grids), -1).astype(float)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    expected = units(test) @ units(cells).T
    index, similarity = nearest(cells, test, size=8)
    np.testing.assert_array_equal(index, expected.argmax(axis=1))
    np.testing.assert_allclose(similarity, expected.max(axis=1), atol=1e-5)


def test_a_constant_image_is_like_nothing_and_gives_no_nan():
    train = random_grids(5, seed=5)
    train[2] = 255
    flat = np.stack([np.full((96, 96), value, dtype=np.uint8) for value in (0, 255, 37)])
    index, similarity = nearest(train, flat)
    assert similarity.tolist() == [0, 0, 0]
    assert index.tolist() == [0, 0, 0]
    assert nearest(train[2:3], random_grids(1, seed=6))[1].tolist() == [0]


def test_rounding_in_a_constant_image_is_not_taken_for_a_picture():
    # 100 pixels on 64 cells: the weights of a cell miss 1 by rounding, which normalising would blow up.
    flat = np.stack([np.full((100, 100), value, dtype=np.uint8) for value in (1, 200, 255)])
    assert nearest(flat, flat)[1].tolist() == [0, 0, 0]
    spot = np.zeros((1, 224, 224), dtype=np.uint8)
    spot[0, 100, 100] = 1
    assert nearest(spot, spot)[1] == pytest.approx(1)


def test_of_equally_similar_images_the_first_counts():
    train = random_grids(4, seed=7)[[0, 1, 1, 2]]
    assert nearest(train, train[2:3])[0].tolist() == [1]
    many = np.random.default_rng(12).integers(0, 256, size=(1024, 8, 8), dtype=np.uint8)
    many[512:] = many[:512]
    assert nearest(many, many[513:514], size=8)[0].tolist() == [1]


def test_memory_mapped_images_give_the_same(tmp_path):
    train, test = random_grids(30, seed=8), random_grids(9, seed=9)
    np.save(tmp_path / "train.npy", train)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(mapped, test)[0], nearest(train, test)[0])


def test_no_test_images_find_nothing():
    index, similarity = nearest(random_grids(3, seed=0), np.empty((0, 96, 96), dtype=np.uint8))
    assert len(index) == len(similarity) == 0


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((0, 8, 8), (1, 8, 8), "at least one training image"),
        ((2, 8, 8), (1, 9, 9), "one side for both"),
        ((2, 8, 8, 3), (1, 8, 8, 3), "one side for both"),
        ((2, 8, 6), (1, 8, 6), "square"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(train, test, message):
    with pytest.raises(EvaluationError, match=message):
        nearest(np.zeros(train, dtype=np.uint8), np.zeros(test, dtype=np.uint8))


def test_the_prediction_is_the_label_of_the_nearest_image_with_certainty():
    train = random_grids(8, seed=10)
    labels = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    predictions = lookup_predictions(
        train, labels, test_grids=train[[6, 1]], test_paths=["x.png", "y.png"], test_label_index=np.array([2, 3])
    )
    assert predictions.paths == ("x.png", "y.png")
    assert predictions.probabilities.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert predictions.correct.tolist() == [True, False]


def test_labels_that_do_not_fit_the_training_images_are_refused():
    train = random_grids(3, seed=0)
    with pytest.raises(EvaluationError, match="3 training images and 2 labels"):
        lookup_predictions(train, np.array([0, 1]), test_grids=train, test_paths=list("abc"), test_label_index=np.zeros(3, int))


def test_the_baseline_holds_the_summary_its_intervals_and_the_mirrored_look_up():
    train, labels = random_grids(40, seed=11), np.arange(40) % 4
    test = train.copy()
    test[:20] = test[:20, :, ::-1]
    paths = [f"{i:02}.png" for i in range(40)]
    plain, mirrored = (
        lookup_predictions(train, labels, test_grids=test, test_paths=paths, test_label_index=labels, mirrored=mirrored)
        for mirrored in (False, True)
    )
    baseline = lookup_baseline(plain, mirrored, groups=None, seed=3)
    assert baseline["mirrored"]["accuracy"] == 1
    assert 0.5 <= baseline["accuracy"] < 1
    assert baseline["intervals"]["accuracy"][0] < baseline["accuracy"] < baseline["intervals"]["accuracy"][1]
    assert baseline["intervals"]["seed"] == 3
    assert baseline["n"] == 40


@pytest.mark.real
def test_the_look_up_scores_what_was_measured_on_the_published_test_set():
    preprocessing = Preprocessing()
    grids, labels, paths = {}, {}, {}
    for split in ("Training", "Testing"):
        paths[split] = sorted((REAL / split).glob("[a-z]*/*.jpg"))
        grids[split] = np.stack([preprocessing.grid(decode_file(path)) for path in paths[split]])
        labels[split] = np.array([label_index(path.parent.name) for path in paths[split]])
    accuracy = {}
    for mirrored in (False, True):
        predictions = lookup_predictions(
            grids["Training"],
            labels["Training"],
            test_grids=grids["Testing"],
            test_paths=[path.as_posix() for path in paths["Testing"]],
            test_label_index=labels["Testing"],
            mirrored=mirrored,
        )
        accuracy[mirrored] = predictions.correct.mean()
    assert len(labels["Testing"]) == 1311
    assert accuracy[False] == pytest.approx(0.959, abs=0.003)
    assert accuracy[True] == pytest.approx(0.98, abs=0.005)
