"""External test sets of a run, from the command line to its files."""

import csv
import json
import shutil

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import Choices, prepare
from tumorscope.apps.external_sets import external_sets
from tumorscope.data.phantom import write_phantom
from tumorscope.errors import EvaluationError, SplitError, UsageError
from tumorscope.manifest import read_manifest
from tumorscope.training.recipe import load_recipe

SMALL = ("--image-size", "64", "--epochs", "1", "--init", "none", "--models", "cnn")


@pytest.fixture
def other(tmp_path):
    """Six scans of another source: two tumours of unstated type, a glioma, three without a tumour."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "other"
    folder.mkdir()
    rows = [("tumour", "x"), ("yes", "x"), ("glioma", "y"), ("no", "y"), ("no", "y"), ("no", "x")]
    for number in range(len(rows)):
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / f"{number}.png")
    with (folder / "other.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "source"))
        writer.writerows((f"{number}.png", *row) for number, row in enumerate(rows))
    return folder / "other.csv"


def test_a_run_answers_an_external_set_beside_its_own_test_split(banded_folder, other, tmp_path):
    out = tmp_path / "run"
    result = invoke("run", "--data", banded_folder, "--out", out, "--test", other, *SMALL)
    assert "on the external set other" in result.stdout
    metrics = json.loads((out / "cnn" / "external_other_metrics.json").read_text())
    assert metrics["labels"] == {"glioma": 1, "notumor": 3, "tumour": 2}
    assert set(metrics["sources"]) == {"x", "y"}
    with (out / "cnn" / "external_other_predictions.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["tumour", "tumour", "glioma", "notumor", "notumor", "notumor"]
    own = (out / "cnn" / "predictions.csv").read_text().splitlines()
    assert len(own) == 1 + 16
    assert own[0] == (out / "cnn" / "external_other_predictions.csv").read_text().splitlines()[0]
    assert (out / "lookup_baseline" / "external_other_metrics.json").is_file()
    assert "Another source: other" in (out / "report.html").read_text()


def test_without_a_test_split_all_data_train_and_the_external_set_tests(banded_folder, other, tmp_path, no_pages):
    out = tmp_path / "run"
    invoke("run", "--data", banded_folder / "Training", "--out", out, "--test", other, *SMALL)
    split = read_manifest(out / "manifest.csv")
    assert sum(record.split != "test" for record in split) == 40
    assert sorted(record.label for record in split if record.split == "test") == ["glioma", "notumor", "notumor", "notumor"]


def test_a_finished_run_can_be_tested_on_another_set_later(banded_folder, other, tmp_path, no_pages):
    out = tmp_path / "run"
    invoke("run", "--data", banded_folder, "--out", out, *SMALL)
    invoke("evaluate", out, "--test", other)
    first = (out / "cnn" / "external_other_metrics.json").stat().st_mtime_ns
    invoke("evaluate", out, "--test", other)
    assert (out / "cnn" / "external_other_metrics.json").stat().st_mtime_ns == first


def test_folds_answer_an_external_set_together(banded_folder, other, tmp_path, no_pages):
    out = tmp_path / "run"
    invoke("run", "--data", banded_folder, "--out", out, "--folds", "2", "--test", other, *SMALL)
    metrics = json.loads((out / "cnn" / "external_other_metrics.json").read_text())
    assert len(metrics["answered_by"]) == 2
    assert metrics["n"] == 6


def test_images_that_are_in_training_are_left_out_and_counted(banded_folder, other, tmp_path, no_pages):
    shutil.copy(banded_folder / "Training" / "glioma" / "0.png", other.parent / "3.png")
    out = tmp_path / "run"
    result = invoke("run", "--data", banded_folder, "--out", out, "--test", other, *SMALL)
    assert "1 of 6 images of other are in training and were left out" in result.stderr
    metrics = json.loads((out / "cnn" / "external_other_metrics.json").read_text())
    assert (metrics["n"], metrics["in_training"]) == (5, 1)


def test_a_confounded_built_in_set_is_tested_on_one_with_scanners_swapped(tmp_path, monkeypatch):
    def small(folder, **arguments):
        return write_phantom(folder, **(arguments | {"patients_per_label": 4, "slices_per_patient": 2, "image_size": 64}))

    monkeypatch.setattr("tumorscope.apps.experiment.write_phantom", small)
    out = tmp_path / "run"
    invoke("run", "--confounded", "--out", out, "--image-size", "64", "--epochs", "1", "--models", "cnn")
    metrics = json.loads((out / "cnn" / "external_phantom-swapped_metrics.json").read_text())
    assert set(metrics["sources"]) == {"phantom", "phantom-other-scanner"}
    assert metrics["heatmaps"]["n"] == sum(count for label, count in metrics["labels"].items() if label != "notumor")
    assert set(metrics["heatmaps"]["sources"]) == {"phantom", "phantom-other-scanner"}
    page = (out / "report.html").read_text()
    assert "Every no tumour image comes from phantom-other-scanner" in page
    assert "scans with an outline the map of CNN" in page


def test_confounded_is_about_the_built_in_set_only(banded_folder, tmp_path):
    with pytest.raises(UsageError, match="--confounded"):
        invoke("run", "--data", banded_folder, "--confounded", "--out", tmp_path / "run")


def test_nothing_external_is_refused_every_time(banded_folder, tmp_path):
    for _ in range(2):
        with pytest.raises(EvaluationError, match="Nothing is external"):
            invoke("run", "--data", banded_folder, "--out", tmp_path / "run", "--test", banded_folder / "Training", *SMALL)


def choices(data, other, out, **more):
    recipe = load_recipe("phantom").changed(epochs=1, image_size=64)
    return Choices(data, out, ("cnn",), recipe=recipe, init="none", tests=(other,), **more)


def test_a_set_that_a_kill_left_unprepared_is_prepared_by_the_same_command(banded_folder, other, tmp_path):
    def killed(*given, **named):
        raise KeyError("killed")

    asked = choices(banded_folder, other, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tumorscope.apps.experiment.prepare_external_of", killed)
        with pytest.raises(KeyError, match="killed"):
            prepare(asked, Reporter())
    assert [found.name for found in external_sets(prepare(asked, Reporter()))] == ["other"]


def test_an_external_set_does_not_train_where_all_is_split_anew(banded_folder, other, tmp_path):
    with (banded_folder / "own.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "group"))
        for picture in sorted((banded_folder / "Training").rglob("*.png")):
            writer.writerow((picture.relative_to(banded_folder), picture.parent.name, picture.stem))
    folder = prepare(choices(banded_folder / "own.csv", other, tmp_path / "run", protocol="regroup"), Reporter())
    assert not any("other" in record.path for record in folder.manifest())
    (found,) = external_sets(folder)
    assert (found.images, found.in_training) == (6, 0)


def test_tumours_of_unstated_type_cannot_train(other, tmp_path):
    with pytest.raises(SplitError, match=r"2 image\(s\) are labelled `tumour`.*--test"):
        invoke("run", "--data", other, "--out", tmp_path / "run", *SMALL)
