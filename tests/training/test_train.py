import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from safetensors.torch import save_file

from tumorscope.apps.console import Reporter
from tumorscope.apps.training_data import training_images
from tumorscope.data.lesions import UNSTATED
from tumorscope.data.phantom import write_phantom
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.split import split_manifest
from tumorscope.data.training_images import TrainingImages
from tumorscope.errors import SplitError, TrainingError, UsageError
from tumorscope.models.bundle import load_bundle, save_bundle
from tumorscope.models.network import build
from tumorscope.training.module import TrainingModule, _schedule
from tumorscope.training.progress import read_history
from tumorscope.training.recipe import load_recipe
from tumorscope.training.recorder import Recorder
from tumorscope.training.train import train


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def images(banded_cache):
    return TrainingImages(banded_cache)


def small_recipe(**changes):
    recipe = load_recipe("phantom").changed(epochs=3, image_size=64)
    cnn = recipe.cnn.model_copy(update={"batch_size": 16, **changes})
    mobilenet = recipe.mobilenet_v2.model_copy(update={"batch_size": 16, **changes})
    return recipe.model_copy(update={"cnn": cnn, "mobilenet_v2": mobilenet})


def same_weights(a, b):
    return all(torch.equal(value, b.network.state_dict()[key]) for key, value in a.network.state_dict().items())


def kill_at(epoch, step):
    def progress(state):
        if (state.epoch, state.step) == (epoch, step):
            raise KilledError

    return progress


@pytest.mark.parametrize("name", ["cnn", "mobilenet_v2"])
def test_killed_training_goes_on_to_the_same_weights_as_an_unbroken_one(images, tmp_path, name):
    recipe = small_recipe()
    unbroken = train(images, recipe, name=name, init="none", folder=tmp_path / "a")
    with pytest.raises(KilledError):
        train(images, recipe, name=name, init="none", folder=tmp_path / "b", progress=kill_at(3, 1))
    steps = []
    resumed = train(
        images,
        recipe,
        name=name,
        init="none",
        folder=tmp_path / "b",
        progress=lambda s: steps.append(s.epoch),
    )
    assert set(steps) == {3}
    assert same_weights(unbroken, resumed)
    assert resumed.training["epochs"] == 3


def test_killed_training_with_all_that_default_does_goes_on_to_the_same_weights(tmp_path):
    recipe = load_recipe("default").changed(epochs=2, image_size=64)
    manifest = split_manifest(write_phantom(tmp_path / "set", patients_per_label=4, slices_per_patient=1, image_size=64))
    cache = build_pixel_cache(manifest, recipe.preprocessing, tmp_path)
    images = training_images(cache, recipe, tmp_path, Reporter())
    assert images.edited is not None
    with pytest.raises(KilledError):
        train(images, recipe, name="mobilenet_v2", init="none", folder=tmp_path / "b", progress=kill_at(2, 1))
    unbroken, resumed = (train(images, recipe, name="mobilenet_v2", init="none", folder=tmp_path / k) for k in "ab")
    assert same_weights(unbroken, resumed)


def test_layers_that_several_gpus_leave_behind_do_not_reach_the_bundle(images, tmp_path, monkeypatch):
    fit = TrainingModule.on_validation_start

    def reverted(module):
        fit(module)
        module.network.features = TorchSyncBatchNorm().revert(TorchSyncBatchNorm().apply(module.network.features))

    monkeypatch.setattr(TrainingModule, "on_validation_start", reverted)
    bundle = train(images, small_recipe(epochs=1), name="mobilenet_v2", init="none", folder=tmp_path)
    save_bundle(bundle, tmp_path)
    assert load_bundle(tmp_path).name == "mobilenet_v2"


