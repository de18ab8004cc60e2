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


def outline_cells(masks: Tensor, cells: CellGrid, shape: tuple[int, int]) -> Tensor:
    """Return which cells of a feature map an outline touches.

    Args:
        masks: 1 where the tumour is, float, shape (batch, 1, h, w), on the network's input.
        cells: Where the cells lie.
        shape: Rows and columns of the feature map.

    Returns:
        1 or 0, float, shape (batch, rows, columns).
    """
    stride = int(cells.stride)
    before = max(0, int(stride / 2 - cells.start))
    down, right = (-(before + length) % stride for length in masks.shape[2:])
    padded = functional.pad((masks > 0.5).float(), (before, right, before, down))
    touched: Tensor = functional.max_pool2d(padded, stride)[:, 0]
    return _folded(_folded(touched, shape[0], dim=1), shape[1], dim=2)


def _folded(touched: Tensor, count: int, *, dim: int) -> Tensor:
    """Count what lies beyond the last centre to the last cell."""
    if touched.shape[dim] <= count:
        return touched
    last = touched.narrow(dim, count - 1, touched.shape[dim] - count + 1).amax(dim=dim, keepdim=True)
    return torch.cat([touched.narrow(dim, 0, count - 1), last], dim=dim)


def around(touched: Tensor) -> Tensor:
    """Return the cells of an outline and their neighbours, shape as given."""
    grown: Tensor = functional.max_pool2d(touched[:, None], kernel_size=3, stride=1, padding=1)[:, 0]
    return grown


def peak_loss(evidence: Tensor, allowed: Tensor) -> Tensor:
    """Return minus the logarithm of the share of a map's softmax over all cells that lies in the allowed ones, shape (batch,).

    Args:
        evidence: Map of the true class, float32, shape (batch, rows, columns).
        allowed: 1 where the peak may be, else 0, same shape; not all 0.
    """
    shares = functional.log_softmax(evidence.flatten(1), dim=1)
    inside: Tensor = torch.logsumexp(shares.masked_fill(allowed.flatten(1) == 0, _NOWHERE), dim=1)
    return -inside


def cells_loss(evidence: Tensor, labels: Tensor, touched: Tensor, *, known: Tensor) -> Tensor:
    """Return the cross-entropy of single cells, each asked whether it shows a tumour of each type.

    Mean over the cells of tumours, plus mean over the twentieth of other cells of each image that is hardest: almost all cells
    are healthy and easy, and would drown the few that look like a tumour.

    Args:
        evidence: Logits of every cell, float32, shape (batch, 4, rows, columns).
        labels: Positions in `LABELS`, shape (batch,).
        touched: 1 where the outline is, shape (batch, rows, columns).
        known: Images whose every cell is known: with an outline, or without a tumour; bool, shape (batch,).

    Source:
        Hard examples alone: Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540
    """
    target = torch.zeros_like(evidence)
    target[torch.arange(len(labels), device=labels.device), labels] = touched
    unsure = around(touched) - touched
    counts = (known[:, None, None] * (1 - unsure))[:, None]
    target, evidence = target[:, _TUMOURS], evidence[:, _TUMOURS]
    losses = functional.binary_cross_entropy_with_logits(evidence, target, reduction="none") * counts
    shown = (losses * target).sum() / (target * counts).sum().clamp(min=1)
    others = (losses * (1 - target)).flatten(1)
    hardest = others.topk(max(1, round(others.shape[1] * _HARDEST)), dim=1).values
    hidden = (hardest.mean(dim=1) * known).sum() / known.sum().clamp(min=1)
    return shown + hidden
