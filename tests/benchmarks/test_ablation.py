"""Rows of the ablation on images too small for the figures to mean anything."""

import json
import sys
from pathlib import Path

import pytest

from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.phantom import write_phantom
from tumorscope.labels import LABELS


@pytest.fixture(scope="module")
def ablation(load_benchmark):
    return load_benchmark("ablation")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    place = tmp_path_factory.mktemp("ablation")
    own = write_phantom(place / "own", patients_per_label=4, slices_per_patient=1, image_size=64)
    other = write_phantom(place / "other", patients_per_label=3, slices_per_patient=1, image_size=64, seed=5)
    data = [str(own.root / "manifest.csv"), "--test", str(other.root / "manifest.csv")]
    return [*data, "--init", "none", "--out", str(place / "rows"), "--epochs", "1", "--image-size", "64"]


def run(ablation, command, *rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ablation.py", *command, "--only", *rows])
        ablation.main()


def place_of(command):
    return command[command.index("--out") + 1]


@pytest.fixture(scope="module")
def rows(ablation, command):
    run(ablation, command, "default", "plain")
    return RunFolder.at(Path(place_of(command)))


def test_every_row_changes_the_default_in_something_and_cuts_the_same_images_off(ablation):
    recipes = {name: ablation.recipe_of(name, epochs=2, image_size=96) for name in (*ablation.WITHOUT, "plain")}
    for name, recipe in recipes.items():
        assert (recipe.validation_share, recipe.calibration_share) == (0.04, 0.12)
        assert (recipe.mobilenet_v2.epochs, recipe.preprocessing.image_size) == (2, 96)
        assert name == "default" or recipe.model_copy(update={"name": "default"}) != recipes["default"]


def test_rows_share_their_images_and_only_train_and_answer(rows):
    folders = [RunFolder.at(rows.path / name) for name in ("split", "default", "plain")]
    assert len({folder.manifest().split_fingerprint for folder in folders}) == 1
    assert [folder.cache_path.exists() for folder in folders] == [True, False, False]
    assert sorted(entry.name for entry in folders[2].model("mobilenet_v2").glob("*metrics.json")) == ["external_other_metrics.json"]


def test_table_goes_on_where_it_was_stopped_and_holds_the_choosing_half_alone(ablation, command, rows, capsys, monkeypatch):
    monkeypatch.setattr("tumorscope.apps.stages.train", lambda *given, **named: pytest.fail("trained twice"))
    run(ablation, command, "plain", "default")
    head, _, *lines = capsys.readouterr().out.strip().splitlines()[-4:]
    assert [line.split(" | ")[0] for line in lines] == ["| plain", "| default"]
    assert [cell.strip() for cell in head.split("|")[4:8]] == [f"recall {label}" for label in LABELS]
    numbers = ablation.row_of(RunFolder.at(rows.path / "plain"), "other")
    answered = rows.path / "plain" / "mobilenet_v2" / "external_other_metrics.json"
    half = json.loads(answered.read_text(encoding="utf-8"))["halves"]["choosing"]
    assert numbers["AUROC"] == half["roc_auc"]


def test_each_line_of_the_table_holds_the_numbers_of_its_row(ablation):
    lines = ablation.table({"a": {"x": 0.5, "y": None}, "b": {"x": 0.25, "y": 1.0}}).splitlines()
    assert lines == ["| | x | y |", "|---|---|---|", "| a | 0.500 | - |", "| b | 0.250 | 1.000 |"]


def test_other_choices_for_a_row_are_refused(ablation, command, rows):
    with pytest.raises(SystemExit, match="hoose another --out"):
        run(ablation, [*command[:-1], "80"], "plain")
