"""Can a heatmap be trusted? It must change with the weights, and must not change with what does not matter."""

import copy
from collections.abc import Iterator

import cv2
import kornia.metrics
import numpy as np
import torch
from scipy.stats import spearmanr

from tumorscope.explanation.attention import peak_of
from tumorscope.explanation.looking import Looked, Looker
from tumorscope.models.network import Classifier, build

ROTATION_DEG = 5.0
NOISE_SHARE = 0.03
"""Deviation of the noise of `stability`, as a share of the range of grey values."""

_SAMPLES = 28


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two maps over their pixels, -1 to 1; None when one of them is flat.

    Args:
        a: Shape (rows, columns).
        b: Same shape; NaN in either leaves a pixel out.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        return None
    one, other = a[both], b[both]
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def structural_similarity(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the mean structural similarity of two maps, each divided by its highest value; None when one is empty.

    Args:
        a: float, shape (rows, columns), at least 0, at least 11 pixels each way.
        b: Same shape.

    Source:
        Wang et al. 2004, Image quality assessment, equation 13, https://doi.org/10.1109/TIP.2003.819861
    """
    if a.max() <= 0 or b.max() <= 0:
        return None
    x, y = (torch.from_numpy(np.ascontiguousarray(values / values.max(), dtype=np.float32))[None, None] for values in (a, b))
    return float(kornia.metrics.ssim(x, y, window_size=11).mean())


def peak_shift(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return how far apart the highest pixels of two maps lie, in pixels; None when one of them is flat."""
    one, other = peak_of(a), peak_of(b)
    return None if one is None or other is None else float(np.hypot(one[0] - other[0], one[1] - other[1]))


def randomised_layers(network: Classifier, *, seed: int) -> Iterator[tuple[str, Classifier]]:
    """Yield the network with ever more layers set back to random weights, from the head down to the first, cascading.

    The network given is left as it is. Layers without weights are passed over.

    Source:
        Adebayo et al. 2018, Sanity checks for saliency maps, section 3, https://arxiv.org/abs/1810.03292
    """
    fresh, changed = random_network(network, seed=seed), copy.deepcopy(network).eval()
    changed.head.load_state_dict(fresh.head.state_dict())
    yield "head", changed
    parts = [(name, layer) for name, layer in changed.features.named_children() if any(True for _ in layer.parameters())]
    others = dict(fresh.features.named_children())
    for name, layer in reversed(parts):
        layer.load_state_dict(others[name].state_dict())
        yield f"features.{name}", changed


def random_network(like: Classifier, *, seed: int) -> Classifier:
    """Return a network built as another one is and never trained; the global generator of random numbers is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(like.name, output_stride=like.output_stride, joined=like.joined).eval()


def cascade(looker: Looker, grids: np.ndarray, looked: Looked, *, seed: int) -> dict[str, list[dict[str, float | None]]]:
    """Return how alike the maps of the given answers stay when layer after layer is randomised.

    Args:
        looker: The trained network.
        grids: uint8, shape (n, size, size).
        looked: What it said of them.
        seed: Of the random weights.

    Returns:
        Layer to one {rank_correlation, structural_similarity} for each picture, from the head downwards.
    """
    before = [looker.place(heatmap) for heatmap in looked.maps_of(looked.predicted_index)]
    found = {}
    for layer, network in randomised_layers(looker.network, seed=seed):
        other = Looker(network, looker.preprocessing, looker.device)
        after = [other.place(heatmap) for heatmap in other.look(grids).maps_of(looked.predicted_index)]
        found[layer] = [
            {"rank_correlation": rank_correlation(_thin(a), _thin(b)), "structural_similarity": structural_similarity(a, b)}
            for a, b in zip(before, after, strict=True)
        ]
    return found


def stability(looker: Looker, grids: np.ndarray, looked: Looked, *, seed: int) -> dict[str, list[dict[str, float | None]]]:
    """Return how alike map and answer stay when a scan is mirrored, turned a little, or made a little noisier.

    Maps are moved back before they are compared.

    Returns:
        `flip`, `rotation` and `noise` to one {rank_correlation, peak_distance_px, same_answer} for each picture.
    """
    size = looker.preprocessing.image_size
    noise = np.random.default_rng(seed).normal(0, NOISE_SHARE * 255, grids.shape)
    changed = {
        "flip": np.ascontiguousarray(grids[:, :, ::-1]),
        "rotation": np.stack([_turned(grid, ROTATION_DEG) for grid in grids]),
        "noise": np.rint(grids + noise).clip(0, 255).astype(np.uint8),
    }
    everywhere = np.ones((size, size), dtype=np.float32)
    inside = _turned(_turned(everywhere, ROTATION_DEG), -ROTATION_DEG) > 0.999

    def back(name: str, heatmap: np.ndarray) -> np.ndarray:
        if name == "rotation":
            return np.where(inside, _turned(heatmap, -ROTATION_DEG), np.nan)
        return heatmap[:, ::-1] if name == "flip" else heatmap

    before = [looker.place(heatmap) for heatmap in looked.maps_of(looked.predicted_index)]
    found = {}
    for name, pictures in changed.items():
        other = looker.look(pictures)
        after = [back(name, looker.place(heatmap)) for heatmap in other.maps_of(looked.predicted_index)]
        same = other.predicted_index == looked.predicted_index
        found[name] = [compare_maps(a, b) | {"same_answer": float(s)} for a, b, s in zip(before, after, same, strict=True)]
    return found


def compare_maps(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Return {rank_correlation, peak_distance_px} of two maps on one grid, pixels that are NaN in either left out."""
    filled = [np.where(np.isnan(a) | np.isnan(b), 0.0, values) for values in (a, b)]
    return {"rank_correlation": rank_correlation(_thin(a), _thin(b)), "peak_distance_px": peak_shift(*filled)}


def _thin(heatmap: np.ndarray) -> np.ndarray:
    """Every few pixels: maps are smooth, and ranks of all pixels cost time and tell no more."""
    step = max(1, heatmap.shape[0] // _SAMPLES)
    return heatmap[step // 2 :: step, step // 2 :: step]


def _turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    rows, columns = picture.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    turned: np.ndarray = cv2.warpAffine(picture, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
    return turned
