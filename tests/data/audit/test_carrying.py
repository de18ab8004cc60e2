from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tumorscope.data.audit.audit import outside_of
from tumorscope.data.audit.carrying import (
    CARRIED,
    CARRIED_MASK,
    OTHER_LABEL,
    OUTSIDE,
    UNLIKE,
    UNREADABLE,
    carry_outlines,
    with_carried,
)
from tumorscope.data.audit.frames import TRANSFORMS, frame, transformed
from tumorscope.data.audit.twins import TWIN, Pairs, find_pairs
from tumorscope.data.decode import decode_file, draw_outlines, read_mask
from tumorscope.data.outlines import write_outlines
from tumorscope.manifest import Manifest, Record

TUMOUR = np.array([(120.0, 60.0), (150.0, 75.0), (158.0, 110.0), (130.0, 125.0), (112.0, 90.0)])
"""As no flip or turn of it is."""

OUTLINE = write_outlines([TUMOUR])


def stored(folder, pictures, *, label="glioma", mask=""):
    """A set of PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.png"
        Image.fromarray(np.ascontiguousarray(picture)).save(path)
        records.append(Record(path=path.name, label=label, sha256=decode_file(path).sha256, mask=mask))
    return Manifest(folder, tuple(records))


def pairs_within(manifest):
    frames = np.stack([frame(decode_file(manifest.locate(record.path)).pixels) for record in manifest])
    return find_pairs(frames, [record.sha256 for record in manifest])


def carry(manifest, other):
    return carry_outlines(manifest, other, between=outside_of(manifest, other)[2], within=pairs_within(manifest))


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def twin_mask(transform, shape, *, margin):
    """The true mask of an edited slice of 224 pixels: cut, turned and scaled as the slice was."""
    mask = draw_outlines(OUTLINE, (224, 224), where="truth")[margin : 224 - margin, margin : 224 - margin]
    turned = np.ascontiguousarray(transformed(mask, transform)).astype(np.float32)
    return cv2.resize(turned, shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5


@pytest.mark.parametrize("transform", range(len(TRANSFORMS)))
def test_an_outline_lies_on_the_twin_where_the_tumour_does(slices, edited, tmp_path, transform):
    scale, margin = (0.55 + 0.06 * transform, 2 * transform)
    twin = edited(slices[2], transform=transform, scale=scale, margin=margin, gamma=0.7 + 0.1 * transform, quality=50)
    ours, other = stored(tmp_path / "ours", [slices[0], twin]), stored(tmp_path / "other", slices, mask=OUTLINE)
    copied, carried = carry(ours, other)
    assert (copied.row, copied.other, copied.outcome, copied.mask, copied.correlation) == (0, "0.png", CARRIED, OUTLINE, 1.0)
    assert (carried.row, carried.other, carried.outcome) == (1, "2.png", CARRIED)
    assert carried.transform == transform
    drawn = draw_outlines(carried.mask, twin.shape, where="carried")
    assert iou(drawn, twin_mask(transform, twin.shape, margin=margin)) > 0.93


def test_a_mask_that_is_a_picture_is_traced(slices, edited, tmp_path):
    mask = draw_outlines(OUTLINE, (224, 224), where="mask")
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    ours = stored(tmp_path / "ours", [edited(slices[1], transform=3)])
    (carried,) = carry(ours, stored(tmp_path / "other", slices[:3], mask="../mask.png"))
    assert iou(draw_outlines(carried.mask, (224, 224), where="carried"), transformed(mask, 3)) > 0.95


def test_the_manifest_gets_the_outline_a_flag_and_a_note_and_can_be_read(slices, edited, tmp_path):
    ours = stored(tmp_path / "ours", [edited(slices[1], scale=0.5), slices[9]])
    carried = carry(ours, stored(tmp_path / "other", slices[:3], mask=OUTLINE))
    filled = with_carried(ours, carried, name="other")
    assert [record.flags for record in filled] == [(CARRIED_MASK,), ()]
    assert read_mask(filled, filled.records[0], (112, 112)).sum() == pytest.approx(
        draw_outlines(OUTLINE, (224, 224), where="whole").sum() / 4, rel=0.05
    )
    assert filled.records[1] == ours.records[1]
    assert "1 images" in filled.notes[-1]
    assert "other" in filled.notes[-1]


def test_no_outline_for_an_image_without_tumour_and_none_from_one(slices, tmp_path):
    other = stored(tmp_path / "other", slices[:3], mask=OUTLINE)
    (carried,) = carry(stored(tmp_path / "none", slices[:1], label="notumor"), other)
    assert (carried.outcome, carried.mask, carried.correlation) == (OTHER_LABEL, "", None)
    without = stored(tmp_path / "without", slices[:3], mask=OUTLINE, label="notumor")
    assert carry(stored(tmp_path / "some", slices[:1]), without) == ()


def test_none_from_a_twin_with_another_label_but_from_one_with_the_same(slices, edited, tmp_path):
    ours = stored(tmp_path / "ours", slices[:1], label="pituitary")
    twins = stored(tmp_path / "other", [edited(slices[0], quality=95), edited(slices[0], transform=4)], mask=OUTLINE)
    assert [one.outcome for one in carry(ours, twins)] == [OTHER_LABEL]
    mixed = twins.with_records([twins.records[0], replace(twins.records[1], label="pituitary")])
    assert [(one.outcome, one.other) for one in carry(ours, mixed)] == [(CARRIED, "1.png")]


def test_a_tumour_of_unstated_type_may_be_any(slices, tmp_path):
    ours = stored(tmp_path / "ours", slices[:1], label="tumour")
    assert [one.outcome for one in carry(ours, stored(tmp_path / "other", slices[:2], mask=OUTLINE))] == [CARRIED]


def test_of_several_twins_the_best_correlated_one_gives(slices, edited, tmp_path):
    poor, good = edited(slices[0], scale=0.4, quality=30, gamma=1.4), edited(slices[0], transform=4, quality=95)
    other = stored(tmp_path / "other", [poor, good], mask=OUTLINE)
    assert [one.other for one in carry(stored(tmp_path / "ours", slices[:1]), other)] == ["1.png"]


def test_an_image_with_a_mask_keeps_it_and_one_without_a_twin_gets_none(slices, tmp_path):
    ours = stored(tmp_path / "ours", slices[:2])
    ours = ours.with_records([replace(ours.records[0], mask="1,1 5,1 3,4"), ours.records[1]])
    assert carry(ours, stored(tmp_path / "other", slices[:1], mask=OUTLINE)) == ()


def test_a_pair_that_cannot_be_aligned_gives_nothing(slices, tmp_path):
    ours, other = stored(tmp_path / "ours", slices[:1]), stored(tmp_path / "other", slices[1:2], mask=OUTLINE)
    claimed = Pairs(np.array([0]), np.array([1]), np.array([1], np.int8), np.array([0], np.int8), np.array([1], np.float32))
    (carried,) = carry_outlines(ours, other, between=claimed, within=pairs_within(ours))
    assert (carried.outcome, carried.mask) == (UNLIKE, "")
    assert with_carried(ours, [carried], name="other") == ours


def test_what_a_picture_shows_of_a_tumour_is_carried_and_nothing_of_one_outside(slices, edited, tmp_path):
    ours = stored(tmp_path / "ours", [edited(slices[4], margin=30)])
    partly = write_outlines([np.array([(150.0, 10.0), (170.0, 10.0), (170.0, 60.0), (150.0, 60.0)])])
    outside = write_outlines([np.array([(5.0, 10.0), (20.0, 10.0), (20.0, 20.0)])])
    (cut,) = carry(ours, stored(tmp_path / "partly", slices, mask=f"{partly} | {outside}"))
    assert "|" not in cut.mask
    drawn = draw_outlines(cut.mask, (164, 164), where="cut")
    truth = np.zeros((164, 164), dtype=bool)
    truth[:30, 120:140] = True
    assert iou(drawn, truth) > 0.9
    (none,) = carry(ours, stored(tmp_path / "outside", slices, mask=outside))
    assert (none.outcome, none.mask) == (OUTSIDE, "")


def test_a_mask_that_cannot_be_read_costs_its_image_the_outline_and_nothing_else(slices, edited, tmp_path):
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(tmp_path / "small.png")
    ours = stored(tmp_path / "ours", slices[:2])
    other = stored(tmp_path / "other", [slices[0], slices[1], edited(slices[1], scale=0.6)], mask=OUTLINE)
    broken = [replace(record, mask="../small.png") for record in other.records[:2]]
    found = carry(ours, other.with_records([*broken, other.records[2]]))
    assert [(one.outcome, one.other) for one in found] == [(UNREADABLE, "0.png"), (CARRIED, "2.png")]


def test_a_twin_of_a_copy_gets_the_outline_too(slices, edited, tmp_path):
    turned = edited(slices[0], transform=1, quality=90)
    ours = stored(tmp_path / "ours", [slices[0], turned, turned])
    other = stored(tmp_path / "other", slices[:1], mask=OUTLINE)
    between = outside_of(ours, other)[2]
    assert len(between) == 1
    found = carry_outlines(ours, other, between=between, within=pairs_within(ours))
    assert [(one.outcome, one.transform) for one in found] == [(CARRIED, 0), (CARRIED, 1), (CARRIED, 1)]
    truth = transformed(draw_outlines(OUTLINE, (224, 224), where="truth"), 1)
    assert iou(draw_outlines(found[2].mask, (224, 224), where="carried"), truth) > 0.95


def test_a_twin_of_a_twin_is_turned_by_both(slices, edited, tmp_path):
    ours = stored(tmp_path / "ours", [edited(slices[0], transform=1, quality=95), edited(slices[0], transform=4, quality=95)])
    other = stored(tmp_path / "other", [edited(slices[0], transform=6)], mask=OUTLINE)
    between, within = outside_of(ours, other)[2], pairs_within(ours).of_kind(TWIN)
    direct = carry_outlines(ours, other, between=between, within=within)
    for kept in (0, 1):
        by_twin = carry_outlines(ours, other, between=between.where(between.a == kept), within=within)
        assert [one.transform for one in by_twin] == [one.transform for one in direct]
        assert [one.mask for one in by_twin] == [one.mask for one in direct]
