"""All sets of unfamiliar images, by name."""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np

from tumorscope.data.unfamiliar import changed, drawn, pictures, sequences
from tumorscope.data.unfamiliar.sets import FAR, NEAR, Distance, UnfamiliarSet
from tumorscope.errors import DataError

_Made = Callable[[np.random.Generator, int], np.ndarray]
_Changed = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_MADE: dict[str, tuple[Distance, str, _Made]] = {
    "photographs": (FAR, "Pieces of the photographs in scikit-learn and matplotlib, in grey.", pictures.photograph),
    "terrain": (FAR, "Pieces of the elevation maps in matplotlib, as grey textures.", pictures.terrain),
    "digits": (FAR, "Handwritten digits of scikit-learn, enlarged.", pictures.digit),
    "noise": (FAR, "Even or Gaussian noise in every pixel.", drawn.noise),
    "smooth noise": (FAR, "Gaussian noise blurred into blobs.", drawn.smooth_noise),
    "blank": (FAR, "One grey level.", drawn.one_level),
    "gradients": (FAR, "Linear and round gradients.", drawn.gradient),
    "text": (FAR, "Lines of words, dark on light or light on dark.", drawn.text),
    "discs": (FAR, "A bright ellipse with smaller ones inside, on black.", drawn.discs),
    "CT": (FAR, "Pieces of three CT slices in pydicom, of a spine and of heads.", pictures.ct),
    "other body parts": (FAR, "Pieces of two MRI slices in pydicom, of an abdomen and of a joint.", pictures.other_body_part),
    "ultrasound": (FAR, "Pieces of two ultrasound pictures in pydicom.", pictures.ultrasound),
    "phantoms": (NEAR, "Slices of the built-in synthetic set.", sequences.phantom),
    **{
        f"synthetic {name}": (
            NEAR,
            f"Synthetic heads on the MNI152 tissue maps, bright and dark as in {name} without contrast agent.",
            partial(sequences.sequence, name),
        )
        for name in sequences.INTENSITIES
    },
    "T1 template": (NEAR, "Slices of the MNI152 T1 template, without skull and contrast agent.", sequences.template),
    "T2 without skull": (
        NEAR,
        "Slices of the MNI152 tissue maps without skull, bright and dark as in T2.",
        partial(sequences.without_skull, "T2"),
    ),
    "plain T1 head": (NEAR, "One sagittal T1 slice in matplotlib, without contrast agent, cut and mirrored.", pictures.plain_head),
}

_OF_SCANS: dict[str, tuple[Distance, str, _Changed]] = {
    "inverted": (FAR, "Scans with black as white.", changed.inverted),
    "coloured": (FAR, "Scans in false colours (jet, hsv, rainbow), turned to grey by luminance.", changed.coloured),
    "upside down": (NEAR, "Scans turned by 180 degrees.", changed.upside_down),
    "turned": (NEAR, "Scans turned by 45 degrees.", changed.turned),
    "cropped": (NEAR, "Pieces from the middle of scans, 30 to 45 % of their sides.", changed.cropped),
}

SETS: Mapping[str, tuple[Distance, str]] = {name: (distance, made) for name, (distance, made, _) in {**_MADE, **_OF_SCANS}.items()}
"""Set to whether it is far or near, and to how it is made, in a sentence."""

SET_NAMES: tuple[str, ...] = tuple(SETS)


def unfamiliar_sets(
    scans: Sequence[np.ndarray], *, seed: int, count: int, size: int = 224, names: Collection[str] = SET_NAMES
) -> tuple[UnfamiliarSet, ...]:
    """Make sets of unfamiliar images.

    Every set has random numbers of its own, so leaving one out changes no other.

    Args:
        scans: Familiar scans that some sets are changed from, uint8, each of shape (rows, columns); none leaves those sets out.
        seed: At least 0; the same arguments give the same pixels.
        count: Images of every set, at least 1. Sets made from scans have one image of each of the first `count` scans, no more.
        size: Rows and columns of the images that are not made from scans, 64 to 1024 pixels.
        names: Of `SET_NAMES`, which to make.

    Raises:
        DataError: An argument is outside of what is allowed, or a package lacks a file.
    """
    unknown = sorted(set(names) - set(SET_NAMES))
    if unknown or seed < 0 or count < 1 or not 64 <= size <= 1024:
        raise DataError(
            f"unfamiliar sets: seed {seed}, {count} images of {size} pixels, names {unknown or 'known'}. Allowed: seed from 0, at "
            f"least 1 image, 64 to 1024 pixels, names {', '.join(SET_NAMES)}."
        )
    sets = [
        UnfamiliarSet(name, distance, made, tuple(make(rng, size) for rng in _generators(name, seed, count)))
        for name, (distance, made, make) in _MADE.items()
        if name in names
    ]
    chosen = scans[:count]
    if len(chosen):
        sets += [
            UnfamiliarSet(name, distance, made, tuple(map(change, chosen, _generators(name, seed, len(chosen)))))
            for name, (distance, made, change) in _OF_SCANS.items()
            if name in names
        ]
    return tuple(sets)


def _generators(name: str, seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, zlib.crc32(name.encode()), number]) for number in range(count)]
