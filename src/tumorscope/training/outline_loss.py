"""Loss terms on the maps of a network's classes, for images with a known outline and for images without a tumour."""

import torch
from torch import Tensor
from torch.nn import functional

from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.network import CellGrid

_NONE = LABELS.index(NO_TUMOUR)
_TUMOURS = [index for index in range(len(LABELS)) if index != _NONE]
_HARDEST = 1 / 20
_NOWHERE = -1e4
_OWN = 0.5


def outline_shares(masks: Tensor, cells: CellGrid, shape: tuple[int, int]) -> Tensor:
    """Return which share of every cell of a feature map lies inside an outline.

    Args:
        masks: 1 where the tumour is, float, shape (batch, 1, h, w), on the network's input.
        cells: Where the cells lie.
        shape: Rows and columns of the feature map.

    Returns:
        0 to 1, float, shape (batch, rows, columns).
    """
    stride = int(cells.stride)
    before = max(0, int(stride / 2 - cells.start))
    down, right = (-(before + length) % stride for length in masks.shape[2:])
    padded = functional.pad((masks > 0.5).float(), (before, right, before, down))
    shares: Tensor = functional.avg_pool2d(padded, stride)[:, 0]
    return _folded(_folded(shares, shape[0], dim=1), shape[1], dim=2)


def _folded(shares: Tensor, count: int, *, dim: int) -> Tensor:
    """Count what lies beyond the last centre to the last cell."""
    if shares.shape[dim] <= count:
        return shares
    last = shares.narrow(dim, count - 1, shares.shape[dim] - count + 1).amax(dim=dim, keepdim=True)
    return torch.cat([shares.narrow(dim, 0, count - 1), last], dim=dim)


def relative(shares: Tensor) -> Tensor:
    """Return the shares divided by each image's largest one, so that every tumour, however small, has a cell of 1."""
    return shares / shares.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def around(cells: Tensor) -> Tensor:
    """Return cells that are 1 and their neighbours, shape as given."""
    grown: Tensor = functional.max_pool2d(cells[:, None], kernel_size=3, stride=1, padding=1)[:, 0]
    return grown


def peak_loss(evidence: Tensor, inside: Tensor) -> Tensor:
    """Return minus the logarithm of the share of a map's softmax over all cells that lies inside an outline, shape (batch,).

    Args:
        evidence: Map of the true class, float32, shape (batch, rows, columns).
        inside: How much of every cell counts as inside, 0 to 1, same shape; not all 0.
    """
    shares = functional.log_softmax(evidence.flatten(1), dim=1)
    found: Tensor = torch.logsumexp(shares + inside.flatten(1).log().clamp(min=_NOWHERE), dim=1)
    return -found


def cells_loss(evidence: Tensor, labels: Tensor, inside: Tensor, *, known: Tensor) -> Tensor:
    """Return the cross-entropy of single cells, each asked whether it shows a tumour of each type.

    Mean over the cells of tumours, plus mean over the twentieth of other cells of each image that is hardest: almost all cells
    are healthy and easy, and would drown the few that look like a tumour. Cells that a tumour fills at least half as much as the
    one it fills most are its own; those that it merely touches, and the neighbours of its own, are left to the network.

    Args:
        evidence: Logits of every cell, float32, shape (batch, 4, rows, columns).
        labels: Positions in `LABELS`, shape (batch,).
        inside: How much of every cell counts as inside an outline, from `relative`, shape (batch, rows, columns).
        known: Images whose every cell is known: with an outline, or without a tumour; bool, shape (batch,).

    Source:
        Hard examples alone: Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540
    """
    target = torch.zeros_like(evidence)
    own = (inside >= _OWN).to(inside.dtype)
    target[torch.arange(len(labels), device=labels.device), labels] = own
    unsure = torch.maximum(around(own), (inside > 0).to(own.dtype)) - own
    counts = (known[:, None, None] * (1 - unsure))[:, None]
    target, evidence = target[:, _TUMOURS], evidence[:, _TUMOURS]
    losses = functional.binary_cross_entropy_with_logits(evidence, target, reduction="none") * counts
    shown = (losses * target).sum() / (target * counts).sum().clamp(min=1)
    others = (losses * (1 - target)).flatten(1)
    hardest = others.topk(max(1, round(others.shape[1] * _HARDEST)), dim=1).values
    hidden = (hardest.mean(dim=1) * known).sum() / known.sum().clamp(min=1)
    return shown + hidden
