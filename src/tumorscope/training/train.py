"""The training loop: a split, decoded data set and a recipe to a Bundle."""

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from tumorscope.data.dataset import Batch, augmenter, batches, normalise, resize
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.split import check_split
from tumorscope.errors import TrainingError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.bundle import Bundle, short_digest
from tumorscope.models.device import Device, torch_device
from tumorscope.models.network import Classifier, build, initialise
from tumorscope.storage import output_error, write_atomically
from tumorscope.training.progress import HISTORY_FILE, EpochRow, ProgressCallback, StepProgress, write_history
from tumorscope.training.recipe import NetworkRecipe, Recipe

CHECKPOINT_FILE = "last.ckpt"
BEST_FILE = "best.safetensors"


def train(
    cache: PixelCache,
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
        cache: Decoded images of a split manifest.
        recipe: Every choice.
        name: One of `NETWORKS`.
        init: Where the weights start, see `models.network.initialise`.
        folder: Of this model.
        device: `auto` takes a GPU when there is one.
        progress: Called after every step.

    Raises:
        SplitError: The manifest is not split, or a group stands in both training and validation. Whether the test split may
            have group mates is the protocol's to say, and was checked when it was cut.
        TrainingError: The loss became NaN or infinite, or the stored state is that of another training.
        OutputError: The folder cannot be written.
    """
    check_split(cache.manifest, allow_published_leak=True)
    torch.manual_seed(recipe.seed)
    network = build(name, dropout=recipe.network(name).dropout)
    start = initialise(network, init)
    module = _TrainingModule(network.to(memory_format=torch.channels_last), recipe)
    state = folder / "training"
    recorder = _Recorder(recipe.network(name), folder, progress, identity=_identity(cache, recipe, name, start))
    try:
        with _quiet_lightning():
            _fit(module, recorder, cache, recipe, state=state, device=device)
    except OSError as error:
        raise output_error(folder, error) from error
    except SystemExit as ended:  # what Lightning makes of Ctrl-C, and it stops listening to another one
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    network.load_state_dict(load_file(state / BEST_FILE))
    return _bundle(network.cpu().eval(), recorder, cache, recipe, start)


def _identity(cache: PixelCache, recipe: Recipe, name: str, started_from: str) -> dict[str, Any]:
    """What must be the same for an unfinished training to go on."""
    return {
        "network": name,
        "recipe": recipe.to_toml(),
        "started_from": started_from,
        "split_fingerprint": cache.manifest.split_fingerprint,
    }


def _fit(
    module: "_TrainingModule", recorder: "_Recorder", cache: PixelCache, recipe: Recipe, *, state: Path, device: Device
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
        batches(cache, "train", batch_size=choice.batch_size, seed=recipe.seed),
        batches(cache, "validation", batch_size=64),
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


def _bundle(network: Classifier, recorder: "_Recorder", cache: PixelCache, recipe: Recipe, started_from: str) -> Bundle:
    seen = [record for record in cache.manifest if record.split in ("train", "validation")]
    best = recorder.best
    return Bundle(
        network=network,
        preprocessing=cache.preprocessing,
        recipe=recipe.model_dump(mode="json", exclude_none=True),
        training={
            "started_from": started_from,
            "epochs": len(recorder.rows),
            "best_epoch": best.epoch,
            "validation_accuracy": best.validation_accuracy,
            "validation_loss": best.validation_loss,
            "duration_s": sum(row.duration_s for row in recorder.rows),
        },
        data_fingerprint=cache.manifest.data_fingerprint,
        split_fingerprint=cache.manifest.split_fingerprint,
        trained_on=frozenset(short_digest(record.sha256) for record in seen),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class _TrainingModule(lightning.LightningModule):
    """A network with its loss, optimizer and the way from stored grids to its input."""

    def __init__(self, network: Classifier, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.choice = recipe.network(network.name)
        self.augment = augmenter(recipe.augmentation)
        self.validation_logits: list[Tensor] = []
        self.validation_labels: list[Tensor] = []

    @property
    def train_size(self) -> int:
        return self.choice.size_at(self.current_epoch, image_size=self.recipe.preprocessing.image_size)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch + 1)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn stored grids into the network's input; here, and not in the step, to stay in float32."""
        images = batch[0].float() / 255
        if self.trainer.training:
            images = resize(self.augment(images), self.train_size)
        return normalise(images, self.recipe.preprocessing), batch[1]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.network(batch[0]).float()
        loss = functional.cross_entropy(logits, batch[1], label_smoothing=self.choice.label_smoothing)
        return {"loss": loss, "correct": (logits.argmax(dim=1) == batch[1]).sum(), "seen": torch.tensor(len(batch[1]))}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_logits.append(self.network(batch[0]).float().cpu())
        self.validation_labels.append(batch[1].cpu())

    def validation_result(self) -> tuple[float, float, float]:
        """Return loss, accuracy and tumour sensitivity of the validation that just ended, and forget it."""
        logits, labels = torch.cat(self.validation_logits), torch.cat(self.validation_labels)
        self.validation_logits.clear()
        self.validation_labels.clear()
        predicted = logits.argmax(dim=1)
        tumours = labels != LABELS.index(NO_TUMOUR)
        found = (predicted[tumours] != LABELS.index(NO_TUMOUR)).float().mean() if tumours.any() else torch.tensor(1.0)
        return functional.cross_entropy(logits, labels).item(), (predicted == labels).float().mean().item(), found.item()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        choice = self.choice
        optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[choice.optimizer]
        optimizer = optimizer_class(self.network.parameters(), lr=choice.learning_rate, weight_decay=choice.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": _schedule(choice, optimizer, steps), "interval": "step"}}


def _schedule(choice: NetworkRecipe, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    if choice.schedule == "step":
        return StepLR(optimizer, step_size=choice.step_epochs * max(1, steps // choice.epochs), gamma=choice.step_factor)
    steps = max(2, steps)
    # torch divides by zero where the warm-up is exactly one step long.
    warmup = max(choice.warmup_share, 1.5 / steps)
    return OneCycleLR(optimizer, max_lr=choice.learning_rate, total_steps=steps, pct_start=warmup)


class _Recorder(Callback):
    """Keeps history, best weights and the state to resume from; stops early."""

    def __init__(self, choice: NetworkRecipe, folder: Path, progress: ProgressCallback | None, *, identity: dict[str, Any]) -> None:
        self.rows: list[EpochRow] = []
        self._choice = choice
        self._folder = folder
        self._progress = progress
        self._identity = identity
        self._clock = 0.0
        self._train_s = 0.0
        self._sums = (0.0, 0, 0)
        self._validation = (0.0, 0.0, 0.0)

    @property
    def best(self) -> EpochRow:
        """The epoch whose weights are kept."""
        return max(self.rows, key=lambda row: (row.validation_accuracy, -row.validation_loss))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "identity": self._identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["identity"] != self._identity:
            differs = [key for key, value in self._identity.items() if state_dict["identity"].get(key) != value]
            raise TrainingError(
                f"{self._folder}: holds an unfinished training with another {' and '.join(differs)}. Give the choices it began "
                "with, choose another --out, or delete that folder."
            )
        self.rows = [EpochRow(**row) for row in state_dict["rows"]]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self._out_of_patience()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._clock = time.monotonic()
        self._sums = (0.0, 0, 0)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        loss, seen = float(outputs["loss"]), int(outputs["seen"])
        if loss != loss or loss == float("inf"):
            raise TrainingError(f"the loss became {loss} in epoch {trainer.current_epoch + 1}. Lower learning_rate in the recipe.")
        self._sums = (self._sums[0] + loss * seen, self._sums[1] + int(outputs["correct"]), self._sums[2] + seen)
        self._train_s = time.monotonic() - self._clock
        if self._progress is not None:
            self._progress(self._step_progress(trainer, batch_idx + 1))

    def _step_progress(self, trainer: lightning.Trainer, step: int) -> StepProgress:
        loss, correct, seen = self._sums
        return StepProgress(
            epoch=trainer.current_epoch + 1,
            epochs=self._choice.epochs,
            step=step,
            steps=int(trainer.num_training_batches),
            loss=loss / seen,
            accuracy=correct / seen,
            images_per_s=seen / max(self._train_s, 1e-9),
        )

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, _TrainingModule)
        self._validation = pl_module.validation_result()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, _TrainingModule)
        self.rows.append(self._row(trainer, pl_module))
        row = self.rows[-1]
        state = self._folder / "training"
        if self.best is row:
            write_atomically(state / BEST_FILE, save({k: v.contiguous().cpu() for k, v in pl_module.network.state_dict().items()}))
        if trainer.logger is not None:
            trainer.logger.log_metrics({k: v for k, v in asdict(row).items() if k != "epoch"}, step=row.epoch)
        write_history(self.rows, self._folder / HISTORY_FILE)
        temporary = state / f"{CHECKPOINT_FILE}.part"
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
            temporary.replace(state / CHECKPOINT_FILE)
        finally:
            temporary.unlink(missing_ok=True)
        trainer.should_stop = self._out_of_patience()

    def _row(self, trainer: lightning.Trainer, module: _TrainingModule) -> EpochRow:
        loss, correct, seen = self._sums
        validation_loss, validation_accuracy, found = self._validation
        return EpochRow(
            epoch=trainer.current_epoch + 1,
            train_loss=loss / seen,
            train_accuracy=correct / seen,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            validation_tumour_sensitivity=found,
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            image_size=module.train_size,
            images_per_s=seen / max(self._train_s, 1e-9),
            duration_s=time.monotonic() - self._clock,
        )

    def _out_of_patience(self) -> bool:
        if self._choice.patience_epochs is None or not self.rows:
            return False
        lowest = min(self.rows, key=lambda row: row.validation_loss)
        return self.rows[-1].epoch - lowest.epoch >= self._choice.patience_epochs
