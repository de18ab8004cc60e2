"""Tumours changed and lesions drawn while a network trains, so that neither contrast nor source tells the answer.

Functions take float images of shape (batch, 1, rows, columns) and range 0 to 1, draw for each image by itself from torch's global
generator, and return new tensors. Lengths are shares of the image, so that every image size gives the same pictures.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tumorscope.data.intensity import draw

UNSTATED = -1
"""Label index of a scan with a tumour of unstated type."""

_DARK = 0.06
_TISSUE = 0.12
_LEAST_CHANGE = 0.1
_SMALLEST = 12 / 160**2
_REACH = 0.34
_MIDDLE = 0.47


def recoloured(images: Tensor, masks: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Give some of the outlined tumours another intensity than the tissue around them has, brighter more often than darker.

    Args:
        images: See above.
        masks: 1 where the tumour is, float, same shape.
        probability: Of a change, for each image that has an outline.

    Returns:
        The images, and which of them were changed, bool, shape (batch,).
    """
    chosen = (torch.rand(len(images), device=images.device) < probability) & (masks > 0.5).flatten(1).any(dim=1)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images, chosen
    changed, usable = _recoloured(images[rows], (masks[rows] > 0.5).float())
    return images.index_copy(0, rows[usable], changed[usable]), chosen.index_copy(0, rows, usable)


def _recoloured(images: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return images with the tumours changed, and where that makes sense: neither specks nor without anything around them."""
    size = images.shape[-1]
    gap = _odd(0.055 * size)
    near = _grown(inside, gap)
    ring = (_grown(near, gap) - near) * (images > _DARK).float()
    around, own = _mean(images, ring), _mean(images, inside)
    change = _between(images, 0.15, 0.65)
    level = (around + torch.where(_chance(images, 0.65), change, -change)).clamp(0.02, 1)
    level = torch.where((level - around).abs() < _LEAST_CHANGE, around + 2 * _LEAST_CHANGE, level)
    wanted = (level + _between(images, 0.3, 1.5) * (images - own)).clamp(0, 1)
    usable = (inside.sum((1, 2, 3)) > _SMALLEST * size * size) & ring.flatten(1).any(dim=1)
    return torch.lerp(images, wanted, _box(inside, _odd(0.03 * size))), usable


def drawn_lesions(images: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a lesion into every image: a blob of uneven outline on tissue, brighter or darker, some with a core or a halo.

    Returns:
        The images, and where the lesions are: 1 or 0, float, same shape. An image on which none found room is returned as it
        was, its mask empty.
    """
    size = images.shape[-1]
    distance = _distance(images)
    head = (_box(images, 5) > _DARK).float()
    around = _mean(images, ((distance > 1) & (distance < 1.8)).float() * head)
    detail = images - _box(images, _odd(0.055 * size))
    grain = _field(images, size // 3) * _between(images, 0, 0.05) + _field(images, 14) * _between(images, 0, 0.06)
    halo = torch.sigmoid((_between(images, 1.2, 1.8) - distance) / 0.15) * _chance(images, 0.4) * _between(images, 0.3, 0.9)
    body = torch.sigmoid((1 - distance) / _between(images, 0.03, 0.12))
    core = torch.sigmoid((_between(images, 0.4, 0.75) - distance) / 0.08) * _chance(images, 0.35)
    drawn = torch.lerp(images, _level(images, around, 0.6) + 0.8 * detail, halo)
    drawn = torch.lerp(drawn, _level(images, around, 1) + _between(images, 0.2, 0.9) * detail + grain, body)
    drawn = torch.lerp(drawn, _level(images, around, 1) + 0.5 * detail + grain, core)
    masks = (distance < 1).float() * head
    room = (masks.sum((2, 3), keepdim=True) > _SMALLEST * size * size).float()
    return torch.lerp(images, drawn.clamp(0, 1), head * room), masks * room


def _distance(images: Tensor) -> Tensor:
    """Return how far every pixel lies from the middle of a lesion, 1 at its uneven border, shape of the images."""
    count, _, rows, columns = images.shape
    down, across = torch.meshgrid(
        (torch.arange(rows, device=images.device) + 0.5) / rows,
        (torch.arange(columns, device=images.device) + 0.5) / columns,
        indexing="ij",
    )
    tissue = _box(images, _odd(0.14 * columns)) > _TISSUE
    central = (down - _MIDDLE) ** 2 + (across - 0.5) ** 2 < _REACH**2
    chosen = torch.multinomial((tissue & central).flatten(1).float() + 1e-6, 1)[:, 0]
    down = down - down.flatten()[chosen].view(count, 1, 1, 1)
    across = across - across.flatten()[chosen].view(count, 1, 1, 1)
    radius = torch.exp(_between(images, math.log(0.045), math.log(0.2)))
    stretch, turn = torch.exp(_between(images, -0.35, 0.35)), _between(images, 0, math.pi)
    along = (across * turn.cos() + down * turn.sin()) / stretch
    athwart = (down * turn.cos() - across * turn.sin()) * stretch
    uneven = _field(images, 9) + 0.5 * _field(images, 20)
    return (along**2 + athwart**2).sqrt() / radius + _between(images, 0.05, 0.3) * uneven


def _level(images: Tensor, around: Tensor, strength: float) -> Tensor:
    """Draw an intensity that stands out from what is around, shape (batch, 1, 1, 1)."""
    brighter, darker = _between(images, 0.15, 0.6), -_between(images, 0.3, 0.7) * around
    level = (around + strength * torch.where(_chance(images, 0.75), brighter, darker)).clamp(0.02, 0.98)
    return torch.where((level - around).abs() < _LEAST_CHANGE, 0.6 * around, level)


def _field(images: Tensor, cells: int) -> Tensor:
    """Draw a smooth random field of unit deviation at its cells, shape of the images."""
    drawn = torch.randn(len(images), 1, cells, cells, device=images.device)
    return functional.interpolate(drawn, size=images.shape[2:], mode="bicubic", align_corners=False)


def _mean(images: Tensor, where: Tensor) -> Tensor:
    """Return the mean intensity in an area, 0 in an empty one, shape (batch, 1, 1, 1)."""
    total: Tensor = (images * where).sum((2, 3), keepdim=True) / where.sum((2, 3), keepdim=True).clamp(min=1)
    return total


def _grown(area: Tensor, width: int) -> Tensor:
    """Return the maximum over a square around every pixel; along rows and columns apart, which is many times faster."""
    half = width // 2
    along = functional.max_pool2d(area, (1, width), stride=1, padding=(0, half))
    grown: Tensor = functional.max_pool2d(along, (width, 1), stride=1, padding=(half, 0))
    return grown


def _box(images: Tensor, width: int) -> Tensor:
    """Return the mean over a square around every pixel, as far as it lies in the image; along rows and columns apart."""
    half = width // 2
    along = functional.avg_pool2d(images, (1, width), stride=1, padding=(0, half), count_include_pad=False)
    return functional.avg_pool2d(along, (width, 1), stride=1, padding=(half, 0), count_include_pad=False)


def _odd(length: float) -> int:
    return 2 * max(1, int(length / 2)) + 1


def _between(images: Tensor, low: float, high: float) -> Tensor:
    """Draw a number for each image, shape (batch, 1, 1, 1)."""
    return low + (high - low) * draw(images)


def _chance(images: Tensor, probability: float) -> Tensor:
    """Draw yes or no for each image, bool, shape (batch, 1, 1, 1)."""
    return draw(images) < probability
