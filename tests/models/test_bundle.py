import json

import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import BundleError
from tumorscope.models.bundle import Bundle, load_bundle, save_bundle
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.network import build


@pytest.fixture
def bundle():
    torch.manual_seed(0)
    return Bundle(
        network=build("cnn").eval(),
        preprocessing=Preprocessing(image_size=96, fit="stretch"),
        recipe={"name": "test"},
        training={"best_epoch": 2},
        data_fingerprint="d" * 64,
        split_fingerprint="s" * 64,
        trained_on=frozenset({"0123456789abcdef"}),
        created="2026-01-01T00:00:00+00:00",
    )


def test_bundle_read_back_gives_the_same_answers(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    loaded = load_bundle(tmp_path)
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(loaded.network(images), bundle.network(images))
    assert loaded.preprocessing == bundle.preprocessing
    assert loaded.trained_on == bundle.trained_on
    assert loaded.has_seen("0123456789abcdef" + "0" * 48)
    assert not loaded.has_seen("f" * 64)


def test_altered_weights_are_refused(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="not the file"):
        load_bundle(tmp_path)


def test_missing_weights_and_missing_json_are_named(bundle, tmp_path):
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        load_bundle(tmp_path)
    save_bundle(bundle, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"), [("schema_version", 99, "99"), ("labels", ["a"], "labels"), ("network", "x", "x")]
)
def test_bundle_of_another_world_is_refused_with_a_reason(bundle, tmp_path, key, value, message):
    save_bundle(bundle, tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(BundleError, match=message):
        read_bundle_json(tmp_path)


def test_half_a_json_file_is_refused(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(BundleError, match="JSON"):
        load_bundle(tmp_path)


def test_every_bundle_says_that_it_is_no_medical_device(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    assert "not a medical device" in read_bundle_json(tmp_path)["disclaimer"]
    assert not list(tmp_path.glob("*.part"))
