"""Make the example notebooks: the cells of the files beside this one, executed, with what they show.

    pip install '.[examples]'
    python docs/examples/make.py [NAME ...]

A source is Python in the percent format that editors and jupytext know: `# %%` begins a cell of code, `# %% [markdown]` one of
text, and `# !command` in code is a line for the shell. Every notebook is executed in an empty folder.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tumorscope import __version__
from tumorscope.models.bundle_files import read_bundle_json, short_digest
from tumorscope.models.shipped import shipped_folder

FOLDER = Path(__file__).parent
NAMES = ("one_scan", "many_scans", "own_model")
SHELL = "!"
_TEXT, _CODE = "# %% [markdown]", "# %%"
_QUIET = {"TTY_COMPATIBLE": "0", "NO_COLOR": "1", "COLUMNS": "110", "TERM": "dumb"}
_TIMEOUT_S = 3600


class Cell(NamedTuple):
    """One cell of a notebook: `markdown` or `code`, and what it holds."""

    kind: str
    source: str


def cells_of(text: str) -> list[Cell]:
    """Return the cells of a source file; what stands before the first of them is not shown."""
    cells: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line in (_TEXT, _CODE):
            cells.append(("markdown" if line == _TEXT else "code", []))
        elif cells:
            kind, lines = cells[-1]
            lines.append(line.removeprefix("#").removeprefix(" ") if kind == "markdown" else _shell_line(line))
    return [Cell(kind, "\n".join(lines).strip()) for kind, lines in cells]


def made_from() -> dict[str, str]:
    """Return what the outputs of a notebook depend on, as it is kept in its metadata."""
    return {"version": __version__, "model": short_digest(read_bundle_json(shipped_folder())["weights_sha256"])}


def make(name: str) -> Path:
    """Execute one example and write its notebook; an error in a cell leaves the old one as it is."""
    import nbformat
    from nbclient import NotebookClient

    cells = cells_of((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    notebook = nbformat.v4.new_notebook(cells=[_made_cell(number, cell) for number, cell in enumerate(cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=_TIMEOUT_S,
            startup_timeout=_TIMEOUT_S,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": empty}},
        )
        client.execute(env=_environment())
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata["kernelspec"], "tumorscope": made_from()})
    nbformat.validate(notebook)
    path = FOLDER / f"{name}.ipynb"
    path.write_text(json.dumps(_plain(notebook), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _shell_line(line: str) -> str:
    command = line.removeprefix(f"# {SHELL}")
    return line if command == line else f"{SHELL}{command}"


def _made_cell(number: int, cell: Cell) -> Any:  # noqa: ANN401 - nbformat has no types
    from nbformat import v4

    made = v4.new_markdown_cell(cell.source) if cell.kind == "markdown" else v4.new_code_cell(cell.source)
    made.id = f"cell-{number}"
    return made


def _environment() -> dict[str, str]:
    """Where commands are this Python's own and print as into a file: no bars, no colours."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return {**os.environ, **_QUIET, "PATH": path}


def _plain(notebook: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a notebook as its file has it: text in lines, which a terminal ends with one sign and not two."""
    from nbformat import v4

    content: dict[str, Any] = json.loads(v4.writes_json(notebook).replace("\\r\\n", "\\n"))
    return content


if __name__ == "__main__":
    for wanted in sys.argv[1:] or NAMES:
        print(make(wanted))
