"""Does a heatmap fall on the tumour? One function for each measure, pure functions of arrays."""

from collections.abc import Sequence

import numpy as np

from tumorscope.explanation.attention import energy_inside, peak_of

TOLERANCE_PX = 15
"""Tolerance of the lenient pointing game, in pixels of an image of 224 rows."""

REFERENCE_SIZE = 224
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

LOCALISATION = (
    "pointing_game",
    "pointing_game_15px",
    "energy_inside",
    "dice",
    "iou",
    "pixel_average_precision",
    "peak_distance_px",
    "peak_distance_mm",
)
"""The measures of `localise`, in the order in which tables show them."""


def peak_distance(heatmap: np.ndarray, mask: np.ndarray) -> float | None:
    """Return how far the highest pixel lies from the nearest tumour pixel, 0 inside; None for a flat map or an empty mask.

    Args:
        heatmap: At least 0, shape (rows, columns).
        mask: bool, same shape; of several tumours the nearest counts.

    Returns:
        In pixels, centre to centre.
    """
    peak = peak_of(heatmap)
    if peak is None or not mask.any():
        return None
    if mask[peak]:
        return 0.0
    rows, columns = np.nonzero(mask)
    return float(np.hypot(rows - peak[0], columns - peak[1]).min())


def pointing_game(heatmap: np.ndarray, mask: np.ndarray, *, tolerance_px: float = 0.0) -> float | None:
    """Return 1.0 when the highest pixel lies inside the mask or within the tolerance of it, else 0.0; None for a flat map.

    Source:
        Zhang et al. 2016, Top-down neural attention by excitation backprop, section 4.1, https://arxiv.org/abs/1608.00507
        (with a tolerance of 15 pixels there).
    """
    distance = peak_distance(heatmap, mask)
    return None if distance is None else float(distance <= tolerance_px)


def overlap(heatmap: np.ndarray, mask: np.ndarray, *, threshold: float) -> tuple[float, float] | None:
    """Return Dice and intersection over union of the mask and where the map reaches a share of its highest value.

    Args:
        heatmap: At least 0, shape (rows, columns).
        mask: bool, same shape.
        threshold: Share of the map's own highest value, 0 to 1.

    Returns:
        Dice and IoU, 0 to 1; None for a map that is zero everywhere or an empty mask.
    """
    highest = float(heatmap.max())
    if highest <= 0 or not mask.any():
        return None
    found = heatmap >= threshold * highest
    both, either = int((found & mask).sum()), int((found | mask).sum())
    return 2 * both / (both + either), both / either


def pixel_average_precision(heatmap: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the area under the precision-recall curve of pixels, tumour against the rest, scored by the map.

    A map that never saw the image scores about the mask's share of the image. None for an empty or a full mask.
    """
    from sklearn.metrics import average_precision_score

    if not mask.any() or mask.all():
        return None
    return float(average_precision_score(mask.ravel(), heatmap.ravel()))


def choose_threshold(heatmaps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float | None:
    """Return the share of a map's highest value that gives the best mean Dice; for validation images, never for test images.

    Args:
        heatmaps: At least 0, shape (rows, columns) each.
        masks: bool, of the same shapes.

    Returns:
        One of `THRESHOLDS`, the lowest of equals; None when no image has both a mask and a map that is not empty.
    """
    scores = []
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        found = [overlap(heatmap, mask, threshold=threshold) for threshold in THRESHOLDS]
        scores.append([np.nan if pair is None else pair[0] for pair in found])
    table = np.array(scores).reshape(-1, len(THRESHOLDS))
    table = table[~np.isnan(table).any(axis=1)]
    return THRESHOLDS[int(table.mean(axis=0).argmax())] if len(table) else None


def localise(
    heatmap: np.ndarray, mask: np.ndarray, *, threshold: float | None, mm_per_px: float | None = None
) -> dict[str, float | None]:
    """Return every measure of `LOCALISATION` for one map.

    Args:
        heatmap: At least 0, shape (rows, columns), square as the network sees it.
        mask: bool, same shape, not empty.
        threshold: For Dice and IoU, see `choose_threshold`; None leaves them out.
        mm_per_px: Size of a pixel in millimetres, None where unknown.
    """
    distance = peak_distance(heatmap, mask)
    tolerance = TOLERANCE_PX * heatmap.shape[0] / REFERENCE_SIZE
    pair = None if threshold is None else overlap(heatmap, mask, threshold=threshold)
    return {
        "pointing_game": pointing_game(heatmap, mask),
        "pointing_game_15px": pointing_game(heatmap, mask, tolerance_px=tolerance),
        "energy_inside": energy_inside(heatmap, mask),
        "dice": None if pair is None else pair[0],
        "iou": None if pair is None else pair[1],
        "pixel_average_precision": pixel_average_precision(heatmap, mask),
        "peak_distance_px": distance,
        "peak_distance_mm": None if distance is None or mm_per_px is None else distance * mm_per_px,
    }
