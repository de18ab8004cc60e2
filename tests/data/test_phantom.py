"""The synthetic set: what it draws, what it writes, and that nothing but the lesion tells the label."""

import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes, gaussian_filter

from tumorscope.data.decode import decode_file
from tumorscope.data.phantom import (
    MIN_TUMOUR_MM2,
    PLANES,
    SYNTHETIC_NOTICE,
    PhantomSlice,
    patient,
    phantom_patient,
    write_phantom,
    writing,
)
from tumorscope.data.phantom.atlas import ellipsoid_distance, load_atlas, smooth_minimum
from tumorscope.data.phantom.head import draw_head
from tumorscope.data.phantom.lesions import SELLA_MM, Lesion, draw_lesion
from tumorscope.data.phantom.other_scanner import by_other_scanner
from tumorscope.data.phantom.scanner import Scanner, draw_scanner
from tumorscope.errors import DataError, OutputError
from tumorscope.labels import LABELS, NO_TUMOUR, TUMOUR_LABELS
from tumorscope.manifest import Manifest

SIZE = 96
WIDEST_MM = 262
SMALL = {"patients_per_label": 3, "slices_per_patient": 2, "image_size": 64}


@cache
def drawn(label: str, number: int, with_tumour: bool = True) -> tuple[PhantomSlice, ...]:
    return phantom_patient(label, seed=5, number=number, slices=2, image_size=SIZE, with_tumour=with_tumour)


def some_patients(label: str) -> list[tuple[PhantomSlice, ...]]:
    return [drawn(label, number) for number in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "set", **SMALL)


# One patient.


@pytest.mark.parametrize("label", LABELS)
def test_the_same_seed_draws_the_same_patient(label):
    first, again = (phantom_patient(label, seed=3, number=1, slices=2, image_size=64) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, two.pixels)
        assert np.array_equal(one.mask, two.mask)


def test_another_seed_number_or_label_draws_another_patient():
    images = [
        phantom_patient(label, seed=seed, number=number, slices=1, image_size=64)[0].pixels.tobytes()
        for label, seed, number in (("glioma", 3, 0), ("glioma", 4, 0), ("glioma", 3, 3), ("pituitary", 3, 0), ("notumor", 3, 0))
    ]
    assert len(set(images)) == 5


def test_every_label_comes_in_every_plane():
    seen = {(one.label, one.plane) for label in LABELS for slices in some_patients(label) for one in slices}
    assert seen == {(label, plane) for label in LABELS for plane in PLANES}


def test_slices_are_read_only_grey_squares_that_name_their_patient():
    one = drawn("meningioma", 4)[0]
    assert (one.pixels.shape, one.pixels.dtype) == ((SIZE, SIZE), np.uint8)
    assert (one.mask.shape, one.mask.dtype) == ((SIZE, SIZE), np.bool_)
    assert not one.pixels.flags.writeable
    assert not one.mask.flags.writeable
    assert one.group == "phantom-meningioma-004"


@pytest.mark.parametrize("label", TUMOUR_LABELS)
def test_every_slice_of_a_tumour_patient_shows_enough_tumour(label):
    fewest_pixels = MIN_TUMOUR_MM2 / (WIDEST_MM / SIZE) ** 2
    assert min(one.mask.sum() for slices in some_patients(label) for one in slices) >= fewest_pixels


def test_healthy_slices_have_an_empty_mask():
    assert not any(one.mask.any() for slices in some_patients(NO_TUMOUR) for one in slices)


@pytest.mark.parametrize("label", TUMOUR_LABELS)
def test_tumours_lie_inside_the_head(label):
    for slices in some_patients(label):
        for one in slices:
            head = binary_fill_holes(gaussian_filter(one.pixels.astype(float), 1) > 30)
            assert head[one.mask].all()
            assert not head.all()


