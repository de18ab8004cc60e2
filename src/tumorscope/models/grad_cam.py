"""The raw Grad-CAM map, forward only."""

import torch
from torch import Tensor, nn


def grad_cam(feature_map: Tensor, head: nn.Sequential, label_index: Tensor | None = None) -> Tensor:
    """Return the Grad-CAM maps of every label, or of one label for each image, without a backward pass.

    The head sees the feature map through global average pooling alone, so the gradient of a logit is the same in every cell:
    the head's Jacobian divided by the number of cells. The map is raw: rectified, never stretched, so a flat map stays flat.

    Args:
        feature_map: Last feature map, float32, shape (batch, channels, rows, columns).
        head: Linear, ReLU and Dropout layers that turn pooled features into logits.
        label_index: Label to explain for each image, int64, shape (batch,), in the order of `LABELS`; None explains all.

    Returns:
        Shape (batch, labels, rows, columns), or (batch, rows, columns) with `label_index`; float32, at least 0, no unit.

    Source:
        Selvaraju et al. 2017, equations 1 and 2, https://arxiv.org/abs/1610.02391
    """
    rows, columns = feature_map.shape[2:]
    jacobian = head_jacobian(head, feature_map.mean(dim=(2, 3)))
    if label_index is not None:
        jacobian = jacobian.expand(len(feature_map), -1, -1)[torch.arange(len(feature_map), device=jacobian.device), label_index]
        jacobian = jacobian[:, None]
    maps = _weighted(feature_map, jacobian / (rows * columns)).relu()
    return maps if label_index is None else maps[:, 0]


def evidence(feature_map: Tensor, head: nn.Sequential) -> Tensor:
    """Return the logits shared out over the cells of the feature map: their mean over the cells is the logits.

    Up to a constant and a factor it is the Grad-CAM map before it is rectified, so what training asks of the one holds for the
    other. For a linear head it is the head's answer to every single cell; elsewhere the head counts as linear around the image.

    Args:
        feature_map: Last feature map, float32, shape (batch, channels, rows, columns).
        head: Linear, ReLU and Dropout layers; dropout counts as at rest.

    Returns:
        float32, shape (batch, labels, rows, columns).
    """
    pooled = feature_map.mean(dim=(2, 3))
    logits, jacobian = _linearised(head, pooled)
    parts = _weighted(feature_map, jacobian)
    return parts + (logits - parts.mean(dim=(2, 3)))[:, :, None, None]


def _weighted(feature_map: Tensor, jacobian: Tensor) -> Tensor:
    """Return the feature map summed over channels with the weights of every label, shape (batch, labels, rows, columns)."""
    rows, columns = feature_map.shape[2:]
    # One product of matrices for each image; in this order neither the map nor the weights are copied when channels lie last.
    cells = feature_map.permute(0, 2, 3, 1).flatten(1, 2)
    maps = cells @ jacobian.transpose(1, 2)
    return maps.transpose(1, 2).reshape(maps.shape[0], -1, rows, columns)  # len() would fix the batch of an export


def head_jacobian(head: nn.Sequential, pooled: Tensor) -> Tensor:
    """Return the derivative of every logit by every pooled feature, dropout at rest.

    It is multiplied from the logits' side, so that no product is larger than labels times channels.

    Args:
        head: Linear, ReLU and Dropout layers, at least one of them linear.
        pooled: float32, shape (batch, channels).

    Returns:
        float32, shape (batch, labels, channels); the first axis is 1 where the head is linear, the same for every image.

    Raises:
        TypeError: The head holds another kind of layer, whose derivative is not known here.
    """
    return _linearised(head, pooled)[1]


def _linearised(head: nn.Sequential, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and their derivative, see `head_jacobian`."""
    slopes: list[Tensor] = []
    values = pooled
    for layer in head:
        if isinstance(layer, nn.Linear):
            slopes.append(layer.weight)
            values = layer(values)
        elif isinstance(layer, nn.ReLU):
            slopes.append((values > 0).to(values.dtype)[:, None, :])
            values = layer(values)
        elif not isinstance(layer, nn.Dropout):
            raise TypeError(f"a head with a {type(layer).__name__} layer has no closed-form Grad-CAM here")
    jacobian: Tensor = torch.eye(values.shape[1], dtype=pooled.dtype, device=pooled.device)[None]
    for slope in reversed(slopes):
        jacobian = jacobian * slope if slope.ndim == 3 else jacobian @ slope
    return values, jacobian
