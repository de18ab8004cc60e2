"""One synthetic patient: a head, a lesion or none, and the slices that a scanner takes of them."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.phantom.atlas import load_atlas
from tumorscope.data.phantom.head import Head, draw_head, draw_tissue, skin_distance
from tumorscope.data.phantom.lesions import Lesion, draw_lesion
from tumorscope.data.phantom.scanner import PLANES, Scanner, draw_scanner
from tumorscope.errors import DataError
from tumorscope.labels import LABELS, NO_TUMOUR, TUMOUR_LABELS, label_index

MIN_TUMOUR_MM2 = 35.0
"""Smallest area of tumour in any slice of a tumour patient, in square millimetres."""


@dataclass(frozen=True, slots=True, eq=False)
class PhantomSlice:
    """One synthetic slice.

    Attributes:
        pixels: uint8, shape (image_size, image_size), read-only.
        mask: Tumour without oedema, bool, same shape, read-only; all false without a tumour.
        label: One of `LABELS`.
        group: The synthetic patient.
        plane: One of `PLANES`.
    """

    pixels: np.ndarray
    mask: np.ndarray
    label: str
    group: str
    plane: str


def phantom_patient(
    label: str, *, seed: int, number: int = 0, slices: int = 5, image_size: int = 224, with_tumour: bool = True
) -> tuple[PhantomSlice, ...]:
    """Draw the slices of one synthetic patient.

    A healthy patient is cut where a tumour would have been, so neither plane nor position tells tumour from none.

    Args:
        label: One of `LABELS`.
        seed: At least 0; together with `label` and `number` it decides everything.
        number: Which patient of that label, at least 0; the plane is `PLANES[number % 3]`.
        slices: How many, at least 1; side by side through one tumour.
        image_size: Rows and columns, 64 to 1024 pixels.
        with_tumour: False leaves the tumour out of the very same head and slices; the label then is no tumour.

    Raises:
        DataError: An argument is outside of what is allowed.
    """
    check_arguments(label, seed=seed, number=number, slices=slices, image_size=image_size)
    appearance, shape, place = (_generator(label, seed, number, part) for part in range(3))
    plane = PLANES[number % len(PLANES)]
    head, scanner = draw_head(appearance), draw_scanner(plane, appearance, image_size=image_size)
    site = label if label in TUMOUR_LABELS else TUMOUR_LABELS[number // len(PLANES) % len(TUMOUR_LABELS)]
    lesion = draw_lesion(site, shape)
    shows = with_tumour and label in TUMOUR_LABELS
    result = []
    for index, through in enumerate(_positions(head, scanner, lesion, slices=slices, reach=place.uniform(0.45, 0.75))):
        receiver = _generator(label, seed, number, 3 + index)
        pixels, mask = render(head, scanner, lesion if shows else None, through=through, rng=receiver)
        result.append(PhantomSlice(pixels, mask, label if shows else NO_TUMOUR, f"phantom-{label}-{number:03d}", plane))
    return tuple(result)


def check_arguments(label: str, *, seed: int, number: int, slices: int, image_size: int) -> None:
    """Raise DataError when no patient can be drawn from these arguments of `phantom_patient`."""
    if label not in LABELS:
        raise DataError(f"phantom: unknown label {label!r}. Allowed: {', '.join(LABELS)}.")
    if seed < 0 or number < 0 or slices < 1 or not 64 <= image_size <= 1024:
        raise DataError(
            f"phantom: seed {seed}, patient {number}, {slices} slices of {image_size} pixels. "
            "Allowed: seed and patient from 0, at least 1 slice, 64 to 1024 pixels."
        )


def _generator(label: str, seed: int, number: int, part: int) -> np.random.Generator:
    return np.random.default_rng([seed, label_index(label), number, part])


def _positions(head: Head, scanner: Scanner, lesion: Lesion, *, slices: int, reach: float) -> list[np.ndarray]:
    """Return a point of the head in each slice: side by side through the tumour, each with enough of it in view."""
    middle = head.from_template(lesion.centre)
    outermost = reach * lesion.size_mm if slices > 1 else 0.0
    steps = np.linspace(-outermost, outermost, slices)
    return [_with_tumour_in_view(head, scanner, lesion, middle=middle, step_mm=step) for step in steps]


def _with_tumour_in_view(head: Head, scanner: Scanner, lesion: Lesion, *, middle: np.ndarray, step_mm: float) -> np.ndarray:
    """Return a point `step_mm` from the middle of the tumour, or nearer until enough of it is seen."""
    for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
        through: np.ndarray = middle + share * step_mm * scanner.axes[2]
        points = scanner.points(through)
        near = np.abs(points - middle[:, None]).max(axis=0) < 3 * lesion.size_mm
        seen = lesion.count_inside(load_atlas(), head, head.to_template(points[:, near]))
        if seen >= max(1.0, MIN_TUMOUR_MM2 / scanner.pixel_mm**2):
            break
    return through


def render(
    head: Head, scanner: Scanner, lesion: Lesion | None, *, through: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return one slice and what the lesion covers of it.

    Args:
        head: Whose.
        scanner: Which plane, grid and receiver.
        lesion: Or None for a healthy head.
        through: A point of the slice in millimetres, shape (3,).
        rng: Of the receiver's noise.

    Returns:
        Pixels, uint8, and mask, bool, both of shape (image_size, image_size).
    """
    atlas, shape = load_atlas(), (scanner.image_size, scanner.image_size)
    points = scanner.points(through)
    places = head.to_template(points)
    skin_mm = skin_distance(atlas, head, places)
    inside = skin_mm < scanner.pixel_mm
    places, skin_mm = places[:, inside], skin_mm[inside]
    tissue = draw_tissue(atlas, head, places, pushed=lesion.pushed(places) if lesion else places, skin_mm=skin_mm)
    intensity, tumour = lesion.paint(atlas, head, tissue, points=places) if lesion else (tissue.intensity, False)
    signal, mask = np.zeros(inside.size, dtype=np.float32), np.zeros(inside.size, dtype=bool)
    covered = np.clip(0.5 - skin_mm / scanner.pixel_mm, 0, 1)
    signal[inside] = intensity.clip(0) * covered * scanner.gain(points[:, inside])
    mask[inside] = tumour
    pixels, mask = scanner.receive(signal.reshape(shape), rng), mask.reshape(shape)
    pixels.setflags(write=False)
    mask.setflags(write=False)
    return pixels, mask
