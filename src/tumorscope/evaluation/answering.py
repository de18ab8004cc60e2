"""Bundle and images -> Answered: logits and pooled features, whatever the model was trained on."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tumorscope.data.audit.threads import in_threads
from tumorscope.data.dataset import network_input
from tumorscope.data.decode import decode_record
from tumorscope.data.first_look import FirstLook, first_look
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.manifest import Manifest
from tumorscope.models.bundle import Bundle
from tumorscope.models.device import images_per_pass
from tumorscope.scan import Scan

CPU = torch.device("cpu")


def answer_grids(
    bundle: Bundle,
    grids: np.ndarray,
    *,
    split: str,
    label_index: np.ndarray | None = None,
    groups: tuple[str, ...] = (),
    looks: tuple[FirstLook, ...] = (),
    device: torch.device = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Return what a network says of images on its grid, in float32.

    Args:
        bundle: The trained model.
        grids: uint8, shape (n, image_size, image_size), as the bundle's preprocessing makes them; at least one.
        split: Where the images come from, for messages.
        label_index: Positions in `LABELS`, shape (n,); None where nobody knows.
        groups: Of every image, see `Answered`.
        looks: Likewise.
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
            images = network_input(grids[first : first + step], bundle.preprocessing, device)
            pooled = network.features(images).mean(dim=(2, 3))
            features.append(pooled.float().cpu().numpy())
            logits.append(network.head(pooled).float().cpu().numpy())
            if progress is not None:
                progress(min(first + step, len(grids)), len(grids))
    labels = np.full(len(grids), -1) if label_index is None else np.asarray(label_index)
    return Answered(np.concatenate(features), np.concatenate(logits), labels.astype(np.int64), split, groups, looks)


def answer_scans(
    bundle: Bundle,
    scans: Sequence[np.ndarray],
    *,
    split: str,
    label_index: np.ndarray | None = None,
    device: torch.device = CPU,
) -> Answered:
    """Return what a network says of scans as shown, uint8, each of shape (rows, columns), with what the pictures tell.

    Raises:
        EvaluationError: As `answer_grids`.
    """
    grids = [bundle.preprocessing.grid(Scan(pixels=scan, origin=split)) for scan in scans]
    looks = tuple(first_look(scan) for scan in scans)
    return answer_grids(bundle, np.array(grids), split=split, label_index=label_index, looks=looks, device=device)


def answer_rows(
    bundle: Bundle,
    cache: PixelCache,
    rows: np.ndarray,
    *,
    split: str,
    looks: tuple[FirstLook, ...] = (),
    device: torch.device = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Return what a network says of some images of a cache, with their labels and groups; as `answer_grids`.

    Raises:
        EvaluationError: The cache was preprocessed in another way, or there are no images.
    """
    if cache.preprocessing != bundle.preprocessing:
        raise EvaluationError(
            "the images were preprocessed in another way than the model's. Build the cache with the bundle's own."
        )
    return answer_grids(
        bundle,
        cache.grids[rows],
        split=split,
        label_index=cache.label_index[rows],
        groups=tuple(cache.manifest.records[row].group for row in rows),
        looks=looks,
        device=device,
        progress=progress,
    )


def first_looks(manifest: Manifest, rows: Sequence[int], preprocessing: Preprocessing) -> tuple[FirstLook, ...]:
    """Return what the pictures at some rows of a manifest tell; decodes them, on all processors."""

    def look(place: int) -> FirstLook:
        scan = decode_record(manifest, manifest.records[rows[place]])
        return first_look(preprocessing.eight_bit(scan.pixels), colour_share=scan.colour_share)

    return tuple(in_threads(look, len(rows), None))


def linear_head(bundle: Bundle) -> tuple[np.ndarray, np.ndarray] | None:
    """Return weights (4, channels) and biases (4,) of a head that is one linear layer, or None."""
    layers = [layer for layer in bundle.network.head if isinstance(layer, torch.nn.Linear)]
    if len(layers) != 1:
        return None
    return layers[0].weight.detach().cpu().numpy(), layers[0].bias.detach().cpu().numpy()
