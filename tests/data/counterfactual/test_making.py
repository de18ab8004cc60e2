"""Counterfactual scans come from training images alone, and their labels, masks and parents are true."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.counterfactual import KINDS, SHARES, Counterfactual, counterfactuals, write_counterfactuals
from tumorscope.data.decode import decode_file, decode_record, read_mask
from tumorscope.errors import DataError, ManifestError, SplitError
from tumorscope.manifest import Manifest, Record, read_manifest


@pytest.fixture
def training(tmp_path, head, blob) -> Manifest:
    """Three scans with a tumour from one source, three without from another."""
    records = []
    for number, label in enumerate(("glioma", "meningioma", "pituitary", "notumor", "notumor", "notumor")):
        size = 128 if label == "notumor" else 160
        pixels = head(seed=number, size=size, level=90.0)
        mask = ""
        if label != "notumor":
            tumour = blob(pixels.shape, (70, 100), (10, 8))
            pixels[tumour] = 200
            mask = f"mask-{number}.png"
            Image.fromarray(tumour.astype(np.uint8) * 255).save(tmp_path / mask)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        source = "elsewhere" if label == "notumor" else "here"
        sha256 = decode_file(path).sha256
        records.append(Record(path.name, label, sha256, group=f"patient-{number}", split="train", source=source, mask=mask))
    return Manifest(tmp_path, tuple(records))


@pytest.fixture
def made(training) -> list[Counterfactual]:
    return list(counterfactuals(training, seed=0, count=24))


def test_every_kind_is_made(made):
    assert set(Counter(scan.kind for scan in made)) == set(KINDS)


def test_labels_and_masks_follow_the_kind(made, training):
    labels = {record.path: record.label for record in training}
    for scan in made:
        if scan.kind in ("erased", "transplanted_healthy"):
            assert scan.label == "notumor"
            assert not scan.mask.any()
        else:
            assert scan.label == labels[scan.parents[-1]] != "notumor"
            assert scan.mask.any()


def test_transplants_are_hosts_changed_in_a_small_part(made, training):
    records = {record.path: record for record in training}
    transplanted = [scan for scan in made if scan.kind.startswith("transplanted")]
    for scan in transplanted:
        host = decode_record(training, records[scan.parents[0]]).pixels
        assert records[scan.parents[0]].label == "notumor"
        assert 0 < (host != scan.pixels).mean() < 0.2
    assert transplanted


def test_a_control_leaves_the_tumour_as_it_is(made, training):
    records = {record.path: record for record in training}
    controls = [scan for scan in made if scan.kind == "erased_elsewhere"]
    for scan in controls:
        parent = records[scan.parents[0]]
        before = decode_record(training, parent).pixels
        assert np.array_equal(scan.mask, read_mask(training, parent, before.shape))
        assert np.array_equal(scan.pixels[scan.mask], before[scan.mask])
        assert (scan.pixels != before).any()
    assert controls


def test_the_seed_decides_everything(training, made):
    again = list(counterfactuals(training, seed=0, count=24))
    assert all(np.array_equal(a.pixels, b.pixels) and a.parents == b.parents for a, b in zip(made, again, strict=True))
    other = next(counterfactuals(training, seed=1, count=1))
    assert not np.array_equal(other.pixels, made[0].pixels)


def test_more_scans_begin_with_the_same_ones(training, made):
    first = next(counterfactuals(training, seed=0, count=1))
    assert np.array_equal(first.pixels, made[0].pixels)


def test_only_the_kinds_asked_for_are_made(training):
    assert {scan.kind for scan in counterfactuals(training, seed=0, count=6, shares={"erased": 2})} == {"erased"}


@pytest.mark.parametrize("split", ["test", "validation", ""])
def test_an_image_outside_of_training_is_refused(training, split):
    mixed = training.with_records((*training.records[:-1], replace(training.records[-1], split=split)))
    with pytest.raises(SplitError, match=r"5\.png: in (the \w+|no) split.*training images alone"):
        counterfactuals(mixed, seed=0, count=1)


def test_a_set_without_outlines_is_refused(training):
    with pytest.raises(DataError, match="no training image has a tumour outline"):
        counterfactuals(training.where(lambda record: not record.mask), seed=0, count=1)


def test_a_set_without_healthy_scans_can_only_be_erased_from(training):
    tumours = training.where(lambda record: bool(record.mask))
    with pytest.raises(DataError, match="nothing can be transplanted"):
        counterfactuals(tumours, seed=0, count=1)
    assert next(counterfactuals(tumours, seed=0, count=1, shares={"erased": 1})).kind == "erased"


def test_an_unknown_kind_is_refused(training):
    with pytest.raises(DataError, match="erased, transplanted"):
        counterfactuals(training, seed=0, count=1, shares={"deleted": 1})


def test_a_counterfactual_cannot_contradict_its_label():
    pixels, mask = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=bool)
    with pytest.raises(DataError, match="labelled glioma, but its mask holds 0 pixels"):
        Counterfactual(pixels, mask, "glioma", "transplanted", ("a", "b"))
    with pytest.raises(DataError, match="kind 'other'"):
        Counterfactual(pixels, mask, "notumor", "other", ("a",))


def test_shares_sum_to_one():
    assert sum(SHARES.values()) == pytest.approx(1)


def test_what_is_written_reads_back_with_masks_groups_and_sources(training, tmp_path, made):
    written = write_counterfactuals(training, tmp_path / "cache", seed=0, count=24)
    assert len(written) == 24
    by_path = {record.path: record for record in training}
    for record, scan in zip(written, made, strict=True):
        decoded = decode_record(written, record)
        assert np.array_equal(decoded.pixels, scan.pixels)
        assert decoded.sha256 == record.sha256
        mask = read_mask(written, record, decoded.shape)
        assert np.array_equal(np.zeros_like(scan.mask) if mask is None else mask, scan.mask)
        edited = by_path[scan.parents[0]]
        assert (record.split, record.group, record.source) == ("train", edited.group, edited.source)
        assert record.flags == tuple(sorted(("counterfactual", scan.kind)))


def test_the_second_call_returns_the_first_ones_files(training, tmp_path):
    first = write_counterfactuals(training, tmp_path / "cache", seed=0, count=3)
    done = []
    again = write_counterfactuals(training, tmp_path / "cache", seed=0, count=3, progress=lambda now, total: done.append(now))
    assert again.records == first.records
    assert not done


def test_a_lost_picture_is_made_anew(training, tmp_path):
    first = write_counterfactuals(training, tmp_path / "cache", seed=0, count=3)
    first.locate(first.records[1].path).unlink()
    again = write_counterfactuals(training, tmp_path / "cache", seed=0, count=3)
    assert again.records == first.records
    assert again.locate(again.records[1].path).is_file()


def test_another_seed_or_parent_is_another_folder(training, tmp_path):
    fewer = training.with_records(training.records[1:])
    roots = {
        write_counterfactuals(manifest, tmp_path / "cache", seed=seed, count=1).root
        for manifest, seed in ((training, 0), (training, 1), (fewer, 0))
    }
    assert len(roots) == 3


def test_the_parents_of_every_scan_are_named_beside_them(training, tmp_path):
    written = write_counterfactuals(training, tmp_path / "cache", seed=0, count=4)
    lines = (Path(written.root) / "parents.csv").read_text().splitlines()
    assert lines[0] == "path,edited,donor"
    assert len(lines) == 5
    assert read_manifest(written.root / "manifest.csv").records == written.records


def test_images_without_digest_are_not_stored(training, tmp_path):
    bare = training.with_records(replace(record, sha256="") for record in training)
    with pytest.raises(ManifestError, match="no sha256"):
        write_counterfactuals(bare, tmp_path / "cache", seed=0, count=1)
