"""The command on a folder of small pictures and a network that was never trained."""

import csv
import json

import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.errors import EvaluationError
from tumorscope.labels import UNSTATED_TUMOUR
from tumorscope.manifest import write_manifest
from tumorscope.models.bundle import Bundle, save_bundle, short_digest
from tumorscope.models.network import build, initialise


@pytest.fixture(scope="module")
def robustness(load_benchmark):
    return load_benchmark("robustness")


@pytest.fixture
def manifest_path(banded_folder, tmp_path):
    write_manifest(index_source(banded_folder), tmp_path / "manifest.csv")
    return tmp_path / "manifest.csv"


def saved(folder, *, trained_on=()):
    torch.manual_seed(0)
    network = build("cnn")
    initialise(network, "none")
    seen = frozenset(map(short_digest, trained_on))
    save_bundle(Bundle(network, Preprocessing(image_size=64), {}, {}, "a", "b", seen, "2026-01-01T00:00:00+00:00"), folder)
    return folder


def test_the_command_leaves_table_figure_and_numbers(robustness, manifest_path, tmp_path, capsys):
    out = tmp_path / "out"
    model = saved(tmp_path / "model")
    robustness.main([str(model), "--data", str(manifest_path), "--sample", "6", "--only", "blur", "jpeg", "-o", str(out)])
    content = json.loads((out / "robustness.json").read_text(encoding="utf-8"))
    assert (content["images"], content["of"], content["seen"], content["unstated"]) == (6, 16, 0, 0)
    assert max(content["labels"].values()) - min(content["labels"].values()) <= 1
    assert content["levels"]["blur"]["meaning"] == "deviation in 256ths of the longer side"
    with (out / "robustness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["rows"]) == 1 + 2 * 6 + 1
    assert float(rows[3]["accuracy"]) == content["rows"][3]["accuracy"]
    assert (rows[-1]["corruption"], rows[-1]["strength"], rows[-1]["refusal_rate"]) == ("all", "", "")
    assert (out / "robustness.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "6 of 6 scans\n" in printed
    assert printed.count("mean") == 3


def test_images_that_the_model_has_seen_are_refused_unless_asked_for(robustness, manifest_path, tmp_path, capsys):
    tests = robustness.images_of(None, manifest_path).in_split("test")
    model = saved(tmp_path / "model", trained_on=[tests.records[0].sha256])
    command = [str(model), "--data", str(manifest_path), "--sample", "16", "--only", "blur", "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        robustness.main(command)
    assert stopped.value.code == 1
    assert "1 of 16 test images were in the training or validation of this cnn" in capsys.readouterr().err
    robustness.main([*command, "--seen"])
    assert json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))["seen"] == 1


def test_a_csv_without_splits_tests_as_a_whole_and_unstated_tumours_are_left_out(robustness, banded_folder):
    lines = [
        "path,label",
        "Testing/glioma/0.png,glioma",
        "Testing/notumor/0.png,notumor",
        f"Testing/glioma/1.png,{UNSTATED_TUMOUR}",
    ]
    (banded_folder / "set.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = robustness.images_of(None, banded_folder / "set.csv")
    assert (len(manifest.in_split("test")), manifest.unstated) == (3, 1)
    assert [record.label for record in robustness.sampled(manifest, 9)] == ["glioma", "notumor"]
    alone = manifest.where(lambda record: record.label == UNSTATED_TUMOUR)
    with pytest.raises(EvaluationError, match="no test image with one of glioma"):
        robustness.sampled(alone, 9)