def test_images_of_unstated_type_count_as_seen_but_not_as_right_or_wrong(images, tmp_path, monkeypatch):
    class Unstated(torch.nn.Module):
        def forward(self, batch):
            return batch._replace(labels=torch.full_like(batch.labels, UNSTATED))

    monkeypatch.setattr("tumorscope.training.module.Augmenter", lambda augmentation: Unstated())
    seen = []
    train(images, small_recipe(epochs=1), name="cnn", init="none", folder=tmp_path, progress=seen.append)
    (row,) = read_history(tmp_path / "history.csv")
    assert row.train_accuracy == 0
    assert row.train_loss > 0
    assert row.images_per_s > 0 < seen[-1].images_per_s


def test_same_seed_gives_the_same_weights_and_another_seed_does_not(images, tmp_path):
    first, again = (train(images, small_recipe(), name="cnn", init="none", folder=tmp_path / k) for k in "ab")
    other = train(images, small_recipe().changed(seed=1), name="cnn", init="none", folder=tmp_path / "c")
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_cnn_learns_what_can_be_learnt_and_keeps_its_best_epoch(images, tmp_path):
    recipe = small_recipe(epochs=12, learning_rate=3e-3)
    bundle = train(images, recipe, name="cnn", init="none", folder=tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracies = [float(row["validation_accuracy"]) for row in rows]
    assert max(accuracies) > 0.9
    assert accuracies[bundle.training["best_epoch"] - 1] == max(accuracies) == bundle.training["validation_accuracy"]
    assert len(rows) == 12
    assert list((tmp_path / "training" / "tensorboard").glob("events.*"))


def test_the_last_epoch_is_kept_where_the_recipe_says_so(images, tmp_path, monkeypatch):
    accuracies = iter((0.9, 0.5, 0.5, 0.5) * 2)
    monkeypatch.setattr("tumorscope.training.recorder.validation_result", lambda logits, labels: (1.0, next(accuracies), 1.0))
    best = train(images, small_recipe(epochs=4), name="cnn", init="none", folder=tmp_path / "best")
    assert best.training["best_epoch"] == 1
    bundle = train(images, small_recipe(epochs=4, keep="last"), name="cnn", init="none", folder=tmp_path)
    assert bundle.training["best_epoch"] == 4
    state = torch.load(tmp_path / "training" / "last.ckpt", weights_only=False)["state_dict"]
    assert all(torch.equal(value, state[f"network.{key}"]) for key, value in bundle.network.state_dict().items())


def test_training_stops_when_patience_ends(images, tmp_path):
    recipe = small_recipe(epochs=20, patience_epochs=1, learning_rate=0.5, optimizer="adam", schedule="step")
    bundle = train(images, recipe, name="cnn", init="none", folder=tmp_path)
    assert bundle.training["epochs"] < 20


def test_stored_state_of_another_recipe_is_refused_and_kept(images, tmp_path):
    with pytest.raises(KilledError):
        train(images, small_recipe(), name="cnn", init="none", folder=tmp_path, progress=kill_at(2, 1))
    before = (tmp_path / "training" / "last.ckpt").read_bytes()
    with pytest.raises(TrainingError, match="another recipe"):
        train(images, small_recipe(learning_rate=1e-4), name="cnn", init="none", folder=tmp_path)
    assert (tmp_path / "training" / "last.ckpt").read_bytes() == before


def test_a_state_of_before_whose_recipe_lacks_what_is_new_goes_on(tmp_path):
    recipe = small_recipe()
    older = "\n".join(line for line in recipe.to_toml().splitlines() if not line.startswith(("joined", "keep")))
    recorder = Recorder(recipe.cnn, tmp_path, None, identity={"recipe": recipe.to_toml()})
    recorder.load_state_dict({"rows": [], "identity": {"recipe": older}})
    with pytest.raises(TrainingError, match="another recipe"):
        recorder.load_state_dict({"rows": [], "identity": {"recipe": small_recipe(learning_rate=1e-4).to_toml()}})


def test_diverged_loss_ends_with_advice(images, tmp_path, monkeypatch):
    class Nothing(torch.nn.Module):
        def forward(self, batch):
            return batch._replace(images=batch.images * float("nan"))

    monkeypatch.setattr("tumorscope.training.module.Augmenter", lambda augmentation: Nothing())
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 1.*learning_rate"):
        train(images, small_recipe(), name="cnn", init="none", folder=tmp_path)


def test_bundle_remembers_what_it_was_trained_on(images, tmp_path):
    bundle = train(images, small_recipe(epochs=1), name="cnn", init="none", folder=tmp_path)
    seen = {record.split for record in images.cache.manifest if bundle.has_seen(record.sha256)}
    assert seen == {"train", "validation"}
    assert bundle.split_fingerprint == images.cache.manifest.split_fingerprint
    assert not bundle.network.training


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_gpu_is_a_clear_error(images, tmp_path):
    with pytest.raises(UsageError, match="CUDA"):
        train(images, small_recipe(), name="cnn", init="none", folder=tmp_path, device="cuda")


def test_step_schedule_falls_by_its_factor_every_so_many_epochs(images, tmp_path):
    recipe = small_recipe(epochs=5, schedule="step", step_epochs=2, step_factor=0.1, learning_rate=1e-3, optimizer="adam")
    train(images, recipe, name="cnn", init="none", folder=tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(rates, [1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_gradients_clipped_to_nearly_nothing_leave_the_weights_where_they_started(images, tmp_path):
    # Far below the epsilon of Adam, 1e-8, a gradient moves nothing; unclipped it moves every weight by the learning rate.
    recipe = small_recipe(epochs=1, schedule="step", learning_rate=1e-3, optimizer="adam", weight_decay=0.0, clip_norm=1e-13)
    torch.manual_seed(recipe.seed)
    start = build("cnn", dropout=recipe.cnn.dropout).state_dict()
    clipped = train(images, recipe, name="cnn", init="none", folder=tmp_path).network.state_dict()
    assert max((clipped[key] - start[key]).abs().max().item() for key in start) < 1e-6


def test_published_test_images_may_have_group_mates_in_training_but_validation_may_not(images, tmp_path):
    def grouped(*splits):
        mates = {next(k for k, record in enumerate(images.cache.manifest) if record.split == split) for split in splits}
        records = (replace(record, group="p" if row in mates else "") for row, record in enumerate(images.cache.manifest))
        return images.cache.with_manifest(images.cache.manifest.with_records(records))

    recipe = small_recipe(epochs=1)
    assert (
        train(TrainingImages(grouped("train", "test")), recipe, name="cnn", init="none", folder=tmp_path / "a").training["epochs"]
        == 1
    )
    with pytest.raises(SplitError, match="both sides"):
        train(TrainingImages(grouped("train", "validation")), recipe, name="cnn", init="none", folder=tmp_path / "b")


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_rate_rises_and_falls_however_few_steps_there_are(steps):
    choice = load_recipe("default").network("mobilenet_v2")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = _schedule(choice, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < max(2, steps):
            schedule.step()
    assert max(rates) <= choice.learning_rate * (1 + 1e-9)
    assert min(rates) > 0


@pytest.mark.parametrize("trained", [True, False])
def test_frozen_blocks_keep_trained_weights_and_no_random_ones(images, tmp_path, trained):
    torch.manual_seed(5)
    start = {f"features.{key}": value.clone() for key, value in build("mobilenet_v2").features.state_dict().items()}
    save_file(start, tmp_path / "start.safetensors")
    init = str(tmp_path / "start.safetensors") if trained else "none"
    bundle = train(images, small_recipe(epochs=1, frozen_blocks=3), name="mobilenet_v2", init=init, folder=tmp_path / "run")
    learnt, trainable = bundle.network.state_dict(), dict(bundle.network.named_parameters())
    kept = {int(key.split(".")[1]) for key in start if key in trainable and torch.equal(learnt[key], start[key])}
    assert kept == ({0, 1, 2} if trained else set())
