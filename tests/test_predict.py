"""One scan to a finding: from Python, without torch, as evaluation has it."""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tumorscope as ts
from tumorscope.data.input_gate import BLANK_REASON, COLOUR_REASON
from tumorscope.data.phantom import phantom_patient
from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.engines.engine import Answers
from tumorscope.errors import BundleError, DecodeError, UsageError
from tumorscope.explanation.looking import Looker
from tumorscope.finding import ModelStamp
from tumorscope.labels import LABELS
from tumorscope.models.bundle import load_bundle, save_bundle
from tumorscope.models.bundle_files import Graph
from tumorscope.models.calibration import Calibration
from tumorscope.predict import Predictor
from tumorscope.scan import Scan
from tumorscope.streaming import StreamChoices, answer_files

GOLDEN = Path(__file__).parent / "golden" / "cnn-0.1"


@dataclass
class Pointing:
    """An engine that knows nothing: label 2 is the answer, and its map is one cell."""

    cell: tuple[int, int] = (3, 1)
    version: str = "test 1"
    batches: tuple[int, ...] = ()

    def infer(self, grids):
        self.batches += (len(grids),)
        maps = np.zeros((len(grids), 4, 4, 4), dtype=np.float32)
        maps[:, 2, *self.cell] = 5.0
        logits = np.tile(np.float32([0, 1, 3, 2]), (len(grids), 1))
        return Answers(logits, maps, np.zeros((len(grids), 8), dtype=np.float32))


def predictor_of(engine, *, stride=16.0, start=0.0, seen=frozenset(), **preprocessing):
    return Predictor(
        engine,
        Graph(b"", stride, start),
        Preprocessing(image_size=64, **preprocessing),
        Calibration(),
        ModelStamp("test", "w", "d", calibrated=False),
        seen,
        {"engine": engine.version},
    )


@pytest.fixture(scope="module")
def golden():
    return Predictor.load(GOLDEN, threads=1)


def head(*, seed=0, size=96):
    """A noisy bright oval on black."""
    rows, columns = np.mgrid[:size, :size] - size / 2
    inside = (rows / 0.4) ** 2 + (columns / 0.33) ** 2 < size**2
    return (inside * np.random.default_rng(seed).integers(90, 250, (size, size))).astype(np.uint8)


def scans():
    deep = Scan(head(seed=1).astype(np.uint16) * 37, origin="deep", spacing_mm=(0.5, 0.75))
    return [Scan(head()[12:84].copy(), origin="wide"), deep]


def test_the_peak_lies_on_the_scan_where_the_cell_lies_on_the_grid():
    """A scan of 128 rows and 64 columns on a grid of 64: two pixels for one, columns begin at 16; cell (3, 1) is at (48, 16)."""
    finding = predictor_of(Pointing())(Scan(np.full((128, 64), 9, dtype=np.uint8), origin="x"))
    assert finding.heatmap.peak == (48 * 2 + 0.5, 0.5)
    assert finding.heatmap.values.shape == finding.shape == (128, 64)
    assert finding.heatmap.values[96, 0] == pytest.approx(finding.heatmap.highest, rel=0.1)
    assert finding.framing == {"top": 0, "left": 0, "rows": 128, "columns": 64}


def test_what_is_said_is_what_the_engine_answered():
    finding = predictor_of(Pointing())(Scan(np.full((64, 64), 9, dtype=np.uint8), origin="x"))
    weights = np.exp([0, 1, 3, 2])
    assert list(finding.probabilities) == list(LABELS)
    np.testing.assert_allclose(list(finding.probabilities.values()), weights / weights.sum(), rtol=1e-12)
    assert finding.recommended == finding.most_probable == finding.heatmap.label == "notumor"
    assert (finding.prediction_set, finding.familiarity) == (None, None)


def test_a_model_that_is_not_calibrated_refuses_what_can_be_no_slice_of_a_head():
    predictor = predictor_of(Pointing())
    [drawn] = phantom_patient("glioma", seed=0, number=0, slices=1)
    head = Scan(pixels=drawn.pixels, origin="head")
    blank, coloured = Scan(np.full((64, 64), 9, dtype=np.uint8), origin="x"), replace(head, colour_share=0.5)
    assert predictor(head).refusal is None
    assert predictor(blank).refusal == BLANK_REASON
    assert predictor(coloured).refusal == COLOUR_REASON


@dataclass(frozen=True)
class Deciding(Calibration):
    """A calibration that refuses pictures by what they tell alone."""

    acceptance: str = "some"

    def decide(self, logits, features, looks):
        reasons = tuple(look.reason for look in looks)
        decided = Calibration().decide(logits, features, ())
        return replace(
            decided,
            prediction_sets=np.tile([True, False, True, False], (len(logits), 1)),
            recommended=np.full(len(logits), 3),
            familiarity=np.linspace(-1, 0.5, len(logits)),
            refused=np.array([bool(reason) for reason in reasons]),
            reasons=reasons,
        )


