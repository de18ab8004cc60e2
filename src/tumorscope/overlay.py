"""A heatmap in colour over its scan, as a PNG; for the doors that draw no figure."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

STRONGEST_ALPHA = 0.75
"""Opacity of the highest value of a map."""


def overlay_png(picture: np.ndarray, heatmap: np.ndarray) -> bytes:
    """Return a scan with its map laid over, as the content of a PNG file of the scan's size.

    The map is divided by its own highest value for drawing only, so colours of two scans cannot be compared; a map that is zero
    everywhere stays invisible.

    Args:
        picture: uint8, shape (rows, columns).
        heatmap: Raw map, float, same shape, at least 0.
    """
    highest = float(heatmap.max())
    relative = heatmap.astype(np.float32) / highest if highest > 0 else np.zeros(heatmap.shape, dtype=np.float32)
    levels = np.rint(relative * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    alpha = STRONGEST_ALPHA * relative[..., None]
    return png(np.rint(picture[..., None] * (1 - alpha) + colours * alpha).astype(np.uint8))


def png(pixels: np.ndarray) -> bytes:
    """Return a picture, uint8, shape (rows, columns) or (rows, columns, 3), as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def png_address(content: bytes) -> str:
    """Return the content of a PNG file as a `data:` address that a page can embed."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
