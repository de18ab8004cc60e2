"""What the audit keeps of an image once it is decoded; taken while a set is indexed, nothing is decoded a second time."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.audit.files import FileFacts, file_facts
from tumorscope.data.audit.frames import framed
from tumorscope.data.decode import decode_record
from tumorscope.data.preprocess import Preprocessing
from tumorscope.manifest import Manifest, Record
from tumorscope.scan import Scan


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the audit keeps of one image.

    Attributes:
        frame: Its content, uint8, shape (FRAME_SIZE, FRAME_SIZE).
        facts: What it is as a file.
    """

    frame: np.ndarray
    facts: FileFacts


class Looks:
    """Looks at the images of a set, taken ahead where somebody decodes them anyway, else when they are asked for."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Look] = {}

    def take(self, manifest: Manifest, record: Record, scan: Scan) -> None:
        """Look at an image of a set; fit to be called by `index_source` for every one, from several threads.

        Raises:
            DecodeError: The file has vanished or changed since it was decoded.
        """
        self._taken[record.path, record.sha256] = _look(manifest, record, scan)

    def give(self, manifest: Manifest, record: Record) -> Look:
        """Return the look at an image and forget it; without one the image is decoded now.

        Raises:
            DecodeError: As `decode_record`.
        """
        taken = self._taken.pop((record.path, record.sha256), None)
        return _look(manifest, record, decode_record(manifest, record)) if taken is None else taken


def _look(manifest: Manifest, record: Record, scan: Scan) -> Look:
    content = framed(Preprocessing().eight_bit(scan.pixels))
    return Look(content.frame, file_facts(manifest, record, scan, content=content))
