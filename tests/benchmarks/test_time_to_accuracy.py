"""Both trainings run and are timed, on images too small for the figures to mean anything; what is printed is worked by hand."""

import json
import re
from argparse import Namespace
from dataclasses import asdict, replace

import pytest

from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.phantom import write_phantom
from tumorscope.data.split import split_manifest
from tumorscope.errors import EvaluationError, OutputError, SourceError
from tumorscope.manifest import write_manifest
from tumorscope.training.module import TrainingModule
from tumorscope.training.recipe import load_recipe


@pytest.fixture(scope="module")
def trainings(load_benchmark):
    return load_benchmark("two_trainings")


@pytest.fixture(scope="module")
def clock(load_benchmark, trainings):
    return load_benchmark("time_to_accuracy")  # it imports the other script, which the fixture before loaded


@pytest.fixture(scope="module")
def recipe():
    shipped = load_recipe("phantom").changed(epochs=2, image_size=64)
    choice = shipped.mobilenet_v2.model_copy(update={"batch_size": 8, "sizes": ()})
    return shipped.model_copy(update={"mobilenet_v2": choice})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("pictures") / "set", patients_per_label=6, slices_per_patient=1, image_size=64)


@pytest.fixture(scope="module")
def order(trainings, pictures, recipe, tmp_path_factory):
    split = tmp_path_factory.mktemp("split") / "split.csv"
    write_manifest(split_manifest(pictures, validation_share=0.2), split)
    return trainings.Order(
        side="usual",
        seed=0,
        manifest=str(split),
        init="none",
        recipe=recipe.to_toml(),
        budget_s=1e12,
        validate_every=1,
        workers=0,
        started=0.0,
    )


def of(side, seed, points, *, ended="budget spent", seconds=1800.0, validation_s=0.0, parts=None):
    """A training as it is stored; points are (seconds, seconds of validation, accuracy)."""
    names = ("seconds", "validation_s", "accuracy")
    return {
        "side": side,
        "seed": seed,
        "ended": ended,
        "seconds": seconds,
        "validation_s": validation_s,
        "epochs": 4.0,
        "epoch_s": 300.0,
        "parts": parts or {},
        "points": [dict(zip(names, point, strict=True)) for point in points],
    }


def content_of(runs, prepare_s=20.0):
    return {"setup": {"levels": [0.9, 0.95, 0.97], "budget in minutes": 30.0}, "prepare_s": prepare_s, "runs": runs}


def test_usual_training_is_validated_within_epochs_and_ends_at_the_last_level(trainings, order, monkeypatch):
    monkeypatch.setattr(trainings, "LEVELS", (0.0, 2.0))
    steps = -(-sum(record.split == "train" for record in trainings.read_manifest(trainings.Path(order.manifest))) // 8)
    answers = iter([0.5] * (steps + 1) + [2.0])
    monkeypatch.setattr(trainings, "validate", lambda network, pictures: (1.0, next(answers)))
    run = trainings.run_here(order)
    assert steps > 1
    assert [point["epoch"] for point in run["points"]] == [(step + 1) / steps for step in range(steps + 2)]
    assert run["ended"] == trainings.ALL
    assert run["epochs"] == (steps + 2) / steps
    assert set(run["parts"]) >= {"start", "waiting for pictures", "forward", "backward", "optimizer", "validation"}
    assert 0 < sum(run["parts"][name] for name in trainings.IN_WORKERS) < run["parts"]["waiting for pictures"]


def test_usual_training_learns_from_files_and_stops_when_loss_no_longer_falls(trainings, order, recipe, monkeypatch):
    patient = recipe.model_copy(update={"mobilenet_v2": recipe.mobilenet_v2.model_copy(update={"patience_epochs": 2})})
    real, losses, accuracies = trainings.validate, iter([2.0, 1.0, 1.5, 1.2]), []

    def validate(network, pictures):
        accuracies.append(real(network, pictures)[1])
        return next(losses), 0.5

    monkeypatch.setattr(trainings, "validate", validate)
    run = trainings.run_here(replace(order, recipe=patient.to_toml(), validate_every=1000))
    assert (run["ended"], run["epochs"]) == (trainings.PATIENCE, 4.0)
    assert len(accuracies) == 4
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)


def test_both_trainings_end_with_their_budget(trainings, order):
    usual = trainings.run_here(replace(order, budget_s=0.0, validate_every=1000))
    ours = trainings.run_here(replace(order, side="ours", budget_s=0.0))
    assert (usual["ended"], ours["ended"]) == (trainings.BUDGET, trainings.BUDGET)
    assert (usual["points"], ours["points"]) == ([], [])
    assert 0 < usual["epochs"] == ours["epochs"] < 1


def test_our_training_is_the_projects_own_and_its_clock_holds_everything(trainings, order):
    hooks = dict(vars(TrainingModule))
    started = trainings.time.time()
    run = trainings.run_here(replace(order, side="ours", started=started))
    passed = trainings.time.time() - started
    assert (run["ended"], run["epochs"]) == (trainings.DONE, 2.0)
    first, second = run["points"]
    assert 0 < first["seconds"] < second["seconds"] < run["seconds"] <= passed
    assert 0 < first["validation_s"] < second["validation_s"] == run["validation_s"]
    needed = ("start", "decoding, once", "augmentation", "forward", "backward", "optimizer", "validation")
    assert all(run["parts"][name] > 0 for name in needed)
    assert sum(run["parts"].values()) < run["seconds"]
    assert dict(vars(TrainingModule)) == hooks


