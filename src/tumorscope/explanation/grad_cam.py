"""The raw Grad-CAM map, forward only."""

import torch
from torch import Tensor, nn


def grad_cam(feature_map: Tensor, head: nn.Sequential) -> Tensor:
    """Return the Grad-CAM maps of every label for a batch of feature maps, without a backward pass.

    The head sees the feature map through global average pooling alone, so the gradient of a logit is the same in every cell:
    the head's Jacobian divided by the number of cells. The map is raw: rectified, never stretched, so a flat map stays flat.

    Args:
        feature_map: Last feature map, float32, shape (batch, channels, rows, columns).
        head: Linear, ReLU and Dropout layers that turn pooled features into logits.

    Returns:
        Shape (batch, labels, rows, columns), float32, at least 0, no unit.

    Source:
        Selvaraju et al. 2017, equations 1 and 2, https://arxiv.org/abs/1610.02391
    """
    cells = feature_map.shape[2] * feature_map.shape[3]
    weights = head_jacobian(head, feature_map.mean(dim=(2, 3))) / cells
    return torch.einsum("blc,bchw->blhw", weights, feature_map).relu()


def head_jacobian(head: nn.Sequential, pooled: Tensor) -> Tensor:
    """Return the derivative of every logit by every pooled feature, dropout at rest.

    Args:
        head: Linear, ReLU and Dropout layers.
        pooled: float32, shape (batch, channels).

    Returns:
        float32, shape (batch, labels, channels).

    Raises:
        TypeError: The head holds another kind of layer, whose derivative is not known here.
    """
    jacobian = torch.eye(pooled.shape[1], dtype=pooled.dtype, device=pooled.device).expand(len(pooled), -1, -1)
    values = pooled
    for layer in head:
        if isinstance(layer, nn.Linear):
            jacobian, values = layer.weight @ jacobian, layer(values)
        elif isinstance(layer, nn.ReLU):
            jacobian, values = jacobian * (values > 0)[:, :, None], layer(values)
        elif not isinstance(layer, nn.Dropout):
            raise TypeError(f"a head with a {type(layer).__name__} layer has no closed-form Grad-CAM here")
    return jacobian
