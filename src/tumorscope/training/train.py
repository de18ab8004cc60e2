"""The training loop: a split, decoded data set and a recipe to a Bundle."""

import logging
import os
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

from tumorscope.data.dataset import Part, batches, training_batches
from tumorscope.data.sources import recognise
from tumorscope.data.split import check_split
from tumorscope.data.training_images import TrainingImages
from tumorscope.errors import UsageError
from tumorscope.models.bundle import Bundle
from tumorscope.models.bundle_files import short_digest
from tumorscope.models.device import Device, torch_device
from tumorscope.models.network import RANDOM_WEIGHTS, Classifier, build
from tumorscope.models.starting import Start, start_network
from tumorscope.storage import output_error
from tumorscope.training.launch import ddp
from tumorscope.training.module import TrainingModule
from tumorscope.training.progress import ProgressCallback
from tumorscope.training.recipe import NetworkRecipe, Recipe
from tumorscope.training.recorder import BEST_FILE, CHECKPOINT_FILE, Recorder
from tumorscope.training.team import ALONE, Team


def train(
    images: TrainingImages,
    recipe: Recipe,
    *,
    name: str,
    init: str,
    folder: Path,
    device: Device = "auto",
    progress: ProgressCallback | None = None,
    team: Team = ALONE,
) -> Bundle:
    """Train one network and return the weights of the epoch kept; called again after a kill, go on from the last finished one.

    Which epoch is kept is the recipe's to say. The state of an unfinished training lies in `folder/training`, the epochs so far in
    `folder/history.csv`.

    In a team this is what the first process calls, while the others call `help_train` with the same arguments. A step sees the
    recipe's `batch_size` images, whatever the number of processes, each of which takes its part of them; so the recipe holds for
    any number. Validation is divided without repeating an image and counted once over all. On GPUs batches are normalised over
    all processes, on CPUs by each over its part.

    Args:
        images: Decoded images of a split manifest, with outlines and counterfactual scans where the recipe asks for them.
        recipe: Every choice.
        name: One of `NETWORKS`.
        init: Where the weights start, see `models.starting.find_start`.
        folder: Of this model.
        device: `auto` takes a GPU when there is one.
        progress: Called after every step.
        team: The processes that train together.

    Raises:
        SplitError: The manifest is not split, or a group stands in both training and validation. Whether the test split may
            have group mates is the protocol's to say, and was checked when it was cut.
        TrainingError: The loss became NaN or infinite, or the stored state is that of another training.
        UsageError: There are too few images for so many processes.
        OutputError: The folder cannot be written.
    """
    check_split(images.cache.manifest, allow_published_leak=True)
    network = _built(recipe, name)
    start = start_network(network, init)
    team.agreed(start.sentence)
    _freeze(network, recipe, start.sentence)
    state = folder / "training"
    identity = _identity(images, recipe, name, start.sentence)
    recorder = Recorder(recipe.network(name), folder, progress, identity=identity, team=team)
    try:
        _fit(network, recorder, images, recipe, state=state, device=device, team=team)
    except OSError as error:
        raise output_error(folder, error) from error
    except SystemExit as ended:  # what Lightning makes of Ctrl-C, and it stops listening to another one
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    kept = _built(recipe, name)  # a new one: Lightning leaves layers of its own where processes normalised batches together
    kept.load_state_dict(load_file(state / BEST_FILE))
    return _bundle(kept.eval(), recorder, images, recipe, start, processes=team.size)


def help_train(images: TrainingImages, recipe: Recipe, *, name: str, folder: Path, device: Device = "auto", team: Team) -> None:
    """Train as one of the other processes of a team: `train` in the first one gives the starting weights and keeps what comes out.

    Args:
        images: As the first process has them.
        recipe: Every choice.
        name: One of `NETWORKS`.
        folder: Of this model, the same as the first process's.
        device: As given to the first process.
        team: The processes that train together.

    Raises:
        TrainingError: The stored state is that of another training.
        UsageError: There are too few images for so many processes.
    """
    network, start = _built(recipe, name), team.agreed(None)
    _freeze(network, recipe, start)
    identity = _identity(images, recipe, name, start)
    recorder = Recorder(recipe.network(name), folder, None, identity=identity, team=team)
    _fit(network, recorder, images, recipe, state=folder / "training", device=device, team=team)


def _built(recipe: Recipe, name: str) -> Classifier:
    torch.manual_seed(recipe.seed)
    choice = recipe.network(name)
    return build(name, dropout=choice.dropout, output_stride=choice.output_stride, joined=choice.joined)


def _freeze(network: Classifier, recipe: Recipe, started_from: str) -> None:
    """Let the first blocks keep their weights, unless those are random."""
    if not started_from.startswith(RANDOM_WEIGHTS):
        for block in list(network.features.children())[: recipe.network(network.name).frozen_blocks]:
            block.requires_grad_(False)


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
    network: Classifier, recorder: Recorder, images: TrainingImages, recipe: Recipe, *, state: Path, device: Device, team: Team
) -> None:
    choice, part = recipe.network(network.name), Part(team.rank, team.size)
    _refuse_empty_parts(images, choice, team)
    checkpoint = state / CHECKPOINT_FILE
    with _quiet_lightning(), _kept_threads():
        _trainer(recorder, recipe, choice, state=state, device=device, team=team).fit(
            TrainingModule(network.to(memory_format=torch.channels_last), recipe, team=team),
            training_batches(
                images,
                batch_size=choice.batch_size,
                seed=recipe.seed,
                balanced=choice.balanced,
                edited_share=recipe.counterfactual_share,
                part=part,
            ),
            batches(images.cache, "validation", batch_size=64, part=part),
            ckpt_path=checkpoint if team.agreed(checkpoint.is_file()) else None,
            weights_only=True,
        )


def _refuse_empty_parts(images: TrainingImages, choice: NetworkRecipe, team: Team) -> None:
    smallest = min(choice.batch_size // 2, len(images.cache.rows("train")) // 2, len(images.cache.rows("validation")))
    if team.size > max(1, smallest):
        raise UsageError(
            f"{team.size} processes: with batch_size {choice.batch_size} in the recipe and {len(images.cache.rows('validation'))} "
            f"validation images at most {max(1, smallest)} can share the work. Take fewer --devices, or a larger batch_size."
        )


def _trainer(
    recorder: Recorder, recipe: Recipe, choice: NetworkRecipe, *, state: Path, device: Device, team: Team
) -> lightning.Trainer:
    accelerator = torch_device(device).type
    return lightning.Trainer(
        accelerator=accelerator,
        devices=team.per_node,
        num_nodes=team.nodes,
        strategy=ddp(team) if team.size > 1 else "auto",
        sync_batchnorm=team.size > 1 and accelerator == "cuda",  # torch has none for the CPU
        use_distributed_sampler=False,  # it would pad; ours knows the process it is in
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
def _kept_threads() -> Iterator[None]:
    """Undo what the loop does where processes share a CPU: it gives each of them fewer threads, for good."""
    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if variable is None:
            os.environ.pop("OMP_NUM_THREADS", None)


@contextmanager
def _no_advice() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        yield


def _bundle(
    network: Classifier, recorder: Recorder, images: TrainingImages, recipe: Recipe, start: Start, *, processes: int
) -> Bundle:
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
            **({"processes": processes} if processes > 1 else {}),
        },
        data_fingerprint=cache.manifest.data_fingerprint,
        split_fingerprint=cache.manifest.split_fingerprint,
        trained_on=frozenset(short_digest(record.sha256) for record in seen) | start.seen,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
