import json

import numpy as np
import pytest

from tumorscope.explanation.content import read_images, tables_of, write_images
from tumorscope.explanation.summary import OWN, MeasuredImage, mean_cells, metric_table


def image(number, label="glioma", *, predicted=None, share=0.01, plane="axial", group="", **measures):
    own = {name: value for name, value in measures.items() if name != "others"}
    return MeasuredImage(
        path=f"{number}.png",
        label=label,
        predicted=predicted or label,
        confidence=0.9,
        group=group,
        plane=plane,
        mask_share=share,
        measures={OWN: own, **measures.get("others", {})},
    )


def test_a_table_holds_the_mean_of_every_part():
    images = [
        image(0, pointing_game=1.0, share=0.001),
        image(1, pointing_game=0.0, share=0.03, plane="sagittal"),
        image(2, "pituitary", predicted="notumor", pointing_game=1.0),
        image(3, "notumor", share=None),
    ]
    found = metric_table(images, "pointing_game")
    assert found["value"] == pytest.approx(2 / 3)
    assert found["n"] == 3
    assert found["per_class"]["glioma"]["value"] == 0.5
    assert set(found["per_class"]) == {"glioma", "pituitary"}
    assert found["per_plane"]["sagittal"] == {"value": 0.0, "interval": pytest.approx([0, 0.975]), "n": 1}
    assert {size: cell["n"] for size, cell in found["per_size"].items()} == {"small": 1, "medium": 1, "large": 1}
    assert (found["correct"]["n"], found["incorrect"]["n"]) == (2, 1)


def test_what_stands_beside_a_map_is_a_baseline_or_a_method():
    others = {"edges": {"dice": 0.2}, "layer_cam": {"dice": 0.6}}
    found = metric_table([image(0, dice=0.5, others=others), image(1, dice=0.3, others=others)], "dice", methods=["layer_cam"])
    assert {name: cell["value"] for name, cell in found["baselines"].items()} == {"edges": 0.2}
    assert {name: cell["value"] for name, cell in found["methods"].items()} == {"layer_cam": 0.6}


def test_a_measure_that_no_image_has_has_no_table():
    assert metric_table([image(0, share=None)], "pointing_game") is None


def test_intervals_count_patients_and_not_their_slices():
    rng = np.random.default_rng(0)
    hit = rng.random(12) < 0.5
    slices = [image(n, pointing_game=float(hit[n // 20]), group=f"patient-{n // 20}") for n in range(240)]
    alone = [image(n, pointing_game=float(hit[n // 20])) for n in range(240)]
    wide, narrow = (np.ptp(metric_table(rows, "pointing_game")["interval"]) for rows in (slices, alone))
    assert wide > 3 * narrow


def test_rows_of_several_measures_are_averaged_where_they_have_one():
    cells = mean_cells([{"a": 1.0, "b": None}, {"a": 0.0, "b": 0.5}], ["", ""])
    assert cells["a"]["value"] == 0.5
    assert cells["b"]["value"] == 0.5
    assert cells["b"]["n"] == 1


def test_images_come_back_from_their_table_and_give_the_same_numbers(tmp_path):
    images = (
        image(0, pointing_game=1.0, entropy=0.123456789012345, others={"edges": {"pointing_game": 0.0}}, group="p"),
        image(1, "notumor", share=None, plane="", entropy=0.5),
    )
    write_images(images, tmp_path / "images.csv")
    back = read_images(tmp_path / "images.csv")
    assert json.dumps(tables_of(back)) == json.dumps(tables_of(images))
    assert back[1].plane == ""
    assert back[0].measures["edges"] == {"pointing_game": 0.0}
