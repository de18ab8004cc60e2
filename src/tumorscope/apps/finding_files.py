"""What is written beside an output for single scans: raw maps, overlays, pages."""

import hashlib
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tumorscope.finding import Finding
from tumorscope.storage import write_atomically
from tumorscope.streaming import FileAnswer


@dataclass(frozen=True, slots=True)
class FindingFiles:
    """Which files are written for every scan.

    Attributes:
        folder: Where; its name stands in the records.
        heatmaps: `overlay` for PNG files, `raw` for NPY files with float32 on the scan's grid, or None.
        pages: Whether each scan gets a page.
    """

    folder: Path
    heatmaps: str | None
    pages: bool

    @property
    def any(self) -> bool:
        """Whether anything is written at all."""
        return self.heatmaps is not None or self.pages

    def write(self, answer: FileAnswer) -> FileAnswer:
        """Write the files of an answer's findings, which then name them; raises OutputError where that is not possible."""
        return replace(answer, findings=tuple(map(self._written, answer.findings))) if self.any else answer

    def _written(self, finding: Finding) -> Finding:
        name = _file_name(finding.path)
        names: dict[str, str] = {}
        if self.heatmaps is not None:
            names[self.heatmaps] = f"{name}.{'png' if self.heatmaps == 'overlay' else 'npy'}"
        if self.pages:
            names["page"] = f"{name}.html"
        named = replace(finding, files={kind: f"{self.folder.name}/{file}" for kind, file in names.items()})
        for kind, file in names.items():
            write_atomically(self.folder / file, _content(named, kind), sync=False)
        return named


def _content(finding: Finding, kind: str) -> bytes | str:
    heatmap = finding.heatmap
    if kind == "page":
        from tumorscope.reporting.finding_page import finding_page

        return finding_page(finding)
    assert heatmap.values is not None
    if kind == "raw":
        stream = io.BytesIO()
        np.save(stream, heatmap.values)
        return stream.getvalue()
    from tumorscope.overlay import overlay_png

    assert heatmap.picture is not None
    return overlay_png(heatmap.picture, heatmap.values)


def _file_name(path: str) -> str:
    """A name that says which scan it is, and that no other scan of any folder has."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(path).name)[:80]}-{digest}"
