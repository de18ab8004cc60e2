import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke, without_pages
from PIL import Image

from tumorscope.data.phantom import write_phantom
from tumorscope.labels import LABELS
from tumorscope.manifest import read_manifest
from tumorscope.predictions import read_predictions
from tumorscope.training.recipe import load_recipe

MODEL_FILES = ("model.safetensors", "bundle.json", "history.csv", "predictions.csv", "metrics.json", "explanation.json", "maps.npz")
SMALL = ("--image-size", "64", "--epochs", "2", "--init", "none")
SHARED = ("--recipe", "phantom", *SMALL)


@dataclass(frozen=True)
class Finished:
    """A run of both networks with the options `SHARED`, which tests may read and ask again, and what it said on standard error."""

    data: Path
    folder: Path
    said: str

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("run", "--data", self.data, "--out", self.folder, *SHARED)


@pytest.fixture(scope="module")
def finished(banded_pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    result = invoke("run", "--data", banded_pictures, "--out", out, *SHARED)
    assert result.exit_code == 0
    assert "recall glioma" in result.stdout
    return Finished(banded_pictures, out, result.stderr)


def test_run_leaves_everything_that_was_promised(finished):
    out = finished.folder
    for name in ("manifest.csv", "recipe.toml", "run.json", "comparison.csv", "report.html", "explanation.html"):
        assert (out / name).is_file(), name
    for model in ("mobilenet_v2", "cnn"):
        for name in MODEL_FILES:
            assert (out / model / name).is_file(), name
        assert list((out / model / "figures").glob("*.png"))
        metrics = json.loads((out / model / "metrics.json").read_text())
        assert metrics["data_fingerprint"] == read_manifest(out / "manifest.csv").data_fingerprint
        assert set(metrics["per_class"]) == set(LABELS)
        assert metrics["intervals"]["accuracy"]
        assert metrics["lookup_baseline"]["accuracy"] == 1.0  # the bands are the same in every picture of a class
        assert len(read_predictions(out / model / "predictions.csv")) == 16
    assert not list(out.rglob("*.part"))
    assert "not a medical device" in (out / "report.html").read_text()


def test_run_says_what_the_split_decided_once(finished):
    lines = [line.strip() for line in finished.said.splitlines()]
    notes = json.loads((finished.folder / "run.json").read_text())["notes"]
    assert {note: lines.count(note) for note in notes} == dict.fromkeys(notes, 1)
    assert any(line.startswith("Validation: 4 of 40 training images") for line in lines)


@pytest.mark.usefixtures("no_pages")
def test_second_call_repeats_nothing_that_is_finished(tumorscope, finished):
    files = [path for model in ("mobilenet_v2", "cnn") for path in (finished.folder / model).glob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    status, _, err = tumorscope(*finished.arguments)
    assert status == 0
    assert err.count("already trained") == 2
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_stages_one_by_one_give_what_run_gives(tumorscope, finished, tmp_path):
    parts, recipe = tmp_path / "parts", load_recipe("phantom")
    shares = ("--validation-share", recipe.validation_share, "--calibration-share", recipe.calibration_share)
    assert tumorscope("index", finished.data, "-o", tmp_path / "all.csv")[0] == 0
    assert tumorscope("split", tmp_path / "all.csv", "-o", tmp_path / "split.csv", *shares)[0] == 0
    assert tumorscope("train", tmp_path / "split.csv", "--out", parts, "--models", "cnn", *SHARED)[0] == 0
    for verb in ("calibrate", "evaluate", "explain", "report"):
        assert tumorscope(verb, parts)[0] == 0, verb
    a, b = (read_predictions(run / "cnn" / "predictions.csv") for run in (finished.folder, parts))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    np.testing.assert_array_equal(a.decisions.prediction_sets, b.decisions.prediction_sets)
    assert (parts / "report.html").is_file()


def test_folds_test_every_image_once_and_pool_them(tumorscope, banded_folder, tmp_path):
    out = tmp_path / "run"
    status, _, _ = tumorscope("run", "--data", banded_folder, "--out", out, "--folds", "2", "--models", "cnn", *SMALL)
    assert status == 0
    assert len(read_predictions(out / "cnn" / "predictions.csv")) == 56
    assert len(json.loads((out / "cnn" / "metrics.json").read_text())["folds"]) == 2
    assert (out / "fold-1" / "cnn" / "model.safetensors").is_file()
    (out / "cnn" / "metrics.json").unlink()
    status, printed, _ = tumorscope("evaluate", out)
    assert status == 0
    assert "recall glioma" in printed
    assert (out / "report.html").is_file()


def test_folds_of_the_built_in_set_find_their_masks_and_say_that_it_is_synthetic(tumorscope, tmp_path, monkeypatch):
    small = partial(write_phantom, patients_per_label=4, slices_per_patient=1, image_size=64)
    monkeypatch.setattr("tumorscope.apps.experiment.write_phantom", small)
    out = tmp_path / "run"
    status, _, _ = tumorscope("run", "--out", out, "--folds", "2", "--models", "cnn", "--image-size", "64", "--epochs", "1")
    assert status == 0
    assert len(read_predictions(out / "cnn" / "predictions.csv")) == 16
    assert json.loads((out / "fold-0" / "cnn" / "explanation.json").read_text())["with_mask"] == 6
    assert "Synthetic" in (out / "report.html").read_text()


@pytest.mark.usefixtures("no_pages")
def test_packed_set_has_the_same_fingerprint_and_the_same_predictions(tumorscope, finished, tmp_path):
    assert tumorscope("index", finished.data, "-o", tmp_path / "all.csv")[0] == 0
    assert tumorscope("pack", tmp_path / "all.csv", "-o", tmp_path / "npz")[0] == 0
    out = tmp_path / "run"
    assert tumorscope("run", "--data", tmp_path / "npz", "--out", out, "--models", "cnn", *SHARED)[0] == 0
    a, b = (read_manifest(run / "manifest.csv") for run in (finished.folder, out))
    assert a.data_fingerprint == b.data_fingerprint
    assert a.split_fingerprint == b.split_fingerprint
    a, b = (read_predictions(run / "cnn" / "predictions.csv") for run in (finished.folder, out))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)


@pytest.mark.usefixtures("no_pages")
def test_limit_keeps_so_many_images_of_each_label_and_split(tumorscope, banded_pictures, tmp_path):
    out = tmp_path / "run"
    assert tumorscope("run", "--data", banded_pictures, "--out", out, "--models", "cnn", "--limit", "3", *SHARED)[0] == 0
    manifest = read_manifest(out / "manifest.csv")
    assert set(manifest.counts("test").values()) == {3}
    assert len(manifest) == 24


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "--out", "x", "--data", "nowhere"), 1, "nowhere: no such file or folder"),
        (("run", "--out", "x", "--recipe", "nothing"), 1, "no such recipe"),
        (("run", "--out", "x", "--models", "resnet"), 2, "mobilenet_v2"),
        (("run", "--out", "x", "--folds", "one"), 2, "folds"),
        (("run",), 2, "--out"),
        (("dance",), 2, "dance"),
        (("evaluate", "nowhere"), 1, "not a run folder"),
        (("report", "nowhere"), 1, "not a run folder"),
        (("info", "nowhere"), 1, "no such file or folder"),
        (("info", "."), 1, "neither a run folder"),
        (("split", "nowhere.csv", "-o", "x.csv"), 1, "no such manifest"),
    ],
)
def test_users_error_is_a_readable_line_with_its_status(tumorscope, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    got, _, err = tumorscope(*arguments)
    assert got == status
    assert message in err
    assert "Traceback" not in err
    if status == 1:
        assert len(err.strip().splitlines()) == 1


def test_debug_gives_the_traceback(tumorscope):
    with pytest.raises(Exception, match="no such recipe"):
        tumorscope("run", "--out", "x", "--recipe", "nothing", "--debug")


@pytest.mark.parametrize("arguments", [(), ("--debug",)])
def test_what_nobody_foresaw_is_one_line_too_unless_debug(arguments):
    code = "from tumorscope.apps import cli\ndef fail(*_, **__): raise KeyError('oops')\ncli.app = fail\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "oops" in done.stderr
    assert ("Traceback" in done.stderr) is bool(arguments)
    assert (len(done.stderr.splitlines()) > 1) is bool(arguments)


@pytest.mark.usefixtures("listening", "no_pages")
def test_ctrl_c_says_that_the_same_command_goes_on(tumorscope, banded_folder, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = ("run", "--data", banded_folder, "--out", tmp_path / "run", "--models", "cnn", *SMALL)
    for place in ("tumorscope.apps.experiment.audit_into", "tumorscope.training.module.TrainingModule.training_step"):
        with monkeypatch.context() as patched:
            patched.setattr(place, stop)
            status, _, err = tumorscope(*arguments)
        assert status == 130
        assert err.splitlines()[-1] == "tumorscope: stopped; the same command goes on from here."
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert tumorscope(*arguments)[0] == 0


def test_run_folder_of_other_choices_is_refused_and_kept(tumorscope, finished):
    weights = finished.folder / "cnn" / "model.safetensors"
    before = weights.read_bytes()
    status, _, err = tumorscope(*finished.arguments, "--epochs", "3")
    assert status == 1
    assert "another --recipe, --epochs" in err
    assert weights.read_bytes() == before


@pytest.mark.usefixtures("no_pages")
def test_same_relative_path_in_another_place_is_other_data(tumorscope, finished, tmp_path, monkeypatch):
    arguments = ("run", "--data", finished.data.name, "--out", finished.folder, *SHARED)
    monkeypatch.chdir(finished.data.parent)
    assert tumorscope(*arguments)[0] == 0
    (tmp_path / finished.data.name).mkdir()
    monkeypatch.chdir(tmp_path)
    status, _, err = tumorscope(*arguments)
    assert status == 1
    assert "another --data" in err


def test_folder_with_something_else_in_it_is_refused(tumorscope, banded_folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    status, _, err = tumorscope("run", "--data", banded_folder, "--out", tmp_path, *SMALL)
    assert status == 1
    assert "not empty" in err


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run", "--data", "SCANS", "--out", "file/run", *SMALL), "--out"),
        (("run", "--out", "file/run", *SMALL), "--out"),
        (("run", "--out", "file", "--confounded", *SMALL), "--out"),
        (("index", "SCANS", "-o", "file/all.csv"), "-o"),
        (("audit", "SCANS", "-o", "file"), "-o"),
    ],
)
def test_place_that_cannot_be_written_is_refused_before_any_work(
    tumorscope, banded_folder, tmp_path, monkeypatch, arguments, option
):
    """A file where a folder is needed stands for a closed folder: it stops root, too."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    status, _, err = tumorscope(*(banded_folder if word == "SCANS" else word for word in arguments))
    assert status == 1
    assert len(err.strip().splitlines()) == 1, "said before anything was read"
    assert "cannot be written" in err
    assert f"Choose another {option}" in err


def test_refused_data_leave_no_folder_behind(tumorscope, tmp_path):
    (tmp_path / "empty").mkdir()
    assert tumorscope("run", "--data", tmp_path / "empty", "--out", tmp_path / "run", *SMALL)[0] == 1
    assert not (tmp_path / "run").exists()


def test_broken_image_among_good_ones_is_named_and_left_out(tumorscope, banded_folder, tmp_path):
    broken = banded_folder / "Training" / "glioma" / "broken.jpg"
    Image.new("L", (64, 64), 90).save(broken)
    broken.write_bytes(broken.read_bytes()[:300])
    status, _, err = tumorscope("index", banded_folder, "-o", tmp_path / "all.csv")
    assert status == 0
    assert "broken.jpg" in err
    assert len(read_manifest(tmp_path / "all.csv")) == 56


def test_help_tells_of_debug_and_of_exit_statuses(tumorscope):
    status, printed, _ = tumorscope("--help")
    assert status == 0
    assert "--debug" in printed
    assert "2 wrong usage" in " ".join(printed.split())


def test_help_and_import_load_nothing_heavy():
    heavy = "{'torch', 'lightning', 'matplotlib', 'sklearn', 'scipy', 'numpy', 'PIL', 'kornia'}"
    code = f"import sys, tumorscope, tumorscope.apps.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_info_describes_installation_run_model_and_manifest(tumorscope, finished):
    out = finished.folder
    for what, words in (((), "not a medical device"), ((out,), "recall glioma"), ((out / "cnn",), "weights_sha256")):
        status, printed, _ = tumorscope("info", *what)
        assert status == 0
        assert words in printed
    assert "56 images" in tumorscope("info", out / "manifest.csv")[1]
    assert "learning_rate" in tumorscope("info", "--recipes")[1]


@pytest.mark.timeout(600)
def test_run_killed_in_an_epoch_goes_on_to_the_same_predictions(tumorscope, banded_folder, tmp_path):
    def arguments(out: Path) -> list[str]:
        options = ("--models", "cnn", "--image-size", "96", "--epochs", "8", "--init", "none")
        return [str(word) for word in ("run", "--data", banded_folder, "--out", out, *options)]

    def finished_epochs(out: Path) -> int:
        history = out / "cnn" / "history.csv"
        return len(history.read_text().splitlines()) - 1 if history.is_file() else 0

    with without_pages():
        assert tumorscope(*arguments(tmp_path / "whole"))[0] == 0
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "tumorscope", *arguments(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while finished_epochs(killed) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 <= finished_epochs(killed) < 8
    assert tumorscope(*arguments(killed))[0] == 0
    a, b = (read_predictions(tmp_path / out / "cnn" / "predictions.csv") for out in ("whole", "killed"))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert (killed / "report.html").is_file()
