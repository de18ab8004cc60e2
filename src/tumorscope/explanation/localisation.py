"""Does a heatmap fall on the tumour? One function for each measure, pure functions of arrays."""

from collections.abc import Sequence

import numpy as np

from tumorscope.explanation.attention import energy_inside

TOLERANCE_PX = 15
"""Tolerance of the lenient pointing game, in pixels of an image of 224 rows."""

REFERENCE_SIZE = 224
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

ON_TUMOUR = ("pointing_game", "pointing_game_15px", "energy_inside")
"""The measures of `on_tumour`."""

LOCALISATION = (
    *ON_TUMOUR,
    "dice",
    "iou",
    "pixel_average_precision",
    "peak_distance_px",
    "peak_distance_mm",
)
"""The measures of `localise`, in the order in which tables show them."""


Peak = tuple[float, float]
"""Row and column of a map's highest value, in pixels."""


def peak_distance(peak: Peak, mask: np.ndarray, *, pixel_size: tuple[float, float] = (1.0, 1.0)) -> float | None:
    """Return how far a peak lies from the nearest tumour pixel, 0 inside; None for an empty mask.

    Args:
        peak: Row and column, in pixels; the pixel that it falls into counts.
        mask: bool, shape (rows, columns); of several tumours the nearest counts.
        pixel_size: Height and width of a pixel, in the unit of the result.

    Returns:
        Centre to centre, in pixels or the unit of `pixel_size`.
    """
    if not mask.any():
        return None
    row, column = (min(max(int(np.floor(place + 0.5)), 0), size - 1) for place, size in zip(peak, mask.shape, strict=True))
    if mask[row, column]:
        return 0.0
    rows, columns = np.nonzero(mask)
    return float(np.hypot((rows - row) * pixel_size[0], (columns - column) * pixel_size[1]).min())


def pointing_game(peak: Peak | None, mask: np.ndarray, *, tolerance_px: float = 0.0) -> float | None:
    """Return 1.0 when a map's peak lies inside the mask or within the tolerance of it, else 0.0; None for an empty mask.

    A map that is the same everywhere has no peak and points nowhere: it misses.

    Source:
        Zhang et al. 2016, Top-down neural attention by excitation backprop, section 4.1, https://arxiv.org/abs/1608.00507
        (with a tolerance of 15 pixels there).
    """
    if not mask.any():
        return None
    distance = None if peak is None else peak_distance(peak, mask)
    return float(distance is not None and distance <= tolerance_px)


def overlap(heatmap: np.ndarray, mask: np.ndarray, *, threshold: float) -> tuple[float, float]:
    """Return Dice and intersection over union of the mask and where the map reaches a share of its highest value.

    Args:
        heatmap: At least 0, shape (rows, columns).
        mask: bool, same shape.
        threshold: Share of the map's own highest value, 0 to 1.

    Returns:
        Dice and IoU, 0 to 1; 0 for a map that is zero everywhere.
    """
    highest = float(heatmap.max())
    if highest <= 0:
        return 0.0, 0.0
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
        masks: bool, of the same shapes, none empty.

    Returns:
        One of `THRESHOLDS`, the lowest of equals; None without any image.
    """
    if not len(heatmaps):
        return None
    scores = [
        [overlap(heatmap, mask, threshold=threshold)[0] for threshold in THRESHOLDS]
        for heatmap, mask in zip(heatmaps, masks, strict=True)
    ]
    return THRESHOLDS[int(np.mean(scores, axis=0).argmax())]


def on_tumour(heatmap: np.ndarray, mask: np.ndarray, *, peak: Peak | None) -> dict[str, float | None]:
    """Return the measures of `ON_TUMOUR`, which are those that cost next to nothing; arguments as for `localise`."""
    tolerance = TOLERANCE_PX * heatmap.shape[0] / REFERENCE_SIZE
    return {
        "pointing_game": pointing_game(peak, mask),
        "pointing_game_15px": pointing_game(peak, mask, tolerance_px=tolerance),
        "energy_inside": energy_inside(heatmap, mask) or 0.0,
    }


def localise(
    heatmap: np.ndarray,
    mask: np.ndarray,
    *,
    peak: Peak | None,
    threshold: float | None,
    pixel_mm: tuple[float, float] | None = None,
) -> dict[str, float | None]:
    """Return every measure of `LOCALISATION` for one map; one that is empty scores 0 where more is better.

    Args:
        heatmap: At least 0, shape (rows, columns), square as the network sees it.
        mask: bool, same shape, not empty.
        peak: Where the map is highest; None for a map that is the same everywhere.
        threshold: For Dice and IoU, see `choose_threshold`; None leaves them out.
        pixel_mm: Height and width of a pixel in millimetres, None where unknown.
    """
    dice, iou = (None, None) if threshold is None else overlap(heatmap, mask, threshold=threshold)
    return {
        **on_tumour(heatmap, mask, peak=peak),
        "dice": dice,
        "iou": iou,
        "pixel_average_precision": pixel_average_precision(heatmap, mask),
        "peak_distance_px": None if peak is None else peak_distance(peak, mask),
        "peak_distance_mm": None if peak is None or pixel_mm is None else peak_distance(peak, mask, pixel_size=pixel_mm),
    }
