import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tumorscope.apps.console import Reporter
from tumorscope.apps.training_data import training_images
from tumorscope.data.phantom import write_phantom
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.split import split_manifest
from tumorscope.labels import NO_TUMOUR
from tumorscope.training.guidance import Guidance
from tumorscope.training.recipe import load_recipe
from tumorscope.training.train import train

SIZE = Preprocessing(image_size=96)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    manifest = split_manifest(write_phantom(root / "set", patients_per_label=4, slices_per_patient=3, image_size=160))
    return build_pixel_cache(manifest, SIZE, root)


def recipe(share=0.4, *, peak=0.5, cells=1.0):
    base = load_recipe("phantom").changed(epochs=2, image_size=96)
    guided = base.cnn.model_copy(update={"guidance": Guidance(peak=peak, cells=cells), "sizes": ()})
    return base.model_copy(update={"counterfactual_share": share, "cnn": guided})


def test_edited_scans_are_made_of_training_images_alone_and_as_many_as_asked_for(cache, tmp_path):
    images = training_images(cache, recipe(), tmp_path, Reporter())
    training = len(cache.rows("train"))
    assert len(images.edited.manifest) == round(training * 0.4 / 0.6)
    train_groups = {record.group for record in cache.manifest if record.split == "train"}
    assert {record.group for record in images.edited.manifest} <= train_groups
    shown = np.any(images.edited_masks, axis=(1, 2))
    labels = [record.label for record in images.edited.manifest]
    assert all(label == NO_TUMOUR for label, mask in zip(labels, shown, strict=True) if not mask)
    assert sum(shown) > 0.9 * sum(label != NO_TUMOUR for label in labels)
    assert images.outlined > len(cache.rows("train")) / 2


def test_making_them_again_gives_the_same_ones(cache, tmp_path):
    first, again = (training_images(cache, recipe(), tmp_path / name, Reporter()) for name in "ab")
    np.testing.assert_array_equal(first.edited.grids, again.edited.grids)
    np.testing.assert_array_equal(first.edited_masks, again.edited_masks)


def test_without_outlines_there_is_nothing_to_guide_and_the_user_is_told(cache, tmp_path, capsys):
    bare = cache.with_manifest(cache.manifest.with_records(replace(record, mask="") for record in cache.manifest))
    images = training_images(bare, recipe(), tmp_path, Reporter())
    assert images.masks is None
    assert images.edited is None
    assert "No training image has a tumour outline" in capsys.readouterr().err


def test_recipe_that_does_not_ask_gets_the_images_alone(cache, tmp_path):
    images = training_images(cache, recipe(share=0.0, peak=0.0, cells=0.0), tmp_path, Reporter())
    assert images.masks is None
    assert list(tmp_path.iterdir()) == []


def test_an_outline_that_cannot_be_read_is_none(cache, tmp_path):
    first = next(row for row, record in enumerate(cache.manifest) if record.mask and record.split == "train")
    records = [replace(record, mask="gone.png") if row == first else record for row, record in enumerate(cache.manifest)]
    images = training_images(cache.with_manifest(cache.manifest.with_records(records)), recipe(), tmp_path, Reporter())
    assert not images.masks[first].any()
    parents = next(tmp_path.rglob("parents.csv")).read_text()
    assert records[first].path not in parents


def test_where_nothing_has_room_tumours_are_erased_instead(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tumorscope.data.counterfactual.making.place_elsewhere", lambda *given, **named: None)
    images = training_images(cache, recipe(), tmp_path, Reporter())
    kinds = {flag for record in images.edited.manifest for flag in record.flags}
    assert {"erased", "transplanted"} <= kinds
    assert kinds.isdisjoint({"erased_elsewhere", "transplanted_healthy"})
    assert re.search(r"made of them: \d+ erased, \d+ transplanted\.", capsys.readouterr().err)


def test_an_outline_corrected_in_place_is_drawn_anew(cache, tmp_path):
    first = next(row for row, record in enumerate(cache.manifest) if record.mask and record.split == "train")
    mask = tmp_path / "mask.png"
    records = [replace(record, mask=str(mask)) if row == first else record for row, record in enumerate(cache.manifest)]
    marked = cache.with_manifest(cache.manifest.with_records(records))
    Image.fromarray(np.zeros((160, 160), dtype=np.uint8)).save(mask)
    before = training_images(marked, recipe(), tmp_path, Reporter())
    Image.fromarray(np.pad(np.full((60, 60), 255, dtype=np.uint8), 50)).save(mask)
    after = training_images(marked, recipe(), tmp_path, Reporter())
    assert [images.masks[first].any() for images in (before, after)] == [False, True]
    assert before.edited.manifest.root != after.edited.manifest.root


def test_guided_network_is_trained_and_remembers_only_true_images(cache, tmp_path):
    images = training_images(cache, recipe(), tmp_path, Reporter())
    bundle = train(images, recipe(), name="cnn", init="none", folder=tmp_path / "model")
    plain = train(images, recipe(peak=0.0, cells=0.0), name="cnn", init="none", folder=tmp_path / "plain")
    assert bundle.training["epochs"] == 2
    held = [record for record in cache.manifest if record.split != "test"]
    assert len(bundle.trained_on) == len({record.sha256[:16] for record in held})
    assert any(not np.array_equal(a, b) for a, b in zip(*(x.network.state_dict().values() for x in (bundle, plain)), strict=True))
