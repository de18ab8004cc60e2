"""Random changes of intensity that scanners, sequences and file formats make, on batches of torch tensors.

Every function takes float images of shape (batch, 1, rows, columns) and range 0 to 1, draws for each image by itself from torch's
global generator, and returns images of the same shape.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

KNOTS = 6
NOISY = 1 / 3
_FIELD_CELLS = 4
_COARSEST = 2.8


def random_gamma(images: Tensor, largest: float) -> Tensor:
    """Raise intensities to an exponent between 1 / `largest` and `largest`, as often below 1 as above."""
    exponent = torch.exp((2 * draw(images) - 1) * math.log(largest))
    return images.clamp(0, 1) ** exponent


def random_curve(images: Tensor) -> Tensor:
    """Map intensities through a curve of straight pieces between random heights; black stays nearly black.

    The curve need not be monotone, so that tissues change their order as they do from one MR sequence to another.

    Source:
        The idea of training on random contrasts: Billot et al. 2023, https://doi.org/10.1016/j.media.2023.102789
    """
    heights = torch.rand(len(images), KNOTS, device=images.device)
    heights[:, 0] *= 0.1
    heights = heights / heights.amax(dim=1, keepdim=True)
    place = images.clamp(0, 1) * (KNOTS - 1)
    below = place.floor().clamp(max=KNOTS - 2).long()
    flat = below.flatten(1)
    low, high = heights.gather(1, flat), heights.gather(1, flat + 1)
    return torch.lerp(low, high, (place - below).flatten(1)).view_as(images)


def random_bias_field(images: Tensor, strength: float) -> Tensor:
    """Brighten some regions and darken others, slowly over the image, as receiver coils do.

    Args:
        images: See above.
        strength: Largest standard deviation of the logarithm of the factor.
    """
    cells = torch.randn(len(images), 1, _FIELD_CELLS, _FIELD_CELLS, device=images.device) * strength * draw(images)
    field = functional.interpolate(cells, size=images.shape[2:], mode="bicubic", align_corners=False)
    return (images * field.exp()).clamp(0, 1)


def random_coarse(images: Tensor, probability: float) -> Tensor:
    """Bring some of the images to a lower resolution and back; one resolution is drawn for a batch."""
    chosen = torch.rand(len(images), device=images.device) < probability
    factor = 1.3 + (_COARSEST - 1.3) * float(torch.rand(()))
    if not chosen.any():
        return images
    size = [max(8, int(length / factor)) for length in images.shape[2:]]
    small = functional.interpolate(images[chosen], size=size, mode="bilinear", antialias=True, align_corners=False)
    result = images.clone()
    result[chosen] = functional.interpolate(small, size=images.shape[2:], mode="bilinear", align_corners=False)
    return result


def random_noise(images: Tensor, largest: float) -> Tensor:
    """Add normal noise of a standard deviation up to `largest` to a third of the images."""
    deviation = draw(images) * largest * (draw(images) < NOISY)
    return (images + torch.randn_like(images) * deviation).clamp(0, 1)


def draw(images: Tensor) -> Tensor:
    """Return a number from 0 to 1 for each image, shape (batch, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device)