def test_what_a_calibration_decides_is_told_and_the_map_is_of_the_recommended_label():
    predictor = replace(predictor_of(Pointing()), calibration=Deciding())
    blank, kept = predictor.batch([Scan(np.full((64, 64), 9, dtype=np.uint8), origin="x"), Scan(head(), origin="y")])
    assert blank.refused
    assert blank.refusal == "blank: all pixels have the same grey level"
    assert (kept.refused, kept.refusal) == (False, None)
    assert (blank.familiarity, kept.familiarity) == (-1, 0.5)
    assert kept.prediction_set == ("glioma", "notumor")
    assert (kept.recommended, kept.most_probable, kept.heatmap.label) == ("pituitary", "notumor", "pituitary")
    assert kept.heatmap.peak is None


def test_a_predictor_prints_which_model_it_is_and_not_what_it_has_seen():
    printed = repr(predictor_of(Pointing(), seen=frozenset({"0123456789abcdef"})))
    assert "name='test'" in printed
    assert "test 1" in printed
    assert "0123456789abcdef" not in printed


def test_a_flat_map_has_no_peak():
    class Flat(Pointing):
        def infer(self, grids):
            answers = super().infer(grids)
            return answers._replace(maps=np.zeros_like(answers.maps))

    finding = predictor_of(Flat())(Scan(np.full((64, 64), 9, dtype=np.uint8), origin="x"))
    assert finding.heatmap.peak is None
    assert finding.heatmap.highest == 0
    assert finding._repr_html_().count("<img") == 2


def test_warnings_name_a_black_scan_a_small_one_and_one_that_was_trained_on():
    black = Scan(np.zeros((16, 16), dtype=np.uint8), origin="x")
    warnings = predictor_of(Pointing(), seen=frozenset({black.sha256[:16]}))(black).warnings
    assert [word for word in ("black", "small", "trained") if any(word in sentence for sentence in warnings)] == [
        "black",
        "small",
        "trained",
    ]
    assert predictor_of(Pointing())(Scan(np.full((64, 64), 9, dtype=np.uint8), origin="x")).warnings == ()


def test_a_stream_keeps_the_order_takes_a_batch_at_a_time_and_equals_one_by_one(golden):
    engine = Pointing()
    many = [Scan(np.full((64, 64), number + 1, dtype=np.uint8), origin=str(number)) for number in range(7)]
    assert [one.path for one in predictor_of(engine).stream(iter(many), batch_size=3)] == list("0123456")
    assert engine.batches == (3, 3, 1)
    real = scans() * 2
    assert list(golden.stream(real, batch_size=3)) == golden.batch(real) == [golden(scan) for scan in real]


def test_a_stream_draws_no_more_scans_than_it_needs():
    drawn = []

    def source():
        for number in range(1000):
            drawn.append(number)
            yield Scan(np.full((64, 64), 9, dtype=np.uint8), origin=str(number))

    next(iter(predictor_of(Pointing()).stream(source(), batch_size=4)))
    assert len(drawn) <= 12


def test_an_empty_batch_and_an_empty_stream_are_empty():
    predictor = predictor_of(Pointing())
    assert predictor.batch([]) == []
    assert list(predictor.stream([])) == []


def test_prediction_gives_what_evaluation_and_explanation_give(golden):
    """The same probabilities and the same maps from torch, on scans that need all of preprocessing."""
    bundle = load_bundle(GOLDEN)
    looker = Looker(bundle.network.float(), bundle.preprocessing)
    for scan in scans():
        looked = looker.look(bundle.preprocessing.grid(scan)[None])
        finding = golden(scan)
        np.testing.assert_allclose(list(finding.probabilities.values()), looked.probabilities[0], rtol=0, atol=1e-5)
        heatmap = looked.maps_of(looked.predicted_index)[0]
        assert finding.heatmap.highest == pytest.approx(float(heatmap.max()), rel=1e-4)
        row, column = looker.peak(heatmap)
        expected = bundle.preprocessing.to_scan(np.array(row), np.array(column), bundle.preprocessing.framing(scan))
        last = np.array(scan.shape) - 1
        np.testing.assert_allclose(finding.heatmap.peak, np.clip(expected, 0, last), atol=1e-9)


def test_a_finding_knows_its_scan(golden):
    wide, deep = golden.batch(scans(), heatmaps=False)
    assert (deep.path, deep.spacing_mm, deep.shape) == ("deep", (0.5, 0.75), (96, 96))
    assert wide.sha256 == scans()[0].sha256
    assert wide.heatmap.values is None
    assert wide.framing["rows"] <= 72


def test_the_head_is_framed_once_and_as_training_does():
    preprocessing = Preprocessing(image_size=64, frame="head")
    scan = scans()[0]
    grid, framing = preprocessing.framed_grid(preprocessing.eight_bit(scan.pixels))
    assert np.array_equal(grid, preprocessing.grid(scan))
    assert framing == preprocessing.framing(scan) != Framing.whole(scan.shape)


