"""Cross-entropy of whole images, some of which show a tumour of unstated type."""

import torch
from torch import Tensor
from torch.nn import functional

from tumorscope.data.lesions import UNSTATED
from tumorscope.labels import LABELS, NO_TUMOUR

_NONE = LABELS.index(NO_TUMOUR)


def classification_loss(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Return the mean cross-entropy; a tumour of unstated type asks for the sum of the probabilities of all tumours.

    Args:
        logits: float32, shape (batch, 4).
        labels: Positions in `LABELS`, or `UNSTATED`, shape (batch,).
        smoothing: Share of probability spread evenly over all labels.
    """
    unstated = labels == UNSTATED
    if not unstated.any():
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    known = functional.cross_entropy(logits[~unstated], labels[~unstated], label_smoothing=smoothing, reduction="sum")
    shares = functional.log_softmax(logits[unstated], dim=1)
    tumour = _without_none(shares).logsumexp(dim=1)
    total: Tensor = known - ((1 - smoothing) * tumour + smoothing * shares.mean(dim=1)).sum()
    return total / len(labels)


def with_likely_types(labels: Tensor, logits: Tensor) -> Tensor:
    """Return labels with the likeliest type of tumour in place of `UNSTATED`; shapes as for `classification_loss`."""
    return torch.where(labels == UNSTATED, _without_none(logits.detach()).argmax(dim=1), labels)


def _without_none(logits: Tensor) -> Tensor:
    return logits.index_fill(1, torch.tensor([_NONE], device=logits.device), float("-inf"))
