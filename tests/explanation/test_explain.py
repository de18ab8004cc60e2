import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tumorscope.data.phantom import write_phantom
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.split import split_manifest
from tumorscope.errors import EvaluationError
from tumorscope.explanation.content import METRICS, content_of
from tumorscope.explanation.examples import pick_by_map
from tumorscope.explanation.explain import DRAWN_AS_USUAL, RANDOM_NETWORK, ExplainChoices, explain
from tumorscope.explanation.localisation import choose_threshold, overlap
from tumorscope.explanation.looking import Looker
from tumorscope.explanation.sampling import sample_of, spread
from tumorscope.explanation.summary import OWN, MeasuredImage
from tumorscope.labels import LABELS
from tumorscope.models.network import build

PREPROCESSING = Preprocessing(image_size=64)
SMALL = ExplainChoices(sample=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> PixelCache:
    """48 phantoms of 64 pixels, two of three with a tumour and its outline."""
    root = tmp_path_factory.mktemp("phantom")
    manifest = split_manifest(write_phantom(root / "set", patients_per_label=4, slices_per_patient=3, image_size=64))
    return build_pixel_cache(manifest, PREPROCESSING, root / "cache")


@pytest.fixture(scope="module")
def looker() -> Looker:
    torch.manual_seed(0)
    return Looker(build("cnn"), PREPROCESSING)


@pytest.fixture(scope="module")
def explanation(cache, looker):
    torch.manual_seed(1)
    return explain(looker, cache, SMALL, other=Looker(build("cnn"), PREPROCESSING))


def with_masks(cache, change):
    """The same images with other masks in the test split."""
    records = [replace(record, mask=change(record)) if record.split == "test" else record for record in cache.manifest]
    return cache.with_manifest(cache.manifest.with_records(records))


def test_every_image_has_its_map_its_peak_and_the_answer_of_the_network(cache, looker, explanation):
    rows = cache.rows("test")
    assert [image.path for image in explanation.images] == [cache.manifest.records[row].path for row in rows]
    grids = np.asarray(cache.grids[rows])
    assert [image.predicted for image in explanation.images] == [LABELS[k] for k in looker.ask(grids).argmax(axis=1)]
    for heatmap, peak in zip(explanation.maps, explanation.peaks, strict=True):
        row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert tuple(peak) == (7.5 + 16 * row, 7.5 + 16 * column)


def test_outlined_images_are_measured_beside_every_baseline_and_the_others_are_not(explanation):
    kinds = {OWN, DRAWN_AS_USUAL, RANDOM_NETWORK, "centred_gaussian", "brightest_region", "edges"}
    for image in explanation.images:
        if image.label == "notumor":
            assert image.mask_share is None
            assert image.measures[OWN].get("pointing_game") is None
        else:
            assert kinds <= set(image.measures)
            assert image.measures["edges"]["pointing_game"] in (0.0, 1.0)
            assert 0 < image.mask_share < 0.5


def test_the_threshold_comes_from_validation_images_alone(cache, looker, explanation):
    rows = [row for row in cache.rows("validation") if cache.manifest.records[row].mask]
    looked = looker.look(np.asarray(cache.grids[rows]))
    placed = [looker.place(heatmap) for heatmap in looked.maps_of(looked.predicted_index)]
    masks = [np.asarray(Image.open(cache.manifest.locate(cache.manifest.records[row].mask))) > 0 for row in rows]
    assert explanation.threshold == {"value": choose_threshold(placed, masks), "chosen_on": "validation", "n": len(rows)}
    image = next(image for image in explanation.images if image.mask_share)
    place = explanation.images.index(image)
    mask = np.asarray(Image.open(cache.manifest.locate(cache.manifest.records[cache.rows("test")[place]].mask))) > 0
    dice, _ = overlap(looker.place(explanation.maps[place]), mask, threshold=explanation.threshold["value"])
    assert image.measures[OWN]["dice"] == pytest.approx(dice)


def test_what_it_says_is_plain_json_with_a_place_for_every_measure(explanation):
    content = json.loads(json.dumps(content_of(explanation, SMALL), allow_nan=False))
    assert set(METRICS) <= set(content)
    assert content["pointing_game"]["n"] == content["with_mask"] == 9
    assert set(content["pointing_game"]["baselines"]) == {
        DRAWN_AS_USUAL,
        RANDOM_NETWORK,
        "centred_gaussian",
        "brightest_region",
        "edges",
    }
    assert set(content["deletion_auc"]["baselines"]) == {"random_order", "centre"}
    assert content["tumour_inpainted_drop"]["baselines"]["elsewhere"]["n"] <= content["tumour_inpainted_drop"]["n"] == 3
    assert content["peak_distance_mm"] is None
    assert len(content["randomisation"]["layers"]) == 5
    assert content["repeatability"]["n"] == 12
    assert content["curves"]["deletion"]["mean"]["map"][0] == pytest.approx(content["curves"]["deletion"]["blurred"]["map"][0])


def test_the_same_seed_measures_the_same(cache, looker, explanation):
    again = explain(looker, cache, SMALL)
    assert again.images == explanation.images
    assert again.randomisation == explanation.randomisation
    assert again.stability == explanation.stability


def test_a_mask_of_another_size_is_named_and_its_image_counts_as_one_without(cache, looker, tmp_path):
    Image.fromarray(np.full((20, 20), 255, dtype=np.uint8)).save(tmp_path / "small.png")
    first = next(record.path for record in cache.manifest if record.split == "test" and record.mask)
    changed = with_masks(cache, lambda record: str(tmp_path / "small.png") if record.path == first else record.mask)
    found = explain(looker, changed, SMALL)
    assert len(found.notes) == 1
    assert "small.png" in found.notes[0]
    assert "(20, 20)" in found.notes[0]
    assert sum(image.mask_share is not None for image in found.images) == 8


def test_an_empty_mask_counts_as_none_and_two_tumours_as_one_place_to_be(cache, looker, tmp_path):
    empty, two = np.zeros((64, 64), dtype=np.uint8), np.zeros((64, 64), dtype=np.uint8)
    two[20:24, 20:24] = two[40:44, 36:40] = 255
    Image.fromarray(empty).save(tmp_path / "empty.png")
    Image.fromarray(two).save(tmp_path / "two.png")
    outlined = [record.path for record in cache.manifest if record.split == "test" and record.mask]
    masks = {outlined[0]: str(tmp_path / "empty.png"), outlined[1]: str(tmp_path / "two.png")}
    found = explain(looker, with_masks(cache, lambda record: masks.get(record.path, "")), SMALL)
    by_path = {image.path: image for image in found.images}
    assert by_path[outlined[0]].mask_share is None
    assert by_path[outlined[1]].mask_share == pytest.approx(32 / 64**2)
    assert by_path[outlined[1]].measures[OWN]["peak_distance_px"] >= 0
    assert found.notes[0].startswith("Masks without any tumour at this resolution: 1;")


def test_images_without_any_outline_are_explained_without_saying_where_the_tumour_is(cache, looker):
    bare = cache.with_manifest(cache.manifest.with_records(replace(record, mask="") for record in cache.manifest))
    content = content_of(explain(looker, bare, SMALL), SMALL)
    assert content["pointing_game"] is None
    assert content["threshold"] is None
    assert content["deletion_auc"]["n"] == 4
    assert content["entropy"]["n"] == 12


def test_a_limit_takes_as_many_of_every_class_and_a_split_without_images_is_refused(cache, looker):
    labels = cache.label_index[spread(cache, "train", 2)]
    assert np.bincount(labels, minlength=4).tolist() == [2, 2, 2, 2]
    nothing = cache.with_manifest(cache.manifest.where(lambda record: record.split != "test"))
    with pytest.raises(EvaluationError, match="no image is in the test split"):
        explain(looker, nothing, SMALL)
    with pytest.raises(EvaluationError, match="preprocessed in another way"):
        explain(Looker(build("cnn"), Preprocessing(image_size=96)), cache, SMALL)


def test_a_sample_looks_like_the_whole():
    labels = ["glioma"] * 60 + ["notumor"] * 30 + ["pituitary"] * 10
    places = sample_of(labels, 20)
    assert len(places) == len(set(places.tolist())) == 20
    assert [sum(labels[place] == label for place in places) for label in ("glioma", "notumor", "pituitary")] == [12, 6, 2]
    assert np.ptp(places[:12]) > 50
    assert sample_of(labels, 500).tolist() == list(range(100))


def test_the_best_the_middle_and_the_worst_are_picked_by_rule():
    inside = [0.1, 0.9, 0.5, 0.3, 0.7]
    images = [
        MeasuredImage(f"{n}.png", "glioma", "glioma", 0.9, mask_share=0.1, measures={OWN: {"energy_inside": share}})
        for n, share in enumerate(inside)
    ]
    assert pick_by_map(images) == (
        (1, "best: 90.0% of the map inside the outline"),
        (2, "median: 50.0% of the map inside the outline"),
        (0, "worst: 10.0% of the map inside the outline"),
    )
    assert [why.split(":")[0] for _, why in pick_by_map(images[:2])] == ["best", "worst"]
    bare = [MeasuredImage(f"{n}.png", "notumor", "notumor", p) for n, p in enumerate((0.6, 0.99, 0.7))]
    assert [place for place, _ in pick_by_map(bare)] == [1, 2, 0]
