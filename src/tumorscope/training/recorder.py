"""What is kept of a training while it runs: history, best weights, and the state to go on from."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save

from tumorscope.errors import TrainingError
from tumorscope.storage import write_atomically
from tumorscope.training.module import TrainingModule, validation_result
from tumorscope.training.progress import HISTORY_FILE, EpochRow, ProgressCallback, StepProgress, write_history
from tumorscope.training.recipe import NetworkRecipe, parse_recipe
from tumorscope.training.team import ALONE, Team

CHECKPOINT_FILE = "last.ckpt"
BEST_FILE = "best.safetensors"


class Recorder(Callback):
    """Keeps history, best weights and the state to resume from; stops early.

    Of several processes the first one counts every epoch over the images of all of them, tells the others, and alone writes.
    """

    def __init__(
        self,
        choice: NetworkRecipe,
        folder: Path,
        progress: ProgressCallback | None,
        *,
        identity: dict[str, Any],
        team: Team = ALONE,
    ) -> None:
        self.rows: list[EpochRow] = []
        self._choice = choice
        self._folder = folder
        self._progress = progress
        self._identity = identity
        self._team = team
        self._clock = 0.0
        self._train_s = 0.0
        self._sums = (0.0, 0, 0, 0)

    @property
    def best(self) -> EpochRow:
        """The epoch whose weights are kept."""
        if self._choice.keep == "last":
            return self.rows[-1]
        return max(self.rows, key=lambda row: (row.validation_accuracy, -row.validation_loss))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "identity": self._identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        stored = dict(state_dict["identity"])
        if "recipe" in stored:  # what an older one left out has its default
            stored["recipe"] = parse_recipe(stored["recipe"], where=str(self._folder)).to_toml()
        if stored != self._identity:
            differs = [key for key, value in self._identity.items() if stored.get(key) != value]
            raise TrainingError(
                f"{self._folder}: holds an unfinished training with another {' and '.join(differs)}. Give the choices it began "
                "with, choose another --out, or delete that folder."
            )
        self.rows = [EpochRow(**row) for row in state_dict["rows"]]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self._out_of_patience()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._clock = time.monotonic()
        self._sums = (0.0, 0, 0, 0)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        loss = float(outputs["mean_loss"])
        images, correct, stated = (int(outputs[name]) for name in ("images", "correct", "stated"))
        if self._team.leads:  # it sees the others' too: one step later in its own loss, or at the end of the epoch
            _refuse_divergence(loss, trainer.current_epoch + 1)
        before = self._sums
        self._sums = (before[0] + loss * images, before[1] + images, before[2] + correct, before[3] + stated)
        self._train_s = time.monotonic() - self._clock
        if self._progress is not None:
            self._progress(self._step_progress(trainer, batch_idx + 1))

    def _step_progress(self, trainer: lightning.Trainer, step: int) -> StepProgress:
        loss, images, correct, stated = self._sums
        return StepProgress(
            epoch=trainer.current_epoch + 1,
            epochs=self._choice.epochs,
            step=step,
            steps=int(trainer.num_training_batches),
            loss=loss / images,
            accuracy=_share(correct, stated),
            images_per_s=images * self._team.size / max(self._train_s, 1e-9),
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        parts = self._team.gathered((self._sums, pl_module.validation_answers()))
        self.rows.append(self._team.agreed(self._row(trainer, pl_module, parts) if self._team.leads else None))
        if self._team.leads:
            self._keep(trainer, pl_module)
        temporary = self._folder / "training" / f"{CHECKPOINT_FILE}.part"
        try:
            trainer.save_checkpoint(temporary, weights_only=False)  # every process calls it, the first one writes
            if self._team.leads:
                temporary.replace(temporary.with_name(CHECKPOINT_FILE))
        finally:
            if self._team.leads:
                temporary.unlink(missing_ok=True)
        trainer.should_stop = self._out_of_patience()

    def _keep(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        row, best = self.rows[-1], self._folder / "training" / BEST_FILE
        if self.best is row:
            write_atomically(best, save({k: v.contiguous().cpu() for k, v in module.network.state_dict().items()}))
        if trainer.logger is not None:
            trainer.logger.log_metrics({k: v for k, v in asdict(row).items() if k != "epoch"}, step=row.epoch)
        write_history(self.rows, self._folder / HISTORY_FILE)

    def _row(self, trainer: lightning.Trainer, module: TrainingModule, parts: list[Any]) -> EpochRow:
        loss, images, correct, stated = (sum(column) for column in zip(*(sums for sums, _ in parts), strict=True))
        _refuse_divergence(loss, trainer.current_epoch + 1)
        logits, labels = (torch.cat(column) for column in zip(*(answers for _, answers in parts), strict=True))
        validation_loss, validation_accuracy, found = validation_result(logits, labels)
        return EpochRow(
            epoch=trainer.current_epoch + 1,
            train_loss=loss / images,
            train_accuracy=_share(correct, stated),
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            validation_tumour_sensitivity=found,
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            image_size=module.train_size,
            images_per_s=images / max(self._train_s, 1e-9),
            duration_s=time.monotonic() - self._clock,
        )

    def _out_of_patience(self) -> bool:
        if self._choice.patience_epochs is None or not self.rows:
            return False
        lowest = min(self.rows, key=lambda row: row.validation_loss)
        return self.rows[-1].epoch - lowest.epoch >= self._choice.patience_epochs


def _share(correct: int, stated: int) -> float:
    """Accuracy on the images of stated label; 0 where a small part of an epoch holds none."""
    return correct / max(1, stated)


def _refuse_divergence(loss: float, epoch: int) -> None:
    if loss != loss or loss == float("inf"):
        raise TrainingError(f"the loss became {loss} in epoch {epoch}. Lower learning_rate in the recipe.")
