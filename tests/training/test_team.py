"""Several processes: on the CPU, where everything but the exchange of gradients on GPUs is the same."""

import csv
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import BatchedRows
from tumorscope.data.phantom import write_phantom
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.split import split_manifest
from tumorscope.data.training_images import TrainingImages
from tumorscope.errors import TrainingError, UsageError
from tumorscope.models.bundle import Bundle
from tumorscope.models.network import build
from tumorscope.training import launch, module, recorder
from tumorscope.training import team as team_module
from tumorscope.training.launch import LOG_FILES, with_followers
from tumorscope.training.module import TrainingModule
from tumorscope.training.recipe import load_recipe
from tumorscope.training.team import ALONE, Team
from tumorscope.training.train import help_train, train

SIZE = Preprocessing(image_size=64)


class KilledError(Exception):
    """Stands for the end of the process."""


class Nothing(torch.nn.Module):
    """Augments to no numbers at all."""

    def forward(self, batch):
        return batch._replace(images=batch.images * float("nan"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The built-in set, tiny: 36 images for training and 11 for validation; with 9 edited scans an epoch has 45."""
    root = tmp_path_factory.mktemp("phantom")
    manifest = split_manifest(write_phantom(root / "set", patients_per_label=5, slices_per_patient=3, image_size=64))
    left_out = next(record for record in manifest if record.split == "validation")
    manifest = manifest.with_records(replace(record, split="test") if record == left_out else record for record in manifest)
    cache = build_pixel_cache(manifest, SIZE, root)
    return TrainingImages(cache, edited=build_pixel_cache(manifest.in_split("train"), SIZE, root))


def recipe_with(**changes):
    """A recipe without anything random but the order of images, since two processes draw other random numbers than one."""
    base = load_recipe("phantom").changed(epochs=2, image_size=64)
    changes = {"batch_size": 17, "dropout": 0.0, "balanced": True, **changes}
    choices = {"augmentation": Augmentation(), "precision": "float32", "counterfactual_share": 0.2}
    return base.model_copy(update={**choices, "cnn": base.cnn.model_copy(update=changes)})


def train_together(images, recipe, folder, *, follow=None, progress=None):
    helping = partial(follow or help_it, images, recipe, folder)
    with with_followers(helping, size=2, cuda=False, logs=folder / "training") as team:
        return train(images, recipe, name="cnn", init="none", folder=folder, device="cpu", progress=progress, team=team)


def help_it(images, recipe, folder, team):
    help_train(images, recipe, name="cnn", folder=folder, device="cpu", team=team)


def help_it_and_take_notes(images, recipe, folder, team):
    BatchedRows.__getitem__ = noting(folder / "rows-1.txt")
    help_it(images, recipe, folder, team)


def help_it_to_diverge(images, recipe, folder, team):
    module.Augmenter = lambda augmentation: Nothing()
    help_it(images, recipe, folder, team)


def end_in_the_middle(images, recipe, folder, team):
    TrainingModule.on_validation_start = lambda self: os._exit(3)
    help_it(images, recipe, folder, team)


def hang_in_the_middle(images, recipe, folder, team):
    TrainingModule.on_validation_start = lambda self: time.sleep(600)
    help_it(images, recipe, folder, team)


def answer_the_first(team):
    team.gathered((team.agreed(None), team.ordered(None), statistics_at_validation(team)))


def statistics_at_validation(team):
    """Return a mean and the count of a layer that has seen other images in every process."""
    training = TrainingModule(build("mobilenet_v2"), recipe_with(), team=team)
    layer = next(layer for layer in training.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    layer.running_mean.fill_(team.rank)
    layer.num_batches_tracked.fill_(7)
    training.on_validation_start()
    return layer.running_mean[0].item(), layer.num_batches_tracked.item()


def noting(path):
    """Give images as ever, and write down which."""
    given = BatchedRows.__getitem__

    def noted(self, rows):
        with path.open("a") as file:
            file.write("".join(f"{row}\n" for row in rows))
        return given(self, rows)

    return noted


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@dataclass
class Trained:
    bundle: Bundle
    folder: Path
    rows: Counter


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """Return the same training by one process and by two, and which images each of them was given."""
    found = {}
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(BatchedRows, "__getitem__", noting(folder / "rows-0.txt"))
            if name == "one":
                bundle = train(images, recipe_with(), name="cnn", init="none", folder=folder)
            else:
                bundle = train_together(images, recipe_with(), folder, follow=help_it_and_take_notes)
        found[name] = Trained(bundle, folder, Counter("".join(path.read_text() for path in folder.glob("rows-*")).split()))
    return found


def test_two_processes_learn_what_one_does(trained):
    """Batches of 17, 17 and 11 images, so that the processes' parts are of different sizes too."""
    one, two = trained["one"], trained["two"]
    for key, value in one.bundle.network.state_dict().items():
        torch.testing.assert_close(two.bundle.network.state_dict()[key], value, rtol=1e-3, atol=1e-5)
    assert two.bundle.training["processes"] == 2
    assert "processes" not in one.bundle.training


def test_two_processes_count_what_one_does(trained):
    rows, expected = history(trained["two"].folder), history(trained["one"].folder)
    assert len(rows) == len(expected) == 2
    for row, wanted in zip(rows, expected, strict=True):
        same = set(row) - {"images_per_s", "duration_s"}
        assert {key: row[key] for key in same} == pytest.approx({key: wanted[key] for key in same}, rel=1e-4)


def test_two_processes_take_every_image_as_often_as_one_does(trained, images):
    assert trained["two"].rows == trained["one"].rows
    assert [trained["two"].rows[str(row)] for row in images.cache.rows("validation")] == [2] * 11
    own = [len((trained["two"].folder / f"rows-{rank}.txt").read_text().split()) for rank in (0, 1)]
    assert own == [2 * (9 + 9 + 6 + 6), 2 * (8 + 8 + 5 + 5)]


def test_first_of_two_processes_alone_writes(trained):
    training = trained["two"].folder / "training"
    assert (training / LOG_FILES.replace("*", "1")).read_text() == ""
    assert len(list((training / "tensorboard").glob("events.*"))) == 1


def test_two_processes_that_were_killed_go_on_to_the_same_weights(trained, images, tmp_path):
    def kill(state):
        if (state.epoch, state.step) == (2, 1):
            raise KilledError

    with pytest.raises(KilledError):
        train_together(images, recipe_with(), tmp_path, progress=kill)
    assert len(history(tmp_path)) == 1
    resumed = train_together(images, recipe_with(), tmp_path).network.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in trained["two"].bundle.network.state_dict().items())


def test_all_processes_stop_early_when_the_first_says_so(images, tmp_path, monkeypatch):
    losses = iter(range(1, 9))
    monkeypatch.setattr(recorder, "validation_result", lambda logits, labels: (float(next(losses)), 0.5, 0.5))
    train_together(images, recipe_with(epochs=8, patience_epochs=1), tmp_path)
    assert [row["validation_loss"] for row in history(tmp_path)] == [1, 2]


def test_loss_that_diverges_in_another_process_ends_with_advice(images, tmp_path):
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 1.*learning_rate"):
        train_together(images, recipe_with(), tmp_path, follow=help_it_to_diverge)


def test_process_that_ends_is_named_with_its_log(images, tmp_path):
    with pytest.raises(TrainingError, match=r"process 1 .*status 3.*process-1\.log.*same command"):
        train_together(images, recipe_with(), tmp_path, follow=end_in_the_middle)
    assert not torch.distributed.is_initialized()


def test_process_that_hangs_does_not_hang_the_others(images, tmp_path, monkeypatch):
    monkeypatch.setattr(team_module, "ANSWER_WITHIN", timedelta(seconds=15))
    with pytest.raises(TrainingError, match=r"ended or hangs.*same command"):
        train_together(images, recipe_with(), tmp_path, follow=hang_in_the_middle)


def test_more_processes_than_a_batch_can_feed_are_refused(images, tmp_path):
    with pytest.raises(UsageError, match=r"batch_size 3.*at most 1"):
        train(
            images, recipe_with(batch_size=3), name="cnn", init="none", folder=tmp_path, device="cpu", team=Team(size=2, per_node=2)
        )


def test_each_process_draws_its_own_random_numbers_in_every_epoch():
    recipe = recipe_with()
    draws = []
    for rank in range(3):
        training = TrainingModule(build("cnn"), recipe, team=Team(rank=rank, size=3, per_node=3))
        training.on_train_epoch_start()
        draws.append(torch.rand(4).tolist())
    alone = TrainingModule(build("cnn"), recipe)
    alone.on_train_epoch_start()
    assert torch.rand(4).tolist() == draws[0]
    assert len({tuple(draw) for draw in draws}) == 3


def test_processes_agree_on_what_the_first_says_and_on_statistics_of_layers(tmp_path):
    with with_followers(answer_the_first, size=2, cuda=False, logs=tmp_path) as team:
        answers = team.gathered((team.agreed("this"), team.ordered("that"), statistics_at_validation(team)))
    assert answers == [("this", "that", (0.5, 7))] * 2


def test_one_process_agrees_with_itself():
    tensor = torch.ones(2)
    ALONE.average([tensor])
    assert ALONE.agreed("this") == ALONE.ordered("this") == "this"
    assert ALONE.gathered(1) == [1]
    np.testing.assert_array_equal(tensor, 1)


def test_processes_of_one_machine_meet_where_no_other_machine_can_reach():
    """Whoever listens on every interface answers at any address of the machine."""
    store = launch._store(2)
    socket.create_connection(("127.0.0.1", store.port)).close()
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", store.port), timeout=5)