@pytest.mark.parametrize("label", TUMOUR_LABELS)
def test_erasing_the_tumour_changes_the_masked_pixels_and_spares_what_is_far(label):
    inside, far = [], []
    for number in range(6):
        for ill, erased in zip(drawn(label, number), drawn(label, number, with_tumour=False), strict=True):
            assert erased.label == NO_TUMOUR
            assert not erased.mask.any()
            change = np.abs(ill.pixels.astype(int) - erased.pixels)
            inside.append(np.median(change[ill.mask]))
            far.append(change[~binary_dilation(ill.mask, iterations=SIZE // 3)].mean())
    assert min(inside) >= 2
    assert np.median(inside) > 25
    assert max(far) < 0.5


def test_erasing_changes_nothing_in_a_healthy_patient():
    for one, same in zip(drawn(NO_TUMOUR, 2), drawn(NO_TUMOUR, 2, with_tumour=False), strict=True):
        assert np.array_equal(one.pixels, same.pixels)


def test_healthy_heads_are_cut_where_each_kind_of_tumour_would_be(monkeypatch):
    sites = defaultdict(set)

    def recording(label: str, rng: np.random.Generator) -> Lesion:
        sites[plane].add(label)
        return draw_lesion(label, rng)

    monkeypatch.setattr(patient, "draw_lesion", recording)
    for number in range(9):
        plane = PLANES[number % 3]
        phantom_patient(NO_TUMOUR, seed=0, number=number, slices=1, image_size=64)
    assert sites == {plane: set(TUMOUR_LABELS) for plane in PLANES}


@pytest.mark.parametrize(
    ("label", "bad", "message"),
    [
        ("stroke", {}, "unknown label 'stroke'"),
        ("glioma", {"number": -1}, "patient -1"),
        ("glioma", {"slices": 0}, "0 slices"),
        ("glioma", {"image_size": 63}, "63 pixels"),
        ("glioma", {"seed": -1}, "seed -1"),
    ],
)
def test_impossible_patients_are_refused(label, bad, message):
    with pytest.raises(DataError, match=message):
        phantom_patient(label, **({"seed": 0} | bad))


# Where lesions sit.


def lesions(label: str) -> list[Lesion]:
    return [draw_lesion(label, np.random.default_rng([7, number])) for number in range(60)]


def points_inside(lesion: Lesion) -> np.ndarray:
    half = np.arange(-45, 46, 3, dtype=np.float32)
    points = np.stack(np.meshgrid(half, half, half)).reshape(3, -1) + lesion.centre.astype(np.float32)[:, None]
    return points[:, lesion.radius(load_atlas(), points) < 1]


def test_pituitary_tumours_sit_on_the_midline_in_the_sella():
    for lesion in lesions("pituitary"):
        inside = points_inside(lesion)
        assert abs(lesion.centre[0]) < 5
        assert abs(inside[1].mean() - SELLA_MM[1]) < 5
        assert inside[2].min() < SELLA_MM[2] + 4


def test_meningiomas_touch_the_dura_or_the_falx_and_stay_off_the_sella():
    for lesion in lesions("meningioma"):
        inside = points_inside(lesion)
        on_dura = load_atlas().head("depth", inside).max() > -1.5
        on_falx = np.abs(inside[0]).min() < 2
        assert on_dura or on_falx
        assert abs(lesion.centre[0]) + np.linalg.norm(lesion.centre - SELLA_MM) > 25


def test_gliomas_start_deep_in_white_matter():
    atlas = load_atlas()
    for lesion in lesions("glioma"):
        middle = lesion.centre[:, None].astype(np.float32)
        assert atlas.head("depth", middle)[0] < -6
        assert atlas.brain("white", middle)[0] > 0.3


def test_gliomas_are_more_irregular_than_meningiomas():
    assert min(lesion.irregularity for lesion in lesions("glioma")) > max(lesion.irregularity for lesion in lesions("meningioma"))


# The parts.


def test_the_distance_from_a_sphere_is_exact():
    points = np.array([[0, 3, 13], [0, 4, 0], [0, 0, 0]], dtype=np.float32)
    assert ellipsoid_distance(points, (0, 0, 0), (5, 5, 5)) == pytest.approx([-5, 0, 8], abs=1e-5)


def test_a_rounded_union_is_deepest_where_both_surfaces_meet_and_plain_far_from_there():
    near, far = smooth_minimum(np.zeros(1), np.zeros(1), blend_mm=8), smooth_minimum(np.zeros(1), np.full(1, 9.0), blend_mm=8)
    assert near[0] == -2
    assert far[0] == 0


def test_a_head_maps_to_the_template_and_back():
    head = draw_head(np.random.default_rng(1))
    for point in np.array([[0, 3, -33], [50, -40, 20], [-30, 60, 10]], dtype=np.float64):
        assert head.to_template(head.from_template(point)[:, None])[:, 0] == pytest.approx(point, abs=0.05)


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_runs_through_the_point_asked_for_in_whole_pixels(plane):
    scanner = draw_scanner(plane, np.random.default_rng(2), image_size=64)
    points = scanner.points(np.array([10.0, 20.0, 30.0])).reshape(3, 64, 64)
    assert scanner.axes @ scanner.axes.T == pytest.approx(np.eye(3), abs=1e-9)
    assert scanner.axes[2] @ points[:, 5, 50] == pytest.approx(scanner.axes[2] @ [10, 20, 30], abs=1e-3)
    assert np.linalg.norm(points[:, 8, 9] - points[:, 8, 10]) == pytest.approx(scanner.pixel_mm, rel=1e-4)
    assert np.linalg.norm(points[:, 8, 9] - points[:, 9, 9]) == pytest.approx(scanner.pixel_mm, rel=1e-4)


def test_noise_without_signal_has_the_mean_of_a_rayleigh_distribution():
    scanner = Scanner(np.eye(3), np.zeros(3), image_size=256, pixel_mm=1, blur=0.5, gamma=1, noise=0.05, bias=np.zeros(4))
    pixels = scanner.receive(np.zeros((256, 256), dtype=np.float32), np.random.default_rng(0))
    assert pixels.mean() == pytest.approx(255 * 0.05 * np.sqrt(np.pi / 2), rel=0.01)


# The set on disk.


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_set_is_counted_named_and_labelled_synthetic(written):
    assert written.counts("train") == dict.fromkeys(LABELS, 4)
    assert written.counts("test") == dict.fromkeys(LABELS, 2)
    assert written.notes == (SYNTHETIC_NOTICE,)
    assert {record.source for record in written} == {"phantom"}
    for record in written:
        folder = {"train": "Training", "test": "Testing"}[record.split]
        assert record.path.startswith(f"{folder}/{record.label}/")
        assert not Path(record.path).is_absolute()


def test_confounded_scanners_give_away_the_class_and_swapped_ones_mislead(tmp_path):
    small = {"patients_per_label": 2, "slices_per_patient": 1, "image_size": 64}
    plain, confounded, swapped = (
        write_phantom(tmp_path / scanners, scanners=scanners, **small) for scanners in ("one", "confounded", "swapped")
    )
    other = [record.label for record in confounded if record.source == "phantom-other-scanner"]
    assert other == ["notumor"] * 2
    assert sorted({record.label for record in swapped if record.source == "phantom-other-scanner"}) == sorted(TUMOUR_LABELS)
    same = [a.sha256 == b.sha256 for a, b in zip(plain, confounded, strict=True)]
    assert same == [record.label != "notumor" for record in plain]


def test_the_mask_moves_with_the_other_scanners_frame(tmp_path):
    drawn = phantom_patient("meningioma", seed=3, slices=1)[0]
    seen = by_other_scanner(drawn)
    assert seen.mask.sum() == pytest.approx(drawn.mask.sum() * 1.2**2, rel=0.1)
    rows, columns = np.nonzero(drawn.mask)
    middle = (len(drawn.pixels) - 1) / 2
    np.testing.assert_allclose(
        [index.mean() - middle for index in np.nonzero(seen.mask)],
        [1.2 * (rows.mean() - middle), 1.2 * (columns.mean() - middle)],
        atol=1,
    )


def test_patients_do_not_straddle_splits_or_labels(written):
    sides = defaultdict(set)
    for record in written:
        sides[record.group].add((record.split, record.label))
    assert len(sides) == 12
    assert all(len(found) == 1 for found in sides.values())


def test_the_test_split_is_a_fifth_and_covers_planes_and_sites_alike():
    order = writing._Order(patients_per_label=60, slices_per_patient=5, image_size=224, seed=0)
    tests = [number for number in range(60) if order.is_test(number)]
    assert len(tests) == 12
    assert [sum(number % 3 == plane for number in tests) for plane in range(3)] == [4, 4, 4]
    assert {number // 3 % 3 for number in tests} == {0, 1, 2}


def test_files_decode_to_the_digests_and_masks_of_the_patients(written):
    for record in written:
        number, index = (int(part) for part in Path(record.path).stem.split("-")[-2:])
        one = phantom_patient(record.label, seed=0, number=number, slices=2, image_size=64)[index]
        scan = decode_file(written.locate(record.path))
        assert scan.sha256 == record.sha256
        assert np.array_equal(scan.pixels, one.pixels)
        assert bool(record.mask) == (record.label in TUMOUR_LABELS)
        if record.mask:
            assert np.array_equal(decode_file(written.locate(record.mask)).pixels, np.where(one.mask, 255, 0))


def test_every_picture_says_inside_that_it_is_synthetic(written):
    pictures = list(written.root.rglob("*.png"))
    assert len(pictures) == 24 + 18
    for path in pictures:
        with Image.open(path) as image:
            assert image.text == {"Comment": SYNTHETIC_NOTICE}
    assert "Synthetic: Tumorscope phantom, not a patient" in SYNTHETIC_NOTICE


def test_a_second_call_draws_nothing(written, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(writing, "phantom_patient", refuse)
    before = {path: path.stat().st_mtime_ns for path in written.root.rglob("*")}
    assert write_phantom(written.root, **SMALL) == written
    assert {path: path.stat().st_mtime_ns for path in written.root.rglob("*")} == before


def test_an_interrupted_or_damaged_set_is_drawn_again(written, tmp_path):
    arguments = {"patients_per_label": 2, "slices_per_patient": 1, "image_size": 64}
    calls: list[tuple[int, int]] = []
    manifest = write_phantom(tmp_path, **arguments, progress=lambda done, total: calls.append((done, total)))
    whole = contents(tmp_path)
    assert calls == [(done, 8) for done in range(1, 9)]
    assert not any(name.endswith(".part") for name in whole)
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / manifest.records[0].path).write_bytes(b"half")
    assert write_phantom(tmp_path, **arguments) == manifest
    assert contents(tmp_path) == whole
    (tmp_path / manifest.records[0].mask).unlink()
    assert write_phantom(tmp_path, **arguments) == manifest
    assert contents(tmp_path) == whole


def test_no_manifest_stands_while_pictures_are_missing(tmp_path):
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert not (tmp_path / "manifest.csv").exists()
        raise StopError

    with pytest.raises(StopError):
        write_phantom(tmp_path, **SMALL, progress=stop)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_folder_with_other_arguments_is_refused(written):
    with pytest.raises(OutputError, match="other arguments"):
        write_phantom(written.root, **(SMALL | {"image_size": 80}))


def test_a_folder_with_another_data_set_is_refused_and_left_alone(tmp_path):
    (tmp_path / "Training").mkdir()
    with pytest.raises(OutputError, match="already holds Training"):
        write_phantom(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["Training"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        write_phantom(tmp_path / "file" / "set", **SMALL)


def test_one_patient_per_label_is_refused(tmp_path):
    with pytest.raises(DataError, match="At least 2"):
        write_phantom(tmp_path, patients_per_label=1)
    assert not list(tmp_path.iterdir())


def test_importing_the_phantom_loads_no_heavy_library():
    heavy = "{'scipy', 'nilearn', 'nibabel', 'torch', 'matplotlib', 'sklearn'}"
    code = f"import sys, tumorscope.data.phantom; assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
