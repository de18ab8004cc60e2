import json
import shutil
from dataclasses import replace

import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import BundleError
from tumorscope.models import shipped
from tumorscope.models.bundle import Bundle, load_bundle, save_bundle
from tumorscope.models.network import build
from tumorscope.models.starting import find_start, start_network


def bundle_of(name, *, stride=None, joined=False):
    torch.manual_seed(3)
    return Bundle(
        network=build(name, output_stride=stride, joined=joined).eval(),
        preprocessing=Preprocessing(image_size=64),
        recipe={"name": "ours"},
        training={"started_from": "ImageNet weights from torchvision", "images": {"cheng": {"glioma": 1}}, "ancestor": None},
        data_fingerprint="d" * 64,
        split_fingerprint="s" * 64,
        trained_on=frozenset({"0123456789abcdef"}),
        created="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "mobilenet_v2"
    save_bundle(bundle_of("mobilenet_v2"), place)
    return place


def same(a, b):
    return all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


def test_a_model_starts_with_features_and_head_of_a_bundle_and_remembers_what_it_has_seen(folder):
    network = build("mobilenet_v2", dropout=0.5)
    start = start_network(network, str(folder))
    assert same(network, load_bundle(folder).network)
    assert network.head[0].p == 0.5
    assert start.seen == {"0123456789abcdef"}
    assert start.ancestor["images"] == {"cheng": {"glioma": 1}}
    assert start.ancestor["started_from"] == "ImageNet weights from torchvision"
    assert start.ancestor["seen"] == 1
    assert start == find_start("mobilenet_v2", str(folder))


def test_the_stride_is_the_recipes_and_the_weights_fit_both(folder):
    """Widened kernels over a map without its last stride see, in every second cell, what the strided network saw."""
    fine = build("mobilenet_v2", output_stride=16).eval()
    start_network(fine, str(folder))
    assert fine.output_stride == 16
    images = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(
            fine.features(images)[:, :, ::2, ::2], load_bundle(folder).network.features(images), rtol=1e-3, atol=1e-4
        )


def test_a_head_that_sees_more_channels_begins_as_the_bundles_and_one_that_sees_fewer_too(folder, tmp_path):
    joined = build("mobilenet_v2", output_stride=16, joined=True)
    start_network(joined, str(folder))
    head = load_bundle(folder).network.head[1]
    assert torch.equal(joined.head[1].weight[:, :1280], head.weight)
    assert not joined.head[1].weight[:, 1280:].any()
    save_bundle(bundle_of("mobilenet_v2", stride=16, joined=True), tmp_path)
    assert load_bundle(tmp_path).network.joined
    plain = build("mobilenet_v2")
    start_network(plain, str(tmp_path))
    assert torch.equal(plain.head[1].weight, load_bundle(tmp_path).network.head[1].weight[:, :1280])


def test_the_weights_file_of_a_bundle_stands_for_the_bundle_and_alone_for_nothing(folder, tmp_path):
    assert find_start("mobilenet_v2", str(folder / "model.safetensors")).seen == {"0123456789abcdef"}
    stray = tmp_path / "stray.safetensors"
    shutil.copy(folder / "model.safetensors", stray)
    with pytest.raises(BundleError, match=r"without its bundle\.json"):
        start_network(build("mobilenet_v2"), str(stray))


def test_a_cnn_is_trained_from_scratch_unless_the_bundle_is_a_cnns(folder, tmp_path):
    torch.manual_seed(0)
    network = build("cnn")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start = start_network(network, str(folder))
    assert "scratch" in start.sentence
    assert not start.seen
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    save_bundle(bundle_of("cnn"), tmp_path)
    assert start_network(network, str(tmp_path)).seen == {"0123456789abcdef"}
    assert same(network, load_bundle(tmp_path).network)


def test_mobilenet_cannot_start_from_a_cnn_and_says_what_to_do(tmp_path):
    save_bundle(bundle_of("cnn"), tmp_path)
    with pytest.raises(BundleError, match=r"weights of a cnn.*--models cnn"):
        find_start("mobilenet_v2", str(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(BundleError, match="RUN/mobilenet_v2"):
        find_start("mobilenet_v2", str(tmp_path))


def test_equal_weights_make_equal_sentences_wherever_they_lie_and_others_do_not(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    other = bundle_of("mobilenet_v2")
    with torch.no_grad():
        other.network.head[1].bias += 1
    save_bundle(other, tmp_path / "other")
    sentences = [find_start("mobilenet_v2", str(place)).sentence for place in (folder, tmp_path / "copy", tmp_path / "other")]
    assert sentences[0] == sentences[1] != sentences[2]


def test_ancestors_of_ancestors_are_remembered(folder, tmp_path):
    start = find_start("mobilenet_v2", str(folder))
    child = replace(bundle_of("mobilenet_v2"), training={"ancestor": start.ancestor}, trained_on=start.seen | {"f" * 16})
    save_bundle(child, tmp_path)
    grandchild = find_start("mobilenet_v2", str(tmp_path))
    assert grandchild.seen == {"0123456789abcdef", "f" * 16}
    assert grandchild.ancestor["ancestor"]["images"] == {"cheng": {"glioma": 1}}
    json.dumps(grandchild.ancestor)


def test_bundled_means_the_shipped_model_and_is_called_so(folder, monkeypatch):
    monkeypatch.setattr("tumorscope.models.starting.shipped_folder", lambda: folder)
    network = build("mobilenet_v2")
    start = start_network(network, "bundled")
    assert start.sentence.startswith("the bundled model (mobilenet_v2, recipe ours, weights ")
    assert same(network, load_bundle(folder).network)


def test_an_installation_without_a_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped.resources, "files", lambda package: tmp_path)
    with pytest.raises(BundleError, match=r"no bundled model.*imagenet"):
        shipped.shipped_bundle()
    with pytest.raises(BundleError, match="no bundled model"):
        find_start("cnn", "bundled")


def test_the_shipped_model_is_found_among_the_packages_files(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "bundled")
    monkeypatch.setattr(shipped.resources, "files", lambda package: tmp_path if package == "tumorscope.models" else None)
    assert shipped.shipped_bundle().trained_on == {"0123456789abcdef"}


def test_what_this_package_carries_is_small_and_loads():
    place = shipped.resources.files("tumorscope.models").joinpath("bundled")
    assert sum(path.stat().st_size for path in place.iterdir()) < shipped.MOST_BYTES
    if (place / "bundle.json").is_file():
        assert (place / "CARD.md").is_file()
        assert shipped.shipped_bundle().trained_on
