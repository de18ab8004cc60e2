import hashlib

import numpy as np
import pytest

from tumorscope.data.audit.frames import INVERSE, TRANSFORMS, frame
from tumorscope.data.audit.twins import COPY, KINDS, NEIGHBOUR, TWIN, Pairs, find_pairs, find_pairs_between
from tumorscope.errors import ManifestError


def found(pictures):
    return find_pairs(np.stack([frame(p) for p in pictures]), [hashlib.sha256(p.tobytes()).hexdigest() for p in pictures])


def as_set(pairs):
    return {(int(a), int(b), KINDS[kind]) for a, b, kind in zip(pairs.a, pairs.b, pairs.kind, strict=True)}


def test_different_slices_are_no_pairs(slices):
    assert len(found(slices)) == 0


@pytest.mark.parametrize("transform", range(len(TRANSFORMS)))
def test_a_twin_is_found_under_every_flip_and_turn_and_the_transform_is_named(slices, transform, edited):
    pairs = found([*slices, edited(slices[3], transform=transform)])
    assert as_set(pairs) == {(3, 12, TWIN)}
    assert TRANSFORMS[pairs.transform[0]] == TRANSFORMS[transform]


@pytest.mark.parametrize(
    "change",
    [{"quality": 30}, {"scale": 0.5}, {"scale": 2.0}, {"gamma": 0.7}, {"gamma": 1.4}, {"margin": 20}],
    ids=str,
)
def test_a_twin_is_found_after_what_people_do_to_pictures(slices, change, edited):
    assert as_set(found([*slices, edited(slices[5], transform=4, **change)])) == {(5, 12, TWIN)}


def test_the_transform_leads_from_the_first_to_the_second_whichever_was_edited(slices, edited):
    turned = TRANSFORMS.index("turn_90")
    pairs = found([edited(slices[0], transform=turned), *slices])
    assert (int(pairs.a[0]), int(pairs.b[0])) == (0, 1)
    assert pairs.transform[0] == INVERSE[turned]


def test_a_slice_changed_in_part_is_a_neighbour_and_not_a_twin(draw_slice):
    rng = np.random.default_rng(1)
    plain = draw_slice(40).astype(float)
    changed = np.where(plain > 0, plain + 14 * rng.standard_normal((28, 28)).repeat(8, 0).repeat(8, 1), 0)
    pairs = found([plain.astype(np.uint8), changed.clip(0, 255).astype(np.uint8), *(draw_slice(seed) for seed in range(4))])
    assert as_set(pairs) == {(0, 1, NEIGHBOUR)}


def test_copies_are_joined_to_the_first_and_stand_for_their_twins(slices, edited):
    twin = edited(slices[0], transform=4)
    assert as_set(found([slices[0], slices[1], slices[0], twin, slices[0]])) == {(0, 2, COPY), (0, 4, COPY), (0, 3, TWIN)}


def test_flat_pictures_are_copies_at_most():
    pairs = found([np.zeros((64, 64), np.uint8), np.full((64, 64), 9, np.uint8), np.zeros((64, 64), np.uint8)])
    assert as_set(pairs) == {(0, 2, COPY)}


def test_pictures_of_noise_are_no_pairs_even_when_numbered():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (60, 64, 64), dtype=np.uint8)
    numbered = np.arange(59), np.arange(1, 60)
    assert len(find_pairs(frames, [str(row) for row in range(60)], numbered=numbered)) == 0


def test_one_image_has_no_pairs(slices):
    assert len(found(slices[:1])) == 0


def test_between_two_sets_only_pairs_across_are_given(slices, draw_slice, edited):
    other = [edited(slices[2], transform=6), slices[4], draw_slice(99), edited(slices[2], quality=80)]
    pictures = [*slices, *other]
    digests = [hashlib.sha256(p.tobytes()).hexdigest() for p in pictures]
    pairs = find_pairs_between(np.stack([frame(p) for p in pictures]), digests, base=len(slices))
    assert as_set(pairs) == {(2, 12, TWIN), (4, 13, COPY), (2, 15, TWIN)}


def test_a_pair_of_an_image_with_itself_is_refused():
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(ManifestError, match="itself"):
        Pairs(one, one, one.astype(np.int8), one.astype(np.int8), np.ones(1, dtype=np.float32))


def test_less_likeness_makes_neighbours_of_files_numbered_one_after_the_other(draw_slice):
    rng = np.random.default_rng(1)
    plain = draw_slice(40).astype(float)
    changed = np.where(plain > 0, plain + 24 * rng.standard_normal((28, 28)).repeat(8, 0).repeat(8, 1), 0)
    pictures = [plain.astype(np.uint8), changed.clip(0, 255).astype(np.uint8), draw_slice(2)]
    frames = np.stack([frame(picture) for picture in pictures])
    numbered = np.array([0, 1]), np.array([1, 2])
    assert len(find_pairs(frames, ["a", "b", "c"])) == 0
    assert as_set(find_pairs(frames, ["a", "b", "c"], numbered=numbered)) == {(0, 1, NEIGHBOUR)}
