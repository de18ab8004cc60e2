"""The page of an audit: what is wrong with a data set, with pictures."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, UNSTATED_TUMOUR, display_name
from tumorscope.overlay import png_address
from tumorscope.reporting.pages import page_environment
from tumorscope.storage import write_atomically

SHOWN_PX = 160
"""Rows of a picture on the page in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureRow:
    """Some scans side by side.

    Attributes:
        pictures: uint8, each of shape (rows, columns), or (rows, columns, 3) where colour is what matters; at least one.
        paths: Image of each, as its manifest spells it.
        caption: What is said about them.
    """

    pictures: tuple[np.ndarray, ...]
    paths: tuple[str, ...]
    caption: str

    def __post_init__(self) -> None:
        if not self.pictures or len(self.pictures) != len(self.paths):
            raise EvaluationError(f"{len(self.pictures)} pictures and {len(self.paths)} paths do not fit together.")
        if any(picture.dtype != np.uint8 or picture.ndim < 2 or picture.shape[2:] not in ((), (3,)) for picture in self.pictures):
            raise EvaluationError(f"{self.paths[0]}: a picture on a page must be uint8 (rows, columns) or (rows, columns, 3).")

    @property
    def address(self) -> str:
        """All pictures in a row as a `data:` address, each as high as `SHOWN_PX`."""
        scaled = [_scaled(picture) for picture in self.pictures]
        if any(picture.ndim == 3 for picture in scaled):
            scaled = [picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1) for picture in scaled]
        gap = np.full((SHOWN_PX, 4, *scaled[0].shape[2:]), 255, dtype=np.uint8)
        joined = np.hstack([part for picture in scaled for part in (picture, gap)][:-1])
        stream = io.BytesIO()
        Image.fromarray(joined).save(stream, "PNG", optimize=True)
        return png_address(stream.getvalue())


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page: a heading, what it means in words, and rows of pictures chosen by a rule that the words name."""

    name: str
    title: str
    words: str
    rows: tuple[PictureRow, ...]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Everything the page of an audit says.

    Attributes:
        source: The data set as the user named it.
        created: When, ISO 8601.
        sentences: What a reader must know, the worst first.
        content: What `audit.json` holds.
        sections: Pairs, contradicting labels and strange files, in pictures.
        synthetic: Whether the images are the built-in phantoms.
    """

    source: str
    created: str
    sentences: tuple[str, ...]
    content: Mapping[str, Any]
    sections: tuple[Section, ...]
    synthetic: bool = False


def write_audit_page(page: AuditPage, path: Path) -> None:
    """Write the page as one HTML file without outside links.

    Raises:
        OutputError: The place cannot be written.
    """
    text = (
        page_environment()
        .get_template("audit_report.html.j2")
        .render(
            page=page,
            labels={label: display_name(label) for label in (*LABELS, UNSTATED_TUMOUR)},
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )
    write_atomically(path, text)


def write_picture_page(title: str, sentences: Sequence[str], sections: Sequence[Section], path: Path) -> None:
    """Write sections of pictures alone as one HTML file without outside links.

    Raises:
        OutputError: The place cannot be written.
    """
    template = page_environment().get_template("pictures.html.j2")
    text = template.render(title=title, sentences=sentences, sections=sections, disclaimer=DISCLAIMER, version=__version__)
    write_atomically(path, text)


def _scaled(picture: np.ndarray) -> np.ndarray:
    width = max(1, min(3 * SHOWN_PX, round(picture.shape[1] * SHOWN_PX / picture.shape[0])))
    return np.asarray(Image.fromarray(picture).resize((width, SHOWN_PX), Image.Resampling.BICUBIC))
