"""`predict` and `export` from the command line: what they print, write, go on with and refuse."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import invoke
from PIL import Image

from tumorscope import DISCLAIMER
from tumorscope.apps import finding_output
from tumorscope.apps.finding_records import FLAT_COLUMNS
from tumorscope.apps.scan_files import scan_files
from tumorscope.data.phantom import phantom_patient
from tumorscope.errors import DecodeError, SourceError, UsageError
from tumorscope.finding import Finding
from tumorscope.labels import LABELS
from tumorscope.models.bundle import save_bundle

MANY = 300


class Killed(BaseException):
    """Ends a command as nothing else does."""


@pytest.fixture(scope="module")
def model(untrained, tmp_path_factory):
    """A CNN that was not trained, as a bundle."""
    folder = tmp_path_factory.mktemp("model")
    save_bundle(untrained(), folder)
    return folder


@pytest.fixture
def archive(tmp_path):
    """Five pictures in folders inside one another, one of them broken, and files that are none."""
    return _pictures(tmp_path / "archive", 5, broken=2)


def _pictures(root, count, *, broken):
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / ("a", "b", "b/c")[number % 3] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 20), dtype=np.uint8)).save(path)
        if number == broken:
            path.write_bytes(path.read_bytes()[:50])
    (root / "notes.txt").write_text("no scan")
    (root / ".hidden.png").write_text("no scan")
    return root


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def unfinished(out, content):
    """Leave an output as a kill would."""
    out.write_bytes(content)
    stamp = out.with_name(f"{out.name}.run.json")
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "finished": False}))


def test_one_file_prints_a_readable_answer(tmp_path, model):
    [drawn] = phantom_patient("glioma", seed=0, number=0, slices=1)
    Image.fromarray(drawn.pixels).save(tmp_path / "a.png")
    result = invoke("predict", tmp_path / "a.png", "--model", model)
    assert "{} x {} pixels".format(*drawn.pixels.shape) in result.stdout
    for name in ("glioma", "meningioma", "no tumour", "pituitary tumour"):
        assert name in result.stdout
    assert "Answer: " in result.stdout
    assert "not calibrated" in result.stdout
    assert DISCLAIMER in result.stdout
    assert result.exit_code == 0


def test_a_file_that_shows_no_head_is_refused_in_words_and_is_no_failure(archive, model):
    result = invoke("predict", archive / "a" / "000.png", "--model", model)
    assert "no head found" in result.stdout
    assert "Answer: " not in result.stdout
    assert result.exit_code == 0


def test_one_file_that_is_broken_is_an_error_in_one_line(archive, model):
    with pytest.raises(DecodeError, match=r"002\.png"):
        invoke("predict", archive / "b" / "c" / "002.png", "--model", model)


def test_a_folder_becomes_one_finding_a_line_and_a_bad_file_an_error_record(archive, model, tmp_path):
    out = tmp_path / "out.jsonl"
    result = invoke("predict", archive, "--model", model, "-o", out)
    assert result.exit_code == 1
    records = lines(out)
    assert [Path(record["path"]).name for record in records] == ["000.png", "003.png", "001.png", "004.png", "002.png"]
    assert set(records[4]) == {"path", "error"}
    for record in records[:4]:
        assert Finding.from_json(record).path == record["path"]
        assert list(record["probabilities"]) == list(LABELS)
        assert record["disclaimer"] == DISCLAIMER
    assert "5 files, 1 of them could not be read" in result.stderr


def test_a_table_says_the_same_as_the_lines(archive, model, tmp_path):
    for suffix in ("jsonl", "csv", "parquet"):
        if suffix == "parquet":
            pytest.importorskip("pyarrow")
        invoke("predict", archive, "--model", model, "-o", tmp_path / f"out.{suffix}")
    records = lines(tmp_path / "out.jsonl")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
    assert tuple(rows[0]) == tuple(table.column_names) == tuple(FLAT_COLUMNS)
    assert DISCLAIMER in table.schema.metadata[b"tumorscope"].decode()
    for record, row, stored in zip(records, rows, table.to_pylist(), strict=True):
        assert row["path"] == stored["path"] == record["path"]
        if "error" in record:
            assert row["error"] == stored["error"] == record["error"]
            assert (row["p_glioma"], stored["p_glioma"]) == ("", None)
            continue
        for label in LABELS:
            assert float(row[f"p_{label}"]) == stored[f"p_{label}"] == record["probabilities"][label]
        assert row["recommended"] == stored["recommended"] == record["recommended"]
        assert stored["refused"] == record["refused"] == (row["refused"] == "yes")
        assert float(row["peak_row"]) == stored["peak_row"] == record["heatmap"]["peak"][0]
    assert not list(tmp_path.glob("*.part*"))


def test_maps_and_pages_are_written_beside_and_named(archive, model, tmp_path):
    out = tmp_path / "out.jsonl"
    invoke("predict", archive, "--model", model, "-o", out, "--heatmaps", "raw", "--html", "--limit", "2")
    records = lines(out)
    assert len(records) == 2
    for record in records:
        heatmap = np.load(tmp_path / record["files"]["raw"])
        assert heatmap.shape == (24, 20)
        assert heatmap.dtype == np.float32
        assert heatmap.max() <= record["heatmap"]["highest"] * (1 + 1e-6)
        page = (tmp_path / record["files"]["page"]).read_text()
        assert DISCLAIMER in page
        assert page.count("<img") == 2
        assert "default-src 'none'" in page
    invoke("predict", archive, "--model", model, "-o", tmp_path / "other.csv", "--heatmaps", "overlay", "--limit", "1")
    (picture,) = (tmp_path / "other.csv-files").iterdir()
    with Image.open(picture) as image:
        assert (image.size, image.mode) == ((20, 24), "RGB")


def test_a_file_of_many_slices_gives_a_finding_each_and_is_done_anew_as_a_whole_after_a_kill(archive, model, tmp_path):
    np.save(archive / "a" / "volume.npy", np.random.default_rng(0).integers(0, 255, (4, 24, 20), dtype=np.uint8))
    out = tmp_path / "out.jsonl"
    invoke("predict", archive / "a", "--model", model, "-o", out)
    whole = out.read_bytes()
    assert [Path(record["path"]).name.partition(".")[0] for record in lines(out)] == ["000", "003", *["volume"] * 5]
    for kept in (4, 6, 7):  # two of the four; all of them without their summary; all
        unfinished(out, b"".join(whole.splitlines(keepends=True)[:kept]))
        invoke("predict", archive / "a", "--model", model, "-o", out)
        assert out.read_bytes() == whole


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("cut", [1, 700, 2500])
def test_an_output_cut_short_is_gone_on_with_to_the_same_bytes(archive, model, tmp_path, suffix, cut):
    whole, torn = tmp_path / f"whole.{suffix}", tmp_path / f"torn.{suffix}"
    for out in (whole, torn):
        invoke("predict", archive, "--model", model, "-o", out)
    content = torn.read_bytes()
    torn.write_bytes(content[:-cut])
    stamp = tmp_path / f"torn.{suffix}.run.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "finished": False}))
    result = invoke("predict", archive, "--model", model, "-o", torn)
    assert torn.read_bytes() == whole.read_bytes() == content
    assert result.exit_code == 1


@pytest.mark.parametrize("moment", ["_write_stamp", "_write_parquet"])
def test_a_run_killed_while_its_parquet_file_is_finished_ends_with_the_same_command(archive, model, tmp_path, monkeypatch, moment):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.parquet"
    real = getattr(finding_output, moment)

    def killed(*given, **named):
        if moment == "_write_parquet" or named["finished"]:
            raise Killed
        real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(finding_output, moment, killed)
        with pytest.raises(Killed):
            invoke("predict", archive, "--model", model, "-o", out)
    assert out.exists() == (moment == "_write_stamp")
    assert invoke("predict", archive, "--model", model, "-o", out).exit_code == 1
    assert len(parquet.read_table(out)) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out.parquet", "out.parquet.run.json"]


def test_half_a_map_of_a_killed_run_is_removed_by_the_next(archive, model, tmp_path):
    for place in ("out.jsonl-files/a.npy.7.part", "out.jsonl.run.json.7.part"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    invoke("predict", archive / "a", "--model", model, "-o", tmp_path / "out.jsonl", "--heatmaps", "raw")
    assert len(list(tmp_path.glob("out.jsonl-files/*.npy"))) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_a_finished_output_stays_as_it_is_and_new_files_are_added(archive, model, tmp_path):
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        invoke("predict", archive, "--model", model, "-o", out)
    before = lines(out)
    (archive / "a" / "000.png").rename(archive / "a" / "100.png")
    invoke("predict", archive, "--model", model, "-o", out)
    assert lines(out)[: len(before)] == before
    assert [Path(record["path"]).name for record in lines(out)[len(before) :]] == ["100.png"]


def test_an_output_of_another_model_or_of_other_options_is_refused(untrained, archive, model, tmp_path):
    out = tmp_path / "out.jsonl"
    invoke("predict", archive, "--model", model, "-o", out)
    save_bundle(untrained(seed=1), tmp_path / "other")
    with pytest.raises(UsageError, match="another model"):
        invoke("predict", archive, "--model", tmp_path / "other", "-o", out)
    with pytest.raises(UsageError, match="another options"):
        invoke("predict", archive, "--model", model, "-o", out, "--html")
    (tmp_path / "foreign.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"foreign\.csv"):
        invoke("predict", archive, "--model", model, "-o", tmp_path / "foreign.csv")
    assert (tmp_path / "foreign.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere"], SourceError, "nowhere"),
        (["archive", "archive/a"], UsageError, "archive/a"),
        (["archive", "-o", "out.xlsx"], UsageError, r"out\.xlsx"),
        (["archive", "--html"], UsageError, "-o"),
        (["archive/empty"], SourceError, "empty"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(archive, tmp_path, monkeypatch, arguments, error, message):
    (archive / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        invoke("predict", *arguments, "--model", "no model is loaded")
    assert not list(tmp_path.glob("out*"))


def test_files_of_folders_come_sorted_without_hidden_ones_links_to_folders_and_own_outputs(archive):
    (archive / "circle").symlink_to(archive)
    inside = archive / "out.jsonl-files"
    inside.mkdir()
    (inside / "map.png").write_text("")
    found = [Path(path).relative_to(archive).as_posix() for path in scan_files([archive], beside=inside)]
    assert found == ["a/000.png", "a/003.png", "b/001.png", "b/004.png", "b/c/002.png"]


def test_a_killed_run_goes_on_to_what_an_unbroken_one_writes(model, tmp_path):
    archive = _pictures(tmp_path / "archive", MANY, broken=17)
    killed, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-m", "tumorscope", "predict", str(archive), "--model", str(model), "--batch-size", "2", "-o"]
    running = subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while running.poll() is None and (not killed.exists() or killed.read_bytes().count(b"\n") < 20):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    written = killed.read_bytes().count(b"\n")
    assert 20 <= written < MANY
    again = invoke("predict", archive, "--model", model, "-o", killed)
    assert "are answered for already" in again.stderr
    assert invoke("predict", archive, "--model", model, "-o", whole).exit_code == again.exit_code == 1
    assert killed.read_bytes() == whole.read_bytes()
    assert whole.read_bytes().count(b"\n") == MANY


def test_an_exported_network_stands_alone(model, tmp_path):
    result = invoke("export", model, "-o", tmp_path / "onnx")
    exported = onnx.load(tmp_path / "onnx" / "cnn.onnx", load_external_data=False)
    assert not any(tensor.external_data for tensor in exported.graph.initializer)
    assert exported.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    about = json.loads((tmp_path / "onnx" / "cnn.json").read_text())
    assert about["labels"] == list(LABELS)
    assert about["cells"]["stride"] == 16
    assert about["disclaimer"] == DISCLAIMER
    assert str(tmp_path / "onnx" / "cnn.json") in result.stdout


def test_an_export_for_openvino_answers_as_the_bundle_does(model, tmp_path):
    from tumorscope.engines.openvino_engine import load_openvino
    from tumorscope.predict import Predictor

    invoke("export", model, "--format", "openvino", "-o", tmp_path)
    grids = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    core = load_openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    answered = core.compile_model(core.read_model(tmp_path / "cnn.xml"), "CPU", settings)(grids)
    ours = Predictor.load(model, threads=1).engine.infer(grids)
    for name in ours._fields:
        np.testing.assert_allclose(answered[name], getattr(ours, name), rtol=1e-4, atol=1e-5)
