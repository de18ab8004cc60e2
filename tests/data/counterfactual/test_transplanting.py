"""A transplanted tumour lies where its class lives, its mask moves with it, and the rest of the host stays."""

import numpy as np
import pytest

from tumorscope.data.counterfactual import transplant
from tumorscope.data.counterfactual.shapes import grown
from tumorscope.errors import DataError
from tumorscope.labels import TUMOUR_LABELS

SEEDS = range(8)


@pytest.fixture
def donor_mask(blob):
    return blob((192, 192), (80, 120), (13, 9))


@pytest.fixture
def donor(head, donor_mask):
    pixels = head(seed=1)
    pixels[donor_mask] = 210
    return pixels


@pytest.fixture
def host(head):
    return head(seed=2, size=160, level=70.0)


@pytest.mark.parametrize("label", TUMOUR_LABELS)
def test_the_tumour_is_seen_where_the_mask_says(donor, donor_mask, host, label):
    for seed in SEEDS:
        pixels, mask = transplant(donor, donor_mask, host, label=label, seed=seed)
        assert pixels.shape == mask.shape == host.shape
        change = np.abs(pixels.astype(float) - host)
        assert change[mask].mean() > 8
        assert np.array_equal(pixels[~grown(mask, 12)], host[~grown(mask, 12)])


@pytest.mark.parametrize("label", TUMOUR_LABELS)
def test_the_same_seed_gives_the_same_pixels_and_others_differ(donor, donor_mask, host, label):
    first, again, other = (transplant(donor, donor_mask, host, label=label, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_glioma_lies_inside_the_tissue(donor, donor_mask, host, blob):
    tissue = blob((160, 160), (80, 80), (160 * 0.4 + 2, 160 * 0.32 + 2))
    for seed in SEEDS:
        mask = transplant(donor, donor_mask, host, label="glioma", seed=seed)[1]
        assert not (mask & ~tissue).any()


def test_a_pituitary_tumour_lies_near_the_midline_at_middle_height(donor, donor_mask, host):
    for seed in SEEDS:
        rows, columns = np.nonzero(transplant(donor, donor_mask, host, label="pituitary", seed=seed)[1])
        assert abs(columns.mean() - 80) < 160 * 0.08
        assert 0.25 < rows.mean() / 160 < 0.75


def test_a_meningioma_touches_the_inner_border_of_the_skull(donor, donor_mask, host, blob):
    deep = blob((160, 160), (80, 80), (160 * 0.4 - 5, 160 * 0.32 - 5))
    skull = ~blob((160, 160), (80, 80), (160 * 0.4 + 2, 160 * 0.32 + 2))
    for seed in SEEDS:
        mask = transplant(donor, donor_mask, host, label="meningioma", seed=seed)[1]
        assert (mask & ~deep).any()
        assert not (mask & skull).any()


def test_the_tumour_is_rescaled_to_the_size_of_the_head(donor, donor_mask, head):
    hosts = [head(seed=2, size=96), head(seed=2, size=192)]
    areas = [[transplant(donor, donor_mask, host, label="glioma", seed=seed)[1].sum() for seed in SEEDS] for host in hosts]
    ratios = np.array(areas[0]) / np.array(areas[1])
    assert 0.8 * 0.25 < np.median(ratios) < 1.25 * 0.25


def test_sizes_vary_up_to_twice_the_donors(donor, donor_mask, head):
    host = head(seed=2, size=192)
    grown = [transplant(donor, donor_mask, host, label="glioma", seed=seed)[1].sum() / donor_mask.sum() for seed in range(16)]
    assert 0.5 < min(grown) < 1.1
    assert 1.5 < max(grown) < 4.4


def test_contrast_varies_with_the_seed_in_both_directions(donor, donor_mask, host):
    made = [transplant(donor, donor_mask, host, label="glioma", seed=seed) for seed in range(24)]
    contrasts = [pixels[mask].mean() - 70 for pixels, mask in made]
    assert min(contrasts) < -10
    assert max(contrasts) > 30


def test_healthy_tissue_leaves_no_contrast(head, donor_mask, host):
    for seed in SEEDS:
        pixels, mask = transplant(head(seed=1), donor_mask, host, label="glioma", seed=seed, healthy=True)
        assert abs(float(pixels[mask].mean()) - 70) < 5
        assert not np.array_equal(pixels[mask], host[mask])


def test_the_grain_is_that_of_the_host(head, donor_mask, host):
    noisy = head(seed=1)
    noisy[donor_mask] = (noisy[donor_mask] + np.random.default_rng(0).normal(0, 25, donor_mask.sum())).clip(0, 255).astype(np.uint8)
    for seed in SEEDS:
        pixels, mask = transplant(noisy, donor_mask, host, label="glioma", seed=seed, healthy=True)
        assert 2.5 < pixels[mask].std() < 10


def test_nothing_can_be_moved_without_a_mask_or_a_head(donor, donor_mask, host):
    assert transplant(donor, np.zeros_like(donor_mask), host, label="glioma", seed=0) is None
    assert transplant(donor, donor_mask, np.zeros_like(host), label="glioma", seed=0) is None


def test_a_tumour_that_would_be_a_few_pixels_has_no_room(donor, blob, head):
    assert transplant(donor, blob((192, 192), (80, 120), (4, 4)), head(size=48), label="pituitary", seed=0) is None


def test_a_mask_of_another_shape_is_refused(donor, host):
    with pytest.raises(DataError, match="Draw the mask on the scan's own grid"):
        transplant(donor, np.zeros((9, 9), dtype=bool), host, label="glioma", seed=0)


def test_a_label_without_a_place_is_refused(donor, donor_mask, host):
    with pytest.raises(DataError, match="nobody knows where that lives"):
        transplant(donor, donor_mask, host, label="notumor", seed=0)
