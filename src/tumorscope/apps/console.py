"""What a person sees while a command works: stages, bars, sentences."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tumorscope.training.progress import StepProgress

CountCallback = Callable[[int, int], None]


class Reporter:
    """Prints to one rich console; bars where it is a terminal, single lines where it is a log file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)

    def say(self, sentence: str) -> None:
        """Print one sentence."""
        self.console.print(sentence, markup=False, soft_wrap=True)

    @contextmanager
    def counting(self, what: str) -> Iterator[CountCallback]:
        """Show a bar for a stage that counts; yields what to call with (done, all)."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        started = time.monotonic()
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(what, total=None, rate="")

            def update(done: int, total: int) -> None:
                rate = done / max(time.monotonic() - started, 1e-9)
                bar.update(task, completed=done, total=total, rate=f"{rate:,.0f}/s")

            yield update
        self.say(f"{what}: {time.monotonic() - started:.1f} s")

    @contextmanager
    def training(self, what: str) -> Iterator[Callable[[StepProgress], None]]:
        """Show a bar over all epochs with loss, accuracy and rate; yields what to call after every step."""
        columns = (
            TextColumn("{task.description}"),
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("left"),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal, expand=True) as bar:
            task = bar.add_task(what, total=None, state="")

            def update(step: StepProgress) -> None:
                done = (step.epoch - 1) * step.steps + step.step
                bar.update(task, completed=done, total=step.epochs * step.steps, state=_state(step))
                if step.step == step.steps and not self.console.is_terminal:
                    self.say(f"{what}: {_state(step)}")

            yield update


def _state(step: StepProgress) -> str:
    return f"epoch {step.epoch}/{step.epochs} loss {step.loss:.3f} accuracy {step.accuracy:.3f} {step.images_per_s:.0f} images/s"
