"""A network while it is trained: from stored grids to its input, its loss, its optimizer."""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from tumorscope.data.dataset import Augmenter, Batch, EpochOrder, normalise, resize
from tumorscope.data.lesions import UNSTATED
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.network import Classifier
from tumorscope.training.classification_loss import classification_loss, with_likely_types
from tumorscope.training.outline_loss import cells_loss, outline_shares, peak_loss, relative
from tumorscope.training.recipe import NetworkRecipe, Recipe
from tumorscope.training.team import ALONE, Team


class TrainingModule(lightning.LightningModule):
    """A network with its loss, optimizer and the way from stored grids to its input.

    Where several processes train it together, the images that each of them augments and drops are drawn by its own random numbers,
    and the running statistics of batch normalisation become the mean over all processes before every validation.

    Args:
        network: To be trained.
        recipe: Every choice.
        team: The processes that train it.
    """

    def __init__(self, network: Classifier, recipe: Recipe, *, team: Team = ALONE) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.choice = recipe.network(network.name)
        self._team = team
        self.augment = Augmenter(recipe.augmentation)
        self.cells = network.cell_grid()
        self.validation_logits: list[Tensor] = []
        self.validation_labels: list[Tensor] = []

    @property
    def uses_masks(self) -> bool:
        """Whether the training images' outlines are of use."""
        return bool(self.choice.guidance or self.recipe.augmentation.recoloured)

    @property
    def train_size(self) -> int:
        return self.choice.size_at(self.current_epoch, image_size=self.recipe.preprocessing.image_size)

    def on_train_epoch_start(self) -> None:
        # An epoch is less than 1,009. Differences beyond 32 bits would not tell processes apart: torch's CPU generator drops them.
        torch.manual_seed(self.recipe.seed * 100_003 + self._team.rank * 1_009 + self.current_epoch + 1)

    def on_validation_start(self) -> None:
        self._team.average(self.network.buffers())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn stored grids into the network's input; here, and not in the step, to stay in float32."""
        masks = batch.masks.float() if batch.masks is not None and self.uses_masks else None
        images, labels, masks = Batch(batch.images.float() / 255, batch.labels, masks)
        if self.trainer.training:
            # First to the size of this epoch: nothing is changed in pixels that are thrown away.
            masks = None if masks is None else resize(masks, self.train_size)
            images, labels, masks = self.augment(Batch(resize(images, self.train_size), labels, masks))
            masks = masks if self.choice.guidance else None
        return Batch(normalise(images, self.recipe.preprocessing), labels, masks)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor | int]:
        """Return the loss of a batch, how many images it holds, and how many of those of stated label are answered right."""
        feature_map = self.network.features(batch.images)
        logits = self.network.classify(feature_map).float()
        loss = classification_loss(logits, batch.labels, smoothing=self.choice.label_smoothing)
        if batch.masks is not None:
            with torch.autocast(feature_map.device.type, enabled=False):
                loss = loss + self._guidance(feature_map.float(), batch.labels, batch.masks)
        stated, mean = batch.labels != UNSTATED, loss.detach()
        if self._team.size > 1:
            loss = loss * self._share(batch_idx)
        correct = (logits.argmax(dim=1) == batch.labels)[stated].sum()
        return {"loss": loss, "mean_loss": mean, "images": len(batch.labels), "correct": correct, "stated": stated.sum()}

    def _share(self, batch_idx: int) -> float:
        """How much this process's mean loss counts in a step."""
        assert self.trainer.train_dataloader is not None
        order: EpochOrder = self.trainer.train_dataloader.sampler
        return order.weight(batch_idx)

    def _guidance(self, feature_map: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        """Return what outlines add to the loss; images with a tumour and no outline add nothing.

        Where the type is unstated, it counts as the one that the network thinks most likely.
        """
        choice, evidence = self.choice.guidance, self.network.evidence(feature_map)
        inside = relative(outline_shares(masks, self.cells, (evidence.shape[2], evidence.shape[3])))
        outlined = inside.flatten(1).any(dim=1)
        loss = evidence.new_zeros(())
        labels = with_likely_types(labels, self.network.classify(feature_map))
        if choice.peak and outlined.any():
            true = evidence[torch.arange(len(labels), device=labels.device), labels]
            loss = loss + choice.peak * peak_loss(true[outlined], inside[outlined]).mean()
        if choice.cells:
            known = outlined | (labels == LABELS.index(NO_TUMOUR))
            loss = loss + choice.cells * cells_loss(evidence, labels, inside, known=known)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_logits.append(self.network(batch.images).float().cpu())
        self.validation_labels.append(batch.labels.cpu())

    def validation_answers(self) -> tuple[Tensor, Tensor]:
        """Return logits, shape (n, labels), and labels, shape (n,), of this process's validation images, and forget them."""
        answers = torch.cat(self.validation_logits), torch.cat(self.validation_labels)
        self.validation_logits.clear()
        self.validation_labels.clear()
        return answers

    def configure_optimizers(self) -> OptimizerLRScheduler:
        choice = self.choice
        optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[choice.optimizer]
        optimizer = optimizer_class(
            [weights for weights in self.network.parameters() if weights.requires_grad],
            lr=choice.learning_rate,
            weight_decay=choice.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": _schedule(choice, optimizer, steps), "interval": "step"}}


def validation_result(logits: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Return loss, accuracy and tumour sensitivity.

    Args:
        logits: Of all validation images, float32, shape (n, labels).
        labels: Positions in `LABELS`, int64, shape (n,).
    """
    predicted = logits.argmax(dim=1)
    tumours = labels != LABELS.index(NO_TUMOUR)
    found = (predicted[tumours] != LABELS.index(NO_TUMOUR)).float().mean() if tumours.any() else torch.tensor(1.0)
    return functional.cross_entropy(logits, labels).item(), (predicted == labels).float().mean().item(), found.item()


def _schedule(choice: NetworkRecipe, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    if choice.schedule == "step":
        return StepLR(optimizer, step_size=choice.step_epochs * max(1, steps // choice.epochs), gamma=choice.step_factor)
    steps = max(2, steps)
    # torch divides by zero where the warm-up is exactly one step long.
    warmup = max(choice.warmup_share, 1.5 / steps)
    return OneCycleLR(optimizer, max_lr=choice.learning_rate, total_steps=steps, pct_start=warmup)
