"""One image as a file: what is odd about it, judged without looking at its anatomy."""

from dataclasses import dataclass

from tumorscope.data.audit.appearance import Appearance, appearance
from tumorscope.data.audit.frames import Framed, framed
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.stored import Stored, read_stored
from tumorscope.manifest import Manifest, Record
from tumorscope.scan import Scan

BLANK, UNIFORM, TINY = "blank", "uniform", "tiny"
COLOUR, OVERLAY, TEXT, NOT_BRAIN_MRI = "colour", "overlay", "text", "not_brain_mri"
FILE_FLAGS = (BLANK, UNIFORM, TINY, COLOUR, OVERLAY, TEXT, NOT_BRAIN_MRI)
"""What may be odd about an image that can be decoded; what cannot be decoded is in `Manifest.broken`, with its fault."""

_TINY_SIDE = 64
_UNIFORM_STD = 6.0
_UNIFORM_SHARE = 0.98
_OVERLAY_SHARE = 0.0005
COLOUR_SHARE = 0.1
"""Share of clearly coloured pixels from which on a picture is one in colour and not a scan with a mark on it."""

# Words reach 3 to 22; outlines, ghosts and noise up to 2.5 in 11,784 scans of four collections.
_TEXT_CROSSINGS = 2.75
# Set so that one real scan in a thousand is warned of. Photographs have bright corners; gradients and blobs are smooth; pages of
# text and noise are rough; drawings have few grey levels.
_LEAST_DARK_SURROUND = 0.5
_LEAST_OUTLINE_FIT = 0.45
_ROUGHNESS = (0.17, 2.0)
_FEWEST_LEVELS = 32


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of an image as a file.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        stored: Format, mode, size, compression and colour.
        look: Grey levels, surround, lettering and traces of compression.
    """

    rows: int
    columns: int
    stored: Stored
    look: Appearance

    @property
    def flags(self) -> tuple[str, ...]:
        """What is odd about the image: sorted words of `FILE_FLAGS`."""
        return file_flags(self)


def file_facts(manifest: Manifest, record: Record, scan: Scan, *, content: Framed | None = None) -> FileFacts:
    """Return what is known of the image of a record as a file.

    Args:
        manifest: Tells where the record's file lies.
        record: One of its records.
        scan: The record's image, decoded.
        content: `framed` of it, where that is known already.

    Raises:
        DecodeError: The file has vanished or changed since it was decoded.
    """
    rows, columns = scan.shape
    pixels = Preprocessing().eight_bit(scan.pixels)
    look = appearance(pixels, framed(pixels) if content is None else content)
    return FileFacts(rows, columns, read_stored(manifest, record, scan), look)


def file_flags(facts: FileFacts) -> tuple[str, ...]:
    """Return what is odd about an image: sorted words of `FILE_FLAGS`."""
    colour = facts.stored.colour_share
    found = {
        TINY: min(facts.rows, facts.columns) < _TINY_SIDE,
        COLOUR: colour >= COLOUR_SHARE,
        OVERLAY: _OVERLAY_SHARE <= colour < COLOUR_SHARE,
    }
    return tuple(sorted((*(flag for flag, true in found.items() if true), *picture_flags(facts.look))))


def picture_flags(look: Appearance) -> tuple[str, ...]:
    """Return what is odd about a picture, whatever file it came from: `BLANK`, `UNIFORM`, `TEXT` or `NOT_BRAIN_MRI`, sorted."""
    found = {
        BLANK: look.levels == 1,
        UNIFORM: look.levels > 1 and _is_uniform(look),
        TEXT: look.lettering >= _TEXT_CROSSINGS,
        NOT_BRAIN_MRI: not _is_uniform(look) and not _resembles_a_head(look),
    }
    return tuple(sorted(flag for flag, true in found.items() if true))


def _is_uniform(look: Appearance) -> bool:
    return look.std < _UNIFORM_STD or look.top_level_share > _UNIFORM_SHARE


def _resembles_a_head(look: Appearance) -> bool:
    return (
        look.dark_surround >= _LEAST_DARK_SURROUND
        and look.outline_fit >= _LEAST_OUTLINE_FIT
        and _ROUGHNESS[0] <= look.roughness <= _ROUGHNESS[1]
        and look.levels >= _FEWEST_LEVELS
    )