def test_one_training_can_be_asked_for_by_its_order(clock, trainings, order, monkeypatch, capsys):
    monkeypatch.setattr(clock, "run_here", lambda order: {"side": order.side, "seed": order.seed})
    monkeypatch.setattr("sys.argv", ["time_to_accuracy.py", "--one", json.dumps(asdict(replace(order, seed=5)))])
    clock.main()
    assert json.loads(capsys.readouterr().out) == {"side": "usual", "seed": 5}


def test_split_keeps_groups_whole_and_is_found_in_pictures_only(clock, pictures, recipe, tmp_path):
    folder, seconds = clock.prepare_split(pictures.root / "manifest.csv", recipe, "none", tmp_path)
    sides = {}
    for record in folder.manifest():
        sides.setdefault(record.group, set()).add(record.split)
    assert seconds > 0
    assert {len(side) for side in sides.values()} == {1}
    renamed = folder.manifest().with_records(replace(r, path=f"{r.path}.mat") for r in folder.manifest())
    with pytest.raises(SourceError, match="no picture file"):
        clock.refuse_other_than_pictures(renamed)


def test_finished_trainings_are_not_run_again_and_other_choices_are_refused(clock, recipe, tmp_path, monkeypatch):
    asked = []

    def run_apart(order):
        asked.append((order.side, order.seed, order.budget_s))
        if len(asked) == 3:
            raise EvaluationError("it failed")
        return of(order.side, order.seed, [])

    monkeypatch.setattr(clock, "run_apart", run_apart)
    out = tmp_path / "out.json"
    chosen = Namespace(seeds=2, budget_minutes=1.0, validate_every=3, init="none", out=out)
    folder, setup = RunFolder.at(tmp_path), {"budget in minutes": 1.0}
    with pytest.raises(EvaluationError):
        clock.run_missing(chosen, folder, recipe, clock.stored(out, setup, 9.0))
    again = clock.stored(out, setup, 11.0)
    assert again["prepare_s"] == 9.0
    clock.run_missing(chosen, folder, recipe, again)
    assert asked == [("usual", 0, 60.0), ("ours", 0, 60.0), ("usual", 1, 60.0), ("usual", 1, 60.0), ("ours", 1, 60.0)]
    assert len(clock.stored(out, setup, 0.0)["runs"]) == 4
    with pytest.raises(OutputError, match="another budget in minutes"):
        clock.stored(out, {"budget in minutes": 2.0}, 0.0)


def test_table_tells_medians_ranges_and_what_was_never_reached(clock):
    usual = [
        of("usual", 0, [(600.0, 100.0, 0.91), (1500.0, 300.0, 0.95)], validation_s=300.0),
        of("usual", 1, [(800.0, 200.0, 0.90)], validation_s=300.0),
        of("usual", 2, [(700.0, 100.0, 0.93)], validation_s=300.0),
    ]
    ours = [of("ours", seed, [(100.0, 10.0, 0.94), (200.0, 20.0, 0.96), (300.0, 30.0, 0.98)]) for seed in range(3)]
    lines = clock.table(content_of(usual + ours))
    cells = {name: rest for name, *rest in (re.split(" {2,}", line.strip()) for line in lines)}
    assert cells["usual recipe"] == ["700 (600 to 800)", "not within 30 min (first 1,500)", "not within 30 min"]
    assert cells["usual recipe, validation left out"][0] == "600 (500 to 600)"
    assert cells["ours, with indexing, audit and split"] == ["120", "220", "320"]
    assert cells["ours, from the split on"] == ["100", "200", "300"]
    assert cells["ours, from the split on, validation left out"] == ["90", "180", "270"]
    assert cells["times faster, from the split on"] == [
        "7.0 (6.0 to 8.0)",
        "more than 9.0 (7.5 to 9.0)",
        "more than 6.0 (6.0 to 6.0)",
    ]
    least = cells["validation left out of the usual one, all in ours"]
    assert least == ["5.0 (4.2 to 5.0)", "more than 6.8 (5.5 to 6.8)", "more than 4.7 (4.7 to 4.7)"]


def test_nothing_is_claimed_where_ours_does_not_get_there(clock):
    assert clock.how_many_times([(10.0, float("inf"), 30.0)]) == "unknown"
    never = [of(side, 0, [(5.0, 0.0, 0.5)], ended="stopped early") for side in ("usual", "ours")]
    assert clock.table(content_of(never))[1].split() == ["usual", "recipe", "never", "never", "never"]


def test_each_training_says_how_far_it_came_and_what_an_epoch_takes(clock):
    line = clock.each_run(content_of([of("usual", 1, [(400.0, 0.0, 0.7), (900.0, 0.0, 0.84), (1300.0, 0.0, 0.8)])]))[0]
    assert line == (
        "usual, seed 1: budget spent after 1,800 s and 4.00 epochs; best 0.840 after 900 s, 300 s an epoch without validation"
    )
    assert "not validated once" in clock.each_run(content_of([of("usual", 1, [])]))[0]


def test_profile_shares_out_the_whole_time_and_counts_workers_beside_it(clock):
    parts = {"forward": 30.0, "backward": 50.0, "decoding, in the workers": 90.0}
    lines = clock.profile([of("usual", 0, [], seconds=100.0, parts=parts), of("ours", 0, [])], "usual")
    assert [line.split()[-2:] for line in lines[1:]] == [["50.0", "%"], ["30.0", "%"], ["20.0", "%"], ["90.0", "%"]]
    assert lines[-1].startswith("  beside it: decoding")
