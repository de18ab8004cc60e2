import subprocess
import sys

import numpy as np
import pytest

from tumorscope.data.artefacts import brightest
from tumorscope.data.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from tumorscope.errors import DataError, UsageError


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """An oval with a bright rim, folds, a bright spot and fine grain on black."""
    rows, columns = np.ogrid[-1:1:200j, -1:1:160j]
    radius = np.hypot(rows / 0.8, columns / 0.7)
    tissue = np.where(radius < 0.85, 90, 180) + 60 * (np.hypot(rows - 0.2, columns + 0.2) < 0.12)
    tissue = tissue + 15 * np.sin(25 * rows + 4 * columns) * np.cos(21 * columns - 5 * rows)
    grain = np.random.default_rng(0).normal(0, 4, tissue.shape)
    return np.where(radius < 1, tissue + grain, 0).clip(0, 255).round().astype(np.uint8)


def smooth(shape: tuple[int, int]) -> np.ndarray:
    """A bright slice of slow waves, far from black and white."""
    rows, columns = np.meshgrid(*(np.linspace(0, 4 * np.pi, size) for size in shape), indexing="ij")
    return np.rint(130 + 25 * np.sin(rows) + 25 * np.cos(columns)).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_strength_changes_more_and_every_strength_something(head, name):
    for seed in (0, 1):
        changes = [difference(corrupt(head, name, strength, seed), head) for strength in STRENGTHS]
        assert changes == sorted(set(changes))
        assert changes[0] > 0.2


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides_and_the_slice_given_stays_as_it_is(head, name):
    before = head.copy()
    first, again = corrupt(head, name, 3, 5), corrupt(head, name, 3, 5)
    assert np.array_equal(first, again)
    assert np.array_equal(head, before)
    drawn = not all(np.array_equal(first, corrupt(head, name, 3, seed)) for seed in range(6, 12))
    assert drawn == (name not in ("gibbs_ringing", "blur", "contrast", "downsampling", "jpeg"))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(16, 16), (33, 47), (90, 41), (1, 9), (1, 1)])
def test_shape_and_type_are_kept_on_odd_and_tiny_grids(name, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for strength in (1, 5):
        worse = corrupt(pixels, name, strength, 4)
        assert (worse.shape, worse.dtype) == (shape, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_blank_slice_stays_blank_unless_the_receiver_adds_something(name):
    worse = corrupt(np.zeros((24, 20), dtype=np.uint8), name, 5, 0)
    assert worse.any() == (name in ("rician_noise", "kspace_spikes"))


def test_noise_without_signal_has_the_mean_and_deviation_of_rayleigh():
    sigma = 255 * CORRUPTIONS["rician_noise"].levels[3]
    noise = corrupt(np.zeros((200, 200), dtype=np.uint8), "rician_noise", 4, 1).astype(float)
    assert noise.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.01)
    assert noise.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.02)


def test_noise_on_bright_tissue_is_gaussian_around_the_root_of_the_squares():
    pixels = np.full((200, 200), 120, dtype=np.uint8)
    sigma = 120 * CORRUPTIONS["rician_noise"].levels[2]
    noisy = corrupt(pixels, "rician_noise", 3, 2).astype(float)
    assert noisy.std() == pytest.approx(sigma, rel=0.03)
    assert (noisy**2).mean() == pytest.approx(120**2 + 2 * sigma**2, rel=0.005)


def test_a_point_comes_back_as_ghosts_of_bessel_strength_at_equal_distances():
    from scipy.special import jv

    pixels = np.zeros((60, 60), dtype=np.uint8)
    pixels[30, 20] = 250
    swing = CORRUPTIONS["motion_ghosting"].levels[4]
    ghosted = corrupt(pixels, "motion_ghosting", 5, 0).astype(float)
    rows, columns = np.nonzero(ghosted)
    line, middle = (ghosted[30], 20) if len(set(rows)) == 1 else (ghosted[:, 20], 30)
    assert len(set(rows)) == 1 or len(set(columns)) == 1
    places = np.flatnonzero(line > 250 * jv(1, swing) / 2)
    distance = int(places[1] - places[0])
    assert places.tolist() == [middle - distance, middle, middle + distance]
    assert 60 / 8 <= distance <= 60 / 3
    assert line[places] == pytest.approx(250 * jv([1, 0, 1], swing), abs=1)
    assert line[(middle + 2 * distance) % 60] == pytest.approx(250 * jv(2, swing), abs=1)


def test_ghosts_go_along_either_axis_and_keep_the_energy():
    pixels = np.zeros((60, 60), dtype=np.uint8)
    pixels[30, 20] = 250
    axes = set()
    for seed in range(8):
        ghosted = corrupt(pixels, "motion_ghosting", 3, seed).astype(float)
        axes.add(len(set(np.nonzero(ghosted)[0])) == 1)
        assert (ghosted**2).sum() == pytest.approx(250**2, rel=0.02)
    assert axes == {True, False}


@pytest.mark.parametrize("shape", [(65, 65), (64, 64), (80, 50)])
def test_ringing_cuts_k_space_off_at_its_radius(shape):
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal(128, 12, shape), 60, 200).round().astype(np.uint8)
    radius = CORRUPTIONS["gibbs_ringing"].levels[4] / 2  # of Nyquist's frequency, in cycles per pixel
    ringing = corrupt(pixels, "gibbs_ringing", 5, 0).astype(float)
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])  # so that the rim's jump does not leak
    before, after = (np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2 for image in (pixels, ringing))
    distance = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in shape), indexing="ij"))
    inside, outside = distance < radius - 0.04, distance > radius + 0.04
    assert after[outside].sum() < 0.02 * before[outside].sum()
    assert after[inside].sum() == pytest.approx(before[inside].sum(), rel=0.03)


