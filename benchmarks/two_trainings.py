"""The two trainings of `time_to_accuracy.py`: from files in the loop that most people write, and through the project's own."""

import functools
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision import transforms
from torchvision.models import mobilenet_v2

from tumorscope.apps.console import CountCallback, Reporter
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, read_manifest
from tumorscope.models.network import build, initialise
from tumorscope.training.progress import HISTORY_FILE, StepProgress, read_history
from tumorscope.training.recipe import NetworkRecipe, Recipe, parse_recipe

LEVELS = (0.90, 0.95, 0.97)
NETWORK = "mobilenet_v2"
USUAL, OURS = "usual", "ours"
ALL, BUDGET, PATIENCE, DONE = "all levels reached", "budget spent", "stopped early", "recipe finished"
WAITING, AUGMENTATION, VALIDATION = "waiting for pictures", "augmentation", "validation"
TRAINING = (WAITING, AUGMENTATION, "forward", "backward", "optimizer")
IN_WORKERS = ("decoding, in the workers", "augmentation, in the workers")
Run = dict[str, Any]
Pair = tuple[Tensor, int]
PictureBatches = DataLoader[Pair]


@dataclass(frozen=True)
class Order:
    """One training, as it is handed to the process that does it.

    Attributes:
        side: `USUAL` or `OURS`.
        seed: Of weights, order and augmentation; the split is fixed.
        manifest: CSV of the split images.
        init: Where the weights start.
        recipe: TOML.
        budget_s: Wall seconds after which it is given up.
        validate_every: Steps; ours is validated after every epoch.
        workers: Processes that read pictures for the usual recipe.
        started: Time of day at which it was asked for, in seconds.
    """

    side: str
    seed: int
    manifest: str
    init: str
    recipe: str
    budget_s: float
    validate_every: int
    workers: int = 2
    started: float = 0.0

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.time() - self.started

    @property
    def spent(self) -> bool:
        """Whether the budget is."""
        return self.seconds >= self.budget_s

    def say(self, what: str) -> None:
        """Tell a person how far it is."""
        print(f"{self.side}, seed {self.seed}, {self.seconds:,.0f} s: {what}", file=sys.stderr, flush=True)


class Record:
    """The wall seconds of named parts of a training, and what its validations found."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.parts: dict[str, float] = defaultdict(float)
        self.points: list[dict[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what is done inside to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] += time.perf_counter() - began

    def validated(self, accuracy: float, *, epoch: float, seconds: float) -> None:
        """Note what a validation found that was over after so many seconds; all seconds of validation until then are taken."""
        self.points.append(
            {"epoch": epoch, "seconds": seconds, "validation_s": self.parts[VALIDATION], "accuracy": accuracy},
        )

    def run(self, ended: str, *, seconds: float, epochs: float) -> Run:
        """Return what is stored of the training; `epochs` may end with a fraction."""
        apart = sum(spent for name, spent in self.parts.items() if name not in (*TRAINING, *IN_WORKERS))
        return {
            "side": self.order.side,
            "seed": self.order.seed,
            "ended": ended,
            "seconds": seconds,
            "validation_s": self.parts[VALIDATION],
            "epochs": epochs,
            "epoch_s": (seconds - apart) / epochs if epochs else None,
            "parts": dict(self.parts),
            "points": self.points,
        }


def seconds_to(run: Run, level: float, *, validation: bool = True, more: float = 0.0) -> float:
    """Return the seconds until an accuracy was seen, infinite where it never was.

    Args:
        run: A training.
        level: Validation accuracy, 0 to 1.
        validation: Whether the seconds of validation count.
        more: Seconds that went before.
    """
    found = next((point for point in run["points"] if point["accuracy"] >= level - 1e-9), None)
    return float("inf") if found is None else more + found["seconds"] - (0.0 if validation else found["validation_s"])


class Pictures(Dataset[Pair]):
    """Picture files as most people read them: opened by Pillow, transformed one by one; and how long that took.

    Attributes:
        seconds: Of decoding and of the transforms, one row for each worker, float64, shape (workers + 1, 2), in shared memory.
    """

    def __init__(self, manifest: Manifest, split: str, transform: Callable[[Image.Image], Tensor], *, workers: int) -> None:
        records = [record for record in manifest if record.split == split]
        self._items = [(manifest.locate(record.path), LABELS.index(record.label)) for record in records]
        self._transform = transform
        self.seconds = torch.zeros(workers + 1, 2, dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Pair:
        path, label = self._items[number]
        began = time.perf_counter()
        with Image.open(path) as file:
            picture = file.convert("RGB")
        decoded = time.perf_counter()
        image = self._transform(picture)
        worker = get_worker_info()
        spent = [decoded - began, time.perf_counter() - decoded]
        self.seconds[-1 if worker is None else worker.id] += torch.tensor(spent, dtype=torch.float64)
        return image, label


def usual_pictures(order: Order, recipe: Recipe) -> tuple[Pictures, Pictures]:
    """Return the training and the validation pictures."""
    manifest, choice, augmentation = read_manifest(Path(order.manifest)), recipe.preprocessing, recipe.augmentation
    resize = transforms.Resize((choice.image_size, choice.image_size))
    change = [transforms.RandomHorizontalFlip(augmentation.flip), transforms.RandomRotation(augmentation.rotation_deg)]
    to_input = [transforms.ToTensor(), transforms.Normalize(choice.mean, choice.std)]
    return (
        Pictures(manifest, "train", transforms.Compose([resize, *change, *to_input]), workers=order.workers),
        Pictures(manifest, "validation", transforms.Compose([resize, *to_input]), workers=order.workers),
    )


def usual_network(init: str) -> nn.Module:
    """Return torchvision's MobileNetV2 with the starting weights and a new last layer."""
    start = build(NETWORK)
    initialise(start, init)
    network = mobilenet_v2()
    network.features.load_state_dict(start.features.state_dict())
    network.classifier[1] = nn.Linear(network.last_channel, len(LABELS))
    whole: nn.Module = network
    return whole


