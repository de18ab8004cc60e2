"""The training loop: a split, decoded data set and a recipe to a Bundle."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file

from tumorscope.data.dataset import batches, training_batches
from tumorscope.data.sources import recognise
from tumorscope.data.split import check_split
from tumorscope.data.training_images import TrainingImages
from tumorscope.models.bundle import Bundle, short_digest
from tumorscope.models.device import Device, torch_device
from tumorscope.models.network import Classifier, build
from tumorscope.models.starting import Start, start_network
from tumorscope.storage import output_error
from tumorscope.training.module import TrainingModule
from tumorscope.training.progress import ProgressCallback
from tumorscope.training.recipe import Recipe
from tumorscope.training.recorder import BEST_FILE, CHECKPOINT_FILE, Recorder


def train(
    images: TrainingImages,
    recipe: Recipe,
    *,
    name: str,
    init: str,
    folder: Path,
    device: Device = "auto",
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Train one network and return the weights of its best epoch; called again after a kill, go on from the last finished one.

    The best epoch has the highest validation accuracy, among equals the lowest validation loss. The state of an unfinished
    training lies in `folder/training`, the epochs so far in `folder/history.csv`.

    Args:
        images: Decoded images of a split manifest, with outlines and counterfactual scans where the recipe asks for them.
        recipe: Every choice.
        name: One of `NETWORKS`.
        init: Where the weights start, see `models.starting.find_start`.
        folder: Of this model.
        device: `auto` takes a GPU when there is one.
        progress: Called after every step.

    Raises:
        SplitError: The manifest is not split, or a group stands in both training and validation. Whether the test split may
            have group mates is the protocol's to say, and was checked when it was cut.
        TrainingError: The loss became NaN or infinite, or the stored state is that of another training.
        OutputError: The folder cannot be written.
    """
    check_split(images.cache.manifest, allow_published_leak=True)
    torch.manual_seed(recipe.seed)
    choice = recipe.network(name)
    network = build(name, dropout=choice.dropout, output_stride=choice.output_stride)
    start = start_network(network, init)
    module = TrainingModule(network.to(memory_format=torch.channels_last), recipe)
    state = folder / "training"
    recorder = Recorder(recipe.network(name), folder, progress, identity=_identity(images, recipe, name, start.sentence))
    try:
        with _quiet_lightning():
            _fit(module, recorder, images, recipe, state=state, device=device)
    except OSError as error:
        raise output_error(folder, error) from error
    except SystemExit as ended:  # what Lightning makes of Ctrl-C, and it stops listening to another one
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    network.load_state_dict(load_file(state / BEST_FILE))
    return _bundle(network.cpu().eval(), recorder, images, recipe, start)


def _identity(images: TrainingImages, recipe: Recipe, name: str, started_from: str) -> dict[str, Any]:
    """What must be the same for an unfinished training to go on."""
    return {
        "network": name,
        "recipe": recipe.to_toml(),
        "started_from": started_from,
        "split_fingerprint": images.cache.manifest.split_fingerprint,
        "edited": "" if images.edited is None else images.edited.manifest.data_fingerprint,
        "outlined": images.outlined,
    }


def _fit(
    module: TrainingModule, recorder: Recorder, images: TrainingImages, recipe: Recipe, *, state: Path, device: Device
) -> None:
    choice = recipe.network(module.network.name)
    accelerator = torch_device(device).type
    checkpoint = state / CHECKPOINT_FILE
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=_precision(recipe, accelerator),
        max_epochs=choice.epochs,
        gradient_clip_val=choice.clip_norm,
        logger=TensorBoardLogger(state, name=None, version="tensorboard"),
        callbacks=[recorder],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        module,
        training_batches(
            images,
            batch_size=choice.batch_size,
            seed=recipe.seed,
            balanced=choice.balanced,
            edited_share=recipe.counterfactual_share,
        ),
        batches(images.cache, "validation", batch_size=64),
        ckpt_path=checkpoint if checkpoint.is_file() else None,
        weights_only=True,
    )


def _precision(recipe: Recipe, accelerator: str) -> Literal["bf16-mixed", "32-true"]:
    if recipe.precision == "float32":
        return "32-true"
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    can = torch.cpu.get_capabilities()
    return "bf16-mixed" if can.get("avx512_bf16") or can.get("amx_bf16") else "32-true"


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence the loop's advice on things decided here: batches come from memory, so worker processes would only cost."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with _no_advice():
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _no_advice() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        yield


def _bundle(network: Classifier, recorder: Recorder, images: TrainingImages, recipe: Recipe, start: Start) -> Bundle:
    cache = images.cache
    seen = cache.manifest.where(lambda record: record.split in ("train", "validation"))
    images_of = seen.counts_by_source()
    if set(images_of) == {""}:
        images_of = {recognise(cache.manifest) or "": images_of[""]}
    best = recorder.best
    return Bundle(
        network=network,
        preprocessing=cache.preprocessing,
        recipe=recipe.model_dump(mode="json", exclude_none=True),
        training={
            "started_from": start.sentence,
            "ancestor": start.ancestor,
            "images": images_of,
            "epochs": len(recorder.rows),
            "best_epoch": best.epoch,
            "validation_accuracy": best.validation_accuracy,
            "validation_loss": best.validation_loss,
            "duration_s": sum(row.duration_s for row in recorder.rows),
        },
        data_fingerprint=cache.manifest.data_fingerprint,
        split_fingerprint=cache.manifest.split_fingerprint,
        trained_on=frozenset(short_digest(record.sha256) for record in seen) | start.seen,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
