import socket

import numpy as np
import pytest

from tumorscope.data.unfamiliar import FAR, NEAR, SET_NAMES, UnfamiliarSet, changed, unfamiliar_sets
from tumorscope.data.unfamiliar.sequences import INTENSITIES, sequence
from tumorscope.errors import DataError

SIZE = 64
OF_SCANS = ("inverted", "coloured", "upside down", "turned", "cropped")


def scan(rows=50, columns=40):
    """A bright ellipse with a marked corner, on black."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    pixels = np.where(y**2 + x**2 < 0.7, 90 + 60 * y + 30 * x, 0).astype(np.uint8)
    pixels[10, 10] = 255
    return pixels


def made(seed=0, count=2, names=SET_NAMES):
    return {found.name: found for found in unfamiliar_sets([scan(), scan(60, 60)], seed=seed, count=count, size=SIZE, names=names)}


@pytest.fixture(scope="module")
def sets():
    return made()


def test_every_set_has_its_images_a_sentence_and_a_distance(sets):
    assert tuple(sets) == SET_NAMES
    for found in sets.values():
        assert len(found) == 2
        assert found.made.endswith(".")
        assert found.distance in (FAR, NEAR)
        for image in found.images:
            assert image.dtype == np.uint8
            assert image.shape == (SIZE, SIZE) or found.name in OF_SCANS
    assert {found.distance for found in sets.values()} == {FAR, NEAR}


def test_images_are_no_blanks_but_where_they_are_to_be(sets):
    for name, found in sets.items():
        for image in found.images:
            assert (np.ptp(image) == 0) == (name == "blank")


def test_the_same_seed_makes_the_same_images_alone_or_with_others(sets):
    for name in SET_NAMES:
        again = made(names=[name])[name]
        for one, other in zip(sets[name].images, again.images, strict=True):
            assert np.array_equal(one, other)


def test_another_seed_makes_other_images(sets):
    for name, found in made(seed=1).items():
        if name not in ("inverted", "upside down", "blank", "coloured", "turned"):  # these draw a coin at most
            assert not any(np.array_equal(a, b) for a, b in zip(found.images, sets[name].images, strict=False)), name


def test_no_network_is_asked_for(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(made(seed=2, count=1)) == len(SET_NAMES)


def test_without_scans_the_sets_made_from_them_are_left_out():
    names = ("noise", *OF_SCANS)
    assert [found.name for found in unfamiliar_sets([], seed=0, count=1, names=names)] == ["noise"]


def test_inverting_twice_and_turning_twice_give_the_scan_back():
    rng = np.random.default_rng(0)
    assert np.array_equal(changed.inverted(changed.inverted(scan(), rng), rng), scan())
    assert np.array_equal(changed.upside_down(changed.upside_down(scan(), rng), rng), scan())


def test_a_turned_scan_keeps_all_of_its_head_and_gains_room():
    turned = changed.turned(scan(), np.random.default_rng(0))
    assert turned.shape == (65, 65)  # the diagonal of 50 by 40 is 64.03
    assert (turned > 40).sum() == pytest.approx((scan() > 40).sum(), rel=0.05)


def test_a_cropped_scan_is_a_piece_of_its_middle():
    piece = changed.cropped(scan(100, 200), np.random.default_rng(0))
    assert 30 <= piece.shape[0] <= 45
    assert 60 <= piece.shape[1] <= 90
    assert (piece > 0).mean() > 0.9


def test_false_colours_are_no_rising_function_of_the_scan():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    for seed in range(6):
        assert (np.diff(changed.coloured(ramp, np.random.default_rng(seed))[0].astype(int)) < 0).sum() > 40


def test_fluid_is_bright_in_t2_and_dark_in_flair():
    shares = {}
    for name in ("T2", "FLAIR"):
        images = [sequence(name, np.random.default_rng(seed), SIZE) for seed in range(4)]
        shares[name] = np.mean([(image > 190).mean() for image in images])
    assert shares["T2"] > 2 * shares["FLAIR"]
    assert INTENSITIES["T2"]["fluid"] > INTENSITIES["T2"]["grey"] > INTENSITIES["T2"]["white"]


@pytest.mark.parametrize(
    "given", [{"seed": -1}, {"count": 0}, {"size": 10}, {"names": ["cats"]}], ids=["seed", "count", "size", "names"]
)
def test_arguments_outside_of_what_is_allowed_are_refused(given):
    with pytest.raises(DataError, match="Allowed"):
        unfamiliar_sets([], **{"seed": 0, "count": 1, "size": SIZE, "names": ["noise"], **given})


@pytest.mark.parametrize("images", [(), (np.zeros((3, 3)),), (np.zeros((3, 3, 3), dtype=np.uint8),)])
def test_a_set_needs_grey_images_of_bytes(images):
    with pytest.raises(DataError, match=r"no images|uint8"):
        UnfamiliarSet("x", FAR, "Made.", images)
