"""Every engine gives torch's answers, whatever the number of images; and nothing calls home."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tumorscope.data.phantom import phantom_patient
from tumorscope.data.preprocess import Preprocessing
from tumorscope.engines.engine import ENGINES, open_engine
from tumorscope.errors import UsageError
from tumorscope.labels import LABELS
from tumorscope.models.bundle import save_bundle
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.network import build
from tumorscope.scan import Scan

SIZE = 64


@pytest.fixture(scope="module", params=["cnn", "mobilenet_v2", "joined"])
def folder(request, untrained, tmp_path_factory):
    """A bundle of a network that was not trained, whose batch normalisation is away from where it starts."""
    torch.manual_seed(1)
    network = build("cnn") if request.param == "cnn" else build("mobilenet_v2", output_stride=16, joined=request.param == "joined")
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, here of one
    with torch.no_grad():
        network(torch.randn(8, 3, SIZE, SIZE))
    path = tmp_path_factory.mktemp("bundle")
    save_bundle(untrained(network=network), path)
    return path


@pytest.fixture(scope="module")
def grids():
    preprocessing = Preprocessing(image_size=SIZE)
    scans = [phantom_patient(label, seed=0, number=0, slices=1, image_size=96)[0].pixels for label in LABELS]
    noise = np.random.default_rng(0).integers(0, 255, (96, 80), dtype=np.uint8)
    return np.stack([preprocessing.grid(Scan(pixels, origin="test")) for pixels in (*scans, noise)])


def opened(name, folder):
    return open_engine(name, folder, read_bundle_json(folder), threads=1)[0]


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "torch"])
def test_an_engine_gives_the_answers_of_torch(name, folder, grids):
    """In float32 they differ by rounding alone; probabilities may differ by 1e-3, so that leaves room."""
    ours, theirs = opened(name, folder).infer(grids), opened("torch", folder).infer(grids)
    assert np.ptp(theirs.logits, axis=0).max() > 1e-3  # otherwise nothing is compared
    for field in ours._fields:
        mine, other = getattr(ours, field), getattr(theirs, field)
        assert mine.shape == other.shape
        assert mine.dtype == np.float32
        assert np.abs(mine - other).max() <= 1e-4 * np.abs(other).max()


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_gives_what_its_images_give_one_by_one(name, folder, grids):
    engine = opened(name, folder)
    whole = engine.infer(grids)
    for row in range(len(grids)):
        single = engine.infer(grids[row : row + 1])
        for field in whole._fields:
            np.testing.assert_allclose(getattr(single, field)[0], getattr(whole, field)[row], rtol=1e-4, atol=1e-5)


def test_an_unknown_engine_is_refused_by_name(folder):
    with pytest.raises(UsageError, match="openvino"):
        open_engine("abacus", folder, read_bundle_json(folder))


def test_an_engine_whose_package_is_missing_says_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="not installed"):
        open_engine("onnxruntime", folder, read_bundle_json(folder))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_engine_leaves_no_trace_in_the_home_folder_and_loads_no_telemetry(name, tmp_path):
    script = (
        "import sys\nfrom tumorscope.predict import Predictor\n"
        f"Predictor.load('bundled', engine={name!r})\n"
        "import time; time.sleep(0.5)\n"
        "assert 'openvino_telemetry' not in sys.modules\nassert 'torch' not in sys.modules\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=120)
    assert not list(home.iterdir())