@torch.no_grad()
def validate(network: nn.Module, pictures: PictureBatches) -> tuple[float, float]:
    """Return loss and accuracy on the validation pictures, and leave the network in training mode."""
    network.eval()
    loss, right, seen = 0.0, 0, 0
    for images, labels in pictures:
        logits = network(images)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(dim=1) == labels).sum())
        seen += len(labels)
    network.train()
    return loss / seen, right / seen


def usual_steps(network: nn.Module, pictures: PictureBatches, choice: NetworkRecipe, record: Record) -> Iterator[int]:
    """Train without end, and yield after every step how many were done."""
    optimizer = torch.optim.Adam(network.parameters(), lr=choice.learning_rate)
    scheduler = StepLR(optimizer, step_size=choice.step_epochs, gamma=choice.step_factor)
    criterion = nn.CrossEntropyLoss()
    network.train()
    for epoch in itertools.count():
        for step, (images, labels) in enumerate(waited_for(pictures, record), start=1):
            optimizer.zero_grad()
            with record.part("forward"):
                loss = criterion(network(images), labels)
            with record.part("backward"):
                loss.backward()
            with record.part("optimizer"):
                optimizer.step()
            yield epoch * len(pictures) + step
        scheduler.step()


def waited_for(pictures: PictureBatches, record: Record) -> Iterator[Any]:
    """Yield the batches of an epoch and time the waiting."""
    with record.part(WAITING):
        batches = iter(pictures)
    while True:
        with record.part(WAITING):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def train_usually(order: Order) -> Run:
    """Train as the student report does: to the last level, to early stopping, or to the end of the budget."""
    recipe, record = parse_recipe(order.recipe, where="the usual recipe"), Record(order)
    choice = recipe.network(NETWORK)
    torch.manual_seed(order.seed)
    train_set, validation_set = usual_pictures(order, recipe)
    train = DataLoader(train_set, batch_size=choice.batch_size, shuffle=True, num_workers=order.workers)
    validation = DataLoader(validation_set, batch_size=choice.batch_size, num_workers=order.workers)
    network = usual_network(order.init)
    record.parts["start"] = order.seconds
    losses: list[float] = []
    ended, step = "", 0
    for step in usual_steps(network, train, choice, record):
        whole_epoch = step % len(train) == 0
        if whole_epoch or step % order.validate_every == 0:
            with record.part(VALIDATION):
                loss, accuracy = validate(network, validation)
            record.validated(accuracy, epoch=step / len(train), seconds=order.seconds)
            order.say(f"epoch {step / len(train):.2f}, validation accuracy {accuracy:.4f}")
            losses += [loss] if whole_epoch else []
        ended = _why_ended(record, losses, choice)
        if ended:
            break
    seconds = order.seconds
    record.parts |= dict(zip(IN_WORKERS, train_set.seconds.sum(dim=0).tolist(), strict=True))
    return record.run(ended, seconds=seconds, epochs=step / len(train))