def test_an_edge_rings_and_overshoots():
    pixels = np.full((101, 101), 40, dtype=np.uint8)
    pixels[:, 50:] = 160
    ringing = corrupt(pixels, "gibbs_ringing", 5, 0).astype(float)
    assert ringing[50].max() == pytest.approx(160 + 0.09 * 120, abs=3)


def test_spikes_are_stripes_of_the_amplitude_stated():
    pixels = smooth((96, 80))
    level = CORRUPTIONS["kspace_spikes"].levels[4]
    stripes = corrupt(pixels, "kspace_spikes", 5, 3).astype(float) - pixels
    spectrum = 2 * np.abs(np.fft.fft2(stripes)) / pixels.size
    highest = np.sort(spectrum.ravel())[::-1]
    assert highest[:4] == pytest.approx(level * brightest(pixels), rel=0.05)
    assert highest[4] < highest[3] / 4


def test_the_bias_field_is_smooth_of_the_span_stated_and_runs_in_every_direction():
    pixels = np.full((100, 100), 60, dtype=np.uint8)
    slopes = []
    for seed in range(12):
        gain = corrupt(pixels, "bias_field", 3, seed) / 60
        middle = gain[20:80, 20:80]
        assert middle.max() / middle.min() == pytest.approx(CORRUPTIONS["bias_field"].levels[2], rel=0.05)
        assert np.abs(np.diff(gain, axis=0)).max() < 0.15
        slopes.append([abs(gain[80:].mean() - gain[:20].mean()), abs(gain[:, 80:].mean() - gain[:, :20].mean())])
    down, across = np.mean(slopes, axis=0)
    assert 0.4 < down / across < 2.5


def test_the_bias_field_keeps_the_brightness_of_bright_tissue(head):
    assert brightest(corrupt(head, "bias_field", 5, 1)) == pytest.approx(brightest(head), rel=0.02)


def test_contrast_is_the_stated_part_of_the_deviation():
    pixels = smooth((60, 60))
    flat = corrupt(pixels, "contrast", 4, 0)
    assert flat.std() == pytest.approx(pixels.std() * CORRUPTIONS["contrast"].levels[3], rel=0.02)
    assert flat.mean() == pytest.approx(pixels.mean(), abs=0.5)


def test_gamma_goes_up_or_down_and_keeps_black_and_white():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    exponent = CORRUPTIONS["gamma"].levels[2]
    seen = {int(corrupt(pixels, "gamma", 3, seed)[8, 0]) for seed in range(12)}
    assert seen == {round(255 * (128 / 255) ** power) for power in (exponent, 1 / exponent)}
    assert corrupt(pixels, "gamma", 5, 0).ravel()[[0, -1]].tolist() == [0, 255]


def test_rotation_turns_by_the_degrees_stated():
    pixels = np.zeros((101, 101), dtype=np.uint8)
    pixels[48:53, 85:90] = 200
    rows, columns = np.nonzero(corrupt(pixels, "rotation", 5, 0) > 100)
    angle = np.degrees(np.arctan2(rows.mean() - 50, columns.mean() - 50))
    assert abs(angle) == pytest.approx(CORRUPTIONS["rotation"].levels[4], abs=1)


def test_a_crop_stretches_the_rest_over_the_grid():
    pixels = np.tile(np.linspace(0, 250, 200).round().astype(np.uint8), (200, 1))
    slope = np.diff(corrupt(pixels, "crop", 5, 0)[100].astype(float)).sum() / 250
    assert slope == pytest.approx(1 - CORRUPTIONS["crop"].levels[4], abs=0.02)


def test_blur_means_the_same_on_every_grid():
    deviations = []
    for size in (128, 256, 512):
        pixels = np.zeros((size, size), dtype=np.uint8)
        pixels[:, size // 2 :] = 200
        edge = np.diff(corrupt(pixels, "blur", 5, 0)[size // 2].astype(float))
        deviations.append(200 / edge.max() / np.sqrt(2 * np.pi) / size)
    assert deviations == pytest.approx([CORRUPTIONS["blur"].levels[4] / 256] * 3, rel=0.08)


def test_what_is_not_allowed_is_refused_by_name(head):
    for strength in (0, 6, 1.5):
        with pytest.raises(DataError, match="Allowed: strengths 1 to 5"):
            corrupt(head, "blur", strength, 0)
    with pytest.raises(DataError, match="seeds from 0"):
        corrupt(head, "blur", 1, -1)
    with pytest.raises(DataError, match=r"unknown corruption 'fog'. Known: rician_noise, "):
        corrupt(head, "fog", 1, 0)
    for pixels in (head.astype(np.uint16), head[None], head[:0]):
        with pytest.raises(DataError, match="Give uint8 with two non-empty axes"):
            corrupt(pixels, "blur", 1, 0)


@pytest.mark.parametrize("name", ["rician_noise", "gibbs_ringing", "kspace_spikes"])
def test_without_monai_the_extra_is_named(head, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.transforms", None)
    with pytest.raises(UsageError, match=r"MONAI is not installed. Take pip install 'tumorscope\[robustness\]'"):
        corrupt(head, name, 1, 0)
    assert corrupt(head, "bias_field", 1, 0).any()


def test_neither_torch_nor_monai_is_loaded_before_a_corruption_asks_for_them():
    code = "import sys, tumorscope.data.corruptions\nprint({'torch', 'monai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
