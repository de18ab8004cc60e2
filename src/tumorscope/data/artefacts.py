"""What goes wrong inside the scanner: noise, bias field, ringing, ghosts, spikes; on floats, most of it in k-space.

k-space is the discrete Fourier transform of a slice, and pixels are magnitudes. MONAI (extra `robustness`) makes
noise, ringing and spikes; it is imported when one is asked for. The bias field is our own, because MONAI 1.6 fills the lower
triangle of its table of coefficients instead of the terms up to a degree: a field from left to right never comes out.

Every function takes pixels, float64, shape (rows, columns), 0 to 255, a level whose meaning it states, and a generator, and
returns new pixels, float64, same shape, not yet clipped.
"""

import math
from importlib import import_module
from typing import Any

import numpy as np

from tumorscope.errors import UsageError

FULL = 255.0
MATRIX = 256
"""Rows of a usual acquisition: finer files are mostly interpolated ones, so a limit of resolution counts from here."""

_BRIGHT_PERCENTILE = 99
_FIELD_DEGREE = 3
_RIM = 0.2
_SPIKES = 2
_SPIKE_CYCLES = (10, 45)
_MOST_OF_NYQUIST = 0.8


def brightest(pixels: np.ndarray) -> float:
    """Return the intensity of bright tissue, the 99th percentile of what is not black; 255 for a blank slice."""
    signal = pixels[pixels > 0]
    return float(np.percentile(signal, _BRIGHT_PERCENTILE)) if signal.size else FULL


def rician_noise(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Add complex Gaussian noise and take the magnitude: |x + n1 + i n2|, n1 and n2 of deviation `level` times bright tissue.

    Where there is no signal the result has the mean sigma * sqrt(pi / 2). Noise is independent from pixel to pixel of the file, so
    on a finer grid preprocessing averages more of it away.

    Source:
        Gudbjartsson and Patz 1995, equations 1 to 3, https://doi.org/10.1002/mrm.1910340618
    """
    noise = _monai("rician_noise", "RandRicianNoise")(prob=1.0, std=level * brightest(pixels), sample_std=False, dtype=np.float64)
    noise.set_random_state(seed=int(rng.integers(2**31)))
    return _back(noise(pixels[None]))


def bias_field(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply by a smooth gain whose highest value is `level` times its lowest; the brightness of bright tissue stays.

    The gain's logarithm is a sum of products of Legendre polynomials P_i(row) P_j(column), 1 <= i + j <= 3, with coefficients drawn
    evenly from -1 to 1. It is stretched to the span log(level) over the middle of the slice, where the head is, and held at the
    ends of that span further out.

    Source:
        Van Leemput et al. 1999, https://doi.org/10.1109/42.811270
    """
    degrees = np.arange(_FIELD_DEGREE + 1)
    total = degrees[:, None] + degrees
    coefficients = np.where((total >= 1) & (total <= _FIELD_DEGREE), rng.uniform(-1, 1, total.shape), 0.0)
    rows, columns = (np.linspace(-1, 1, size) for size in pixels.shape)
    log_gain = np.polynomial.legendre.leggrid2d(rows, columns, coefficients)
    middle = log_gain[tuple(slice(round(_RIM * size), size - round(_RIM * size)) for size in pixels.shape)]
    low, high = float(middle.min()), float(middle.max())
    if low == high:
        return pixels
    changed = pixels * np.exp((log_gain.clip(low, high) - low) * (math.log(level) / (high - low)))
    kept: np.ndarray = changed * (brightest(pixels) / brightest(changed))
    return kept


def gibbs_ringing(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001  nothing is drawn
    """Cut k-space off at a radius of `level` times half the rows of the acquisition (at most 256), in cycles per field of view.

    MONAI's disc is centred on zero frequency for odd sizes only and counts samples, which are cycles per pixel only on a square,
    so the slice is first continued to an odd square by its own edge.

    Source:
        Morelli et al. 2011, An image-based approach to understanding the physics of MR artifacts,
        https://doi.org/10.1148/rg.313105115
    """
    rows, columns = pixels.shape
    side = max(rows, columns) | 1
    square = np.pad(pixels, ((0, side - rows), (0, side - columns)), mode="edge")
    radius = level * min(max(rows, columns), MATRIX) / 2
    ring = _monai("gibbs_ringing", "GibbsNoise")(alpha=1 - radius * math.sqrt(2) / side)
    magnitude: np.ndarray = np.abs(_back(ring(square[None])))[:rows, :columns]
    return magnitude


def motion_ghosting(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Let the phase of the phase-encoding lines swing by `level` radians, as periodic motion does.

    K'(k) = K(k) exp(i level sin(2 pi m k / N + phase)) for line k of N: by the expansion of Jacobi and Anger the slice comes back
    J_0(level) strong, with ghosts J_n(level) strong at n m pixels along the axis, around the end of the field of view. The axis,
    the m periods of the motion (an eighth to a third of the lines) and the phase are drawn.

    Source:
        Wood and Henkelman 1986, https://doi.org/10.1118/1.595851
    """
    axis = int(rng.integers(2))
    lines = pixels.shape[axis]
    periods = max(1, round(lines * rng.uniform(1 / 8, 1 / 3)))
    numbers = np.fft.fftfreq(lines)
    swing = np.exp(1j * level * np.sin(2 * np.pi * periods * numbers + rng.uniform(0, 2 * np.pi)))
    kspace = np.fft.fft(pixels, axis=axis) * (swing[:, None] if axis == 0 else swing)
    magnitude: np.ndarray = np.abs(np.fft.ifft(kspace, axis=axis))
    return magnitude


def kspace_spikes(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Set two points of k-space so high that each lays stripes of amplitude `level` times bright tissue over the slice.

    The points are drawn at 10 to 45 cycles per field of view, less where the grid ends sooner. A point of modulus a * rows *
    columns is a wave of amplitude a; MONAI keeps the real part of it.

    Source:
        Graves and Mitchell 2013, Body MRI artifacts in clinical practice, https://doi.org/10.1002/jmri.24288
    """
    height = math.log(max(level * brightest(pixels) * pixels.size, 1.0))
    places = [_spike_place(pixels.shape, rng) for _ in range(_SPIKES)]
    spikes = _monai("kspace_spikes", "KSpaceSpikeNoise")(loc=places, k_intensity=[height] * _SPIKES)
    magnitude: np.ndarray = np.abs(_back(spikes(pixels[None])))
    return magnitude


def _spike_place(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Return a place in shifted k-space, never that of zero frequency unless the slice has no other."""
    cycles, angle = rng.uniform(*_SPIKE_CYCLES), rng.uniform(0, np.pi)
    wanted = np.array([np.sin(angle), np.cos(angle)]) * cycles
    reach = np.array(shape) // 2 * _MOST_OF_NYQUIST
    shrunk = wanted / max(1.0, *(np.abs(wanted) / np.maximum(reach, 1)))
    row, column = np.rint(shrunk.clip(-reach, reach)).astype(int).tolist()
    return shape[0] // 2 + row, shape[1] // 2 + column


def _monai(name: str, transform: str) -> Any:  # noqa: ANN401  a class of a package that may be missing
    """Return a transform's class of MONAI."""
    try:
        module = import_module("monai.transforms")
    except ImportError as error:
        raise UsageError(f"corruption {name}: MONAI is not installed. Take pip install 'tumorscope[robustness]'.") from error
    return getattr(module, transform)


def _back(image: Any) -> np.ndarray:  # noqa: ANN401  a tensor of MONAI
    """Return the only channel of what MONAI gave."""
    channel: np.ndarray = np.asarray(image, dtype=np.float64)[0]
    return channel