def _why_ended(record: Record, losses: list[float], choice: NetworkRecipe) -> str:
    best = max((point["accuracy"] for point in record.points), default=0.0)
    if best >= max(LEVELS) - 1e-9:
        return ALL
    if choice.patience_epochs and losses and len(losses) - 1 - losses.index(min(losses)) >= choice.patience_epochs:
        return PATIENCE
    return BUDGET if record.order.spent else ""


class BudgetSpentError(Exception):
    """The time for a training is over."""


class Listener(Reporter):
    """Takes the times of our own training where others see bars, and ends it with the budget.

    Attributes:
        began: Seconds at which each epoch began.
        trained: Seconds at which the last step of each epoch was done.
        epochs: How many were done, with a fraction.
    """

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        self.began: list[float] = []
        self.trained: list[float] = []
        self.epochs = 0.0

    @contextmanager
    def counting(self, what: str) -> Iterator[CountCallback]:
        with self.record.part("decoding, once" if what == "decode" else what):
            yield _not_shown

    @contextmanager
    def training(self, what: str) -> Iterator[Callable[[StepProgress], None]]:
        self.record.parts["start"] = self.record.order.seconds - sum(self.record.parts.values())
        self.record.order.say(what)
        yield self._step

    def _step(self, step: StepProgress) -> None:
        self.epochs = step.epoch - 1 + step.step / step.steps
        if step.step == step.steps:
            self.trained.append(self.record.order.seconds)
            self.record.order.say(f"epoch {step.epoch} of {step.epochs}, training accuracy {step.accuracy:.4f}")
        elif self.record.order.spent:
            raise BudgetSpentError


def _not_shown(_done: int, _total: int) -> None:
    pass


def train_ours(order: Order) -> Run:
    """Train as `tumorscope train` does, cache and model on disk, in a folder that is thrown away."""
    from tumorscope.apps.experiment import prepare_from_manifest
    from tumorscope.apps.stages import Stages

    recipe = parse_recipe(order.recipe, where="the recipe").changed(seed=order.seed)
    record = Record(order)
    listener, ended = Listener(record), DONE
    with TemporaryDirectory() as place:
        folder = prepare_from_manifest(Path(order.manifest), Path(place) / "run", recipe, listener)
        try:
            with timers_on(listener):
                Stages(folder, listener, "cpu").train(NETWORK, order.init)
        except BudgetSpentError:
            ended = BUDGET
        seconds = order.seconds
        rows = read_history(folder.model(NETWORK) / HISTORY_FILE)
    for row, began, trained in zip(rows, listener.began, listener.trained, strict=False):
        record.parts[VALIDATION] += began + row.duration_s - trained
        record.validated(row.validation_accuracy, epoch=row.epoch, seconds=began + row.duration_s)
    record.parts["optimizer"] -= record.parts["forward"] + record.parts["backward"]
    return record.run(ended, seconds=seconds, epochs=listener.epochs)


@contextmanager
def timers_on(listener: Listener) -> Iterator[None]:
    """Time the hooks that our training is made of, for as long as it lasts; `optimizer_step` calls the two before it."""
    from tumorscope.training.module import TrainingModule

    parts = {
        "on_after_batch_transfer": AUGMENTATION,
        "training_step": "forward",
        "backward": "backward",
        "optimizer_step": "optimizer",
    }
    begin = TrainingModule.on_train_epoch_start

    def noted(module: TrainingModule) -> None:
        listener.began.append(listener.record.order.seconds)
        begin(module)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(TrainingModule, "on_train_epoch_start", noted))
        for name, part in parts.items():
            timed = _timed(getattr(TrainingModule, name), part, listener.record)
            stack.enter_context(mock.patch.object(TrainingModule, name, timed))
        yield


def _timed(call: Callable[..., Any], part: str, record: Record) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(module: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - any hook of Lightning
        if not module.trainer.training:
            return call(module, *given, **named)
        with record.part(part):
            return call(module, *given, **named)

    return timed


def run_here(order: Order) -> Run:
    """Train in this process."""
    return {USUAL: train_usually, OURS: train_ours}[order.side](order)
