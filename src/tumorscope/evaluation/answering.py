"""Bundle and grids -> Answered: logits and pooled features of images that need no manifest."""

from collections.abc import Callable

import numpy as np
import torch

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.familiarity_fit import Answered
from tumorscope.models.bundle import Bundle
from tumorscope.models.device import images_per_pass

CPU = torch.device("cpu")


def answer_grids(
    bundle: Bundle,
    grids: np.ndarray,
    *,
    split: str,
    label_index: np.ndarray | None = None,
    device: torch.device = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Return what a network says of images on its grid, in float32.

    Args:
        bundle: The trained model.
        grids: uint8, shape (n, image_size, image_size), as the bundle's preprocessing makes them; at least one.
        split: Where the images come from, for messages.
        label_index: Positions in `LABELS`, shape (n,); None where nobody knows.
        device: Of torch.
        progress: Called with (done, all) after every batch.

    Raises:
        EvaluationError: There are no images, or a feature is NaN.
    """
    if not len(grids):
        raise EvaluationError(f"{split}: no images to answer. Give at least one.")
    network = bundle.network.eval().to(device).to(memory_format=torch.channels_last)
    step = images_per_pass(device)
    features, logits = [], []
    with torch.inference_mode():
        for first in range(0, len(grids), step):
            images = torch.from_numpy(bundle.preprocessing.normalise(np.asarray(grids[first : first + step]))).to(device)
            pooled = network.features(images.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))
            features.append(pooled.float().cpu().numpy())
            logits.append(network.head(pooled).float().cpu().numpy())
            if progress is not None:
                progress(min(first + step, len(grids)), len(grids))
    labels = np.full(len(grids), -1) if label_index is None else np.asarray(label_index)
    return Answered(np.concatenate(features), np.concatenate(logits), labels.astype(np.int64), split)


def linear_head(bundle: Bundle) -> tuple[np.ndarray, np.ndarray] | None:
    """Return weights (4, channels) and biases (4,) of a head that is one linear layer, or None."""
    layers = [layer for layer in bundle.network.head if isinstance(layer, torch.nn.Linear)]
    if len(layers) != 1:
        return None
    return layers[0].weight.detach().cpu().numpy(), layers[0].bias.detach().cpu().numpy()