@pytest.mark.parametrize("name", ["network.onnx", "model.safetensors"])
def test_a_model_whose_files_were_altered_is_refused(untrained, tmp_path, name):
    save_bundle(untrained(), tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="not the file"):
        Predictor.load(tmp_path)


def test_a_model_of_another_version_and_an_incomplete_one_are_refused(untrained, tmp_path):
    save_bundle(untrained(), tmp_path)
    path = tmp_path / "bundle.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "schema_version": 7}))
    with pytest.raises(BundleError, match="version 7"):
        Predictor.load(tmp_path)
    del content["preprocessing"]
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="incomplete"):
        Predictor.load(tmp_path)
    with pytest.raises(UsageError, match="abacus"):
        Predictor.load(tmp_path, engine="abacus")


def test_a_bundle_of_before_that_needs_torch_says_so_where_there_is_none(tmp_path, monkeypatch):
    shutil.copytree(GOLDEN, tmp_path / "old")
    monkeypatch.setitem(sys.modules, "tumorscope.models.bundle", None)
    with pytest.raises(BundleError, match=r"without network\.onnx"):
        Predictor.load(tmp_path / "old")


def test_files_are_answered_in_order_and_a_bad_one_is_an_error_and_no_end(golden, tmp_path):
    paths = []
    for number in range(5):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.full((40, 40), 40 * number, dtype=np.uint8)).save(paths[-1])
    Path(paths[2]).write_bytes(Path(paths[2]).read_bytes()[:60])
    for choices in (StreamChoices(batch_size=1, workers=1), StreamChoices(batch_size=3, workers=4)):
        answers = list(answer_files(golden, iter(paths), choices))
        assert [answer.path for answer in answers] == paths
        assert [len(answer.findings) for answer in answers] == [1, 1, 0, 1, 1]
        assert "2.png" in answers[2].error
    bad = list(answer_files(golden, [paths[2]]))
    assert [answer.findings for answer in bad] == [()]


def test_files_are_drawn_as_they_are_needed_and_threads_end_when_nobody_listens(golden, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.full((40, 40), 9, dtype=np.uint8)).save(path)
    drawn = []
    endless = (drawn.append(1) or str(path) for _ in iter(int, 1))
    answers = answer_files(golden, endless, StreamChoices(batch_size=2, workers=2))
    next(answers)
    answers.close()
    assert len(drawn) <= 20


def test_the_public_door_opens_a_file(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(scans()[0].pixels).save(path)
    finding = ts.load(GOLDEN).predict(path)
    assert finding.path == str(path)
    assert finding.recommended in LABELS
    (tmp_path / "no.png").write_bytes(b"no")
    with pytest.raises(DecodeError, match=r"no\.png"):
        ts.load(GOLDEN).predict(tmp_path / "no.png")


def test_of_several_slices_one_is_taken_and_said_so(golden, tmp_path):
    many = np.stack([head(seed=number) for number in range(5)])
    np.save(tmp_path / "many.npy", many)
    finding = golden.predict(tmp_path / "many.npy")
    assert finding.sha256 == Scan(many[2], origin="x").sha256
    assert "number 2 counted from 0" in finding.warnings[-1]
    with pytest.raises(DecodeError, match="one slice"):
        golden.predict(tmp_path / "many.npy", choice=SliceChoice(slices="1-3"))
    (answer,) = answer_files(golden, [str(tmp_path / "many.npy")], StreamChoices(batch_size=2))
    assert [one.sha256 for one in answer.findings] == [Scan(slice_, origin="x").sha256 for slice_ in many]
    assert len({one.path for one in answer.findings}) == 5
    assert list(golden.predict_slices(tmp_path / "many.npy")) == list(answer.findings)
    (chosen,) = golden.predict_slices(tmp_path / "many.npy", choice=SliceChoice(slices="3"), heatmaps=True)
    assert chosen == answer.findings[3]
    assert chosen.heatmap.values is not None


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "predict.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scans()[0].pixels).save("scan.png")
    names: dict = {}
    for example in examples:
        exec(compile(example, "docs/predict.md", "exec"), names)
    assert len(examples) == 3
    assert "no-scan.png [] no-scan.png: " in capsys.readouterr().out


def test_importing_the_package_is_quick_and_predicting_loads_no_torch(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(scans()[0].pixels).save(path)
    script = f"""
import sys, time
started = time.process_time()
import tumorscope as ts
took = time.process_time() - started
assert "numpy" not in sys.modules
finding = ts.load().predict({str(path)!r})
finding.to_json()
import tumorscope.apps.cli, tumorscope.apps.predicting
heavy = "torch torchvision lightning kornia scipy sklearn matplotlib onnx openvino_telemetry"
loaded = [name for name in heavy.split() if name in sys.modules]
assert not loaded, loaded
print(took)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.2
    assert time.monotonic() - started < 60
