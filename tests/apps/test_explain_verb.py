import csv
import json
import shutil
from functools import partial

import numpy as np
import pytest
from command_line import invoke

from tumorscope.apps.explaining import read_maps
from tumorscope.data.phantom import write_phantom

FILES = ("explanation.json", "maps.npz", "peaks.csv", "explained_images.csv")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A CNN of one epoch on 64 phantoms of 64 pixels, and another with another seed."""
    place = tmp_path_factory.mktemp("explained")
    small = partial(write_phantom, patients_per_label=8, slices_per_patient=2, image_size=64)
    small(place / "set", seed=0)
    for seed, name in enumerate(("one", "two")):
        data = ("--data", place / "set" / "manifest.csv")
        choices = ("--models", "cnn", "--image-size", "64", "--epochs", "1", "--init", "none", "--recipe", "phantom")
        assert invoke("run", *data, "--out", place / name, *choices, "--seed", seed).exit_code == 0
    return place


def test_run_measures_its_heatmaps_and_leaves_a_page(run):
    page = (run / "one" / "explanation.html").read_text()
    assert "not a medical device" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    content = json.loads((run / "one" / "cnn" / "explanation.json").read_text())
    assert content["split"] == "test"
    for key in ("pointing_game", "pointing_game_15px", "energy_inside", "dice", "deletion_auc", "insertion_auc", "randomisation"):
        assert content[key], key
    assert "explanation.html" in (run / "one" / "report.html").read_text()


def test_explain_writes_where_it_is_told_and_repeats_nothing(run, tmp_path):
    arguments = ("explain", run / "one", "-o", tmp_path / "ex", "--sample", "4", "--split", "train", "--limit", "3")
    assert invoke(*arguments).exit_code == 0
    assert (tmp_path / "ex" / "explanation.html").is_file()
    files = [tmp_path / "ex" / "cnn" / name for name in FILES]
    before = [path.stat().st_mtime_ns for path in files]
    assert invoke(*arguments).exit_code == 0
    assert [path.stat().st_mtime_ns for path in files] == before
    content = json.loads(files[0].read_text())
    assert content["images_count"] == 12
    assert content["notes"] == ["The train images took part in the training of this cnn."]
    stored = read_maps(files[1])
    assert stored.label_maps.shape == (12, 4, 4, 4)
    with files[2].open() as file:
        peaks = list(csv.DictReader(file))
    assert [row["path"] for row in peaks] == list(stored.paths)
    assert all(0 <= float(row["row"]) < 64 for row in peaks if row["row"])
    with np.load(files[1]) as raw:
        assert raw["maps"].dtype == np.float16


def test_other_methods_stand_beside_grad_cam(run, tmp_path):
    methods = ("--methods", "hires_cam,occlusion", "--sample", "4", "--limit", "2")
    assert invoke("explain", run / "one", "-o", tmp_path, *methods).exit_code == 0
    table = json.loads((tmp_path / "cnn" / "explanation.json").read_text())["energy_inside"]
    assert set(table["methods"]) == {"hires_cam", "occlusion"}
    assert table["methods"]["hires_cam"]["n"] == 6


def test_maps_of_another_seed_are_compared(run, tmp_path):
    small = ("--sample", "4", "--limit", "2")
    assert invoke("explain", run / "one", "-o", tmp_path, "--against", run / "two", *small).exit_code == 0
    content = json.loads((tmp_path / "cnn" / "explanation.json").read_text())
    assert -1 <= content["repeatability"]["rank_correlation"]["value"] < 0.99
    assert content["repeatability"]["n"] == 8
    assert content["notes"] == []


def test_the_same_model_is_no_other_training(run, tmp_path, tumorscope):
    status, _, err = tumorscope("explain", run / "one", "-o", tmp_path, "--against", run / "one", "--limit", "2")
    assert status == 1
    assert "the very model" in err


def test_an_explanation_is_made_again_when_its_outlines_changed(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run / "one", copy)
    before = json.loads((copy / "cnn" / "explanation.json").read_text())
    table = (copy / "manifest.csv").read_text().splitlines()
    columns = table[0].split(",")
    rows = [dict(zip(columns, line.split(","), strict=True)) for line in table[1:]]
    lines = [",".join({**row, "mask": ""}.values()) if row["split"] == "test" else ",".join(row.values()) for row in rows]
    (copy / "manifest.csv").write_text("\n".join([table[0], *lines]) + "\n")
    assert invoke("explain", copy, "--sample", "4").exit_code == 0
    after = json.loads((copy / "cnn" / "explanation.json").read_text())
    assert before["with_mask"] > 0
    assert after["with_mask"] == 0
    assert after["pointing_game"] is None


def test_a_narrower_wish_keeps_a_wider_explanation(run):
    before = (run / "one" / "cnn" / "explanation.json").read_bytes()
    assert invoke("explain", run / "one", "--sample", "4").exit_code == 0
    assert (run / "one" / "cnn" / "explanation.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--split", "train"), 2, "need -o DIR"),
        (("--methods", "magic"), 2, "score_cam"),
        (("--methods", "layer_cam,layer_cam"), 2, "none twice"),
        (("--against", "nowhere"), 1, "none of cnn is trained there"),
    ],
)
def test_wrong_use_is_said_in_a_line(run, tumorscope, arguments, status, message):
    ended, _, err = tumorscope("explain", run / "one", *arguments)
    assert ended == status
    assert message in err
    assert len(err.strip().splitlines()) == 1
