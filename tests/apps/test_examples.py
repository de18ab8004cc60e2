"""The notebooks of `docs/examples` do what they show. Their cells run here without Jupyter; `make examples` makes them anew."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from command_line import invoke

from tumorscope import DISCLAIMER

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("one_scan", "many_scans", "own_model")
MOST_BYTES = 300_000
NUMBER = re.compile(r"\d[\d.]*")
QUICKER = ("--epochs 4", "--epochs 1")


@pytest.fixture(scope="module")
def making():
    spec = importlib.util.spec_from_file_location("making", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["making"] = module
    spec.loader.exec_module(module)
    return module


def notebook(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def outputs_of(cell):
    return cell.get("outputs", [])


def joined(text):
    return text if isinstance(text, str) else "".join(text)


def shown(name):
    """All text of a notebook's outputs, without what pictures are made of."""
    parts = []
    for output in (output for cell in notebook(name)["cells"] for output in outputs_of(cell)):
        parts += [output.get("text", "")] + [
            content for kind, content in output.get("data", {}).items() if kind.startswith("text/")
        ]
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", "\n".join(joined(part) for part in parts))


def run(source, names):
    """Do what a cell says, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        commands = [line.removeprefix("!tumorscope ") for line in source.splitlines() if line.startswith("!")]
        if not commands:
            exec(compile(source, "cell", "exec"), names)
    for command in commands:
        invoke(*shlex.split(command))
    return printed.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_prints_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in notebook(name)["cells"]:
        if cell["cell_type"] != "code":
            continue
        printed = run(joined(cell["source"]).replace(*QUICKER), names)
        stored = "".join(joined(output["text"]) for output in outputs_of(cell) if output.get("name") == "stdout")
        if printed and name != "own_model":  # what a training comes to differs between machines
            assert NUMBER.sub("#", printed) == NUMBER.sub("#", stored)
        assert bool(printed) <= bool(stored)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_made_from_its_source_by_this_version_with_this_model(making, name):
    made = notebook(name)
    cells = making.cells_of((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    assert [(cell["cell_type"], joined(cell["source"])) for cell in made["cells"]] == cells
    assert made["metadata"]["tumorscope"] == making.made_from(), "Make it anew: make examples"
    assert [cell["execution_count"] for cell in made["cells"] if cell["cell_type"] == "code"] == list(
        range(1, 1 + sum(kind == "code" for kind, _ in cells))
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_shows_the_disclaimer_and_no_error_and_no_place_of_a_machine(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES
    text = shown(name)
    assert DISCLAIMER in text
    assert not re.search(r"Traceback|/tmp|/work|/home|/root|site-packages|\x1b", text)
    assert not any(output["output_type"] == "error" for cell in notebook(name)["cells"] for output in outputs_of(cell))


def test_every_notebook_is_known_and_linked(making):
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES) == set(making.NAMES)
    for page in (FOLDER.parents[1] / "README.md", FOLDER.parent / "predict.md"):
        assert all(f"examples/{name}.ipynb" in page.read_text(encoding="utf-8") for name in NAMES)


def test_what_a_notebook_links_to_is_there():
    for name in NAMES:
        text = "".join(joined(cell["source"]) for cell in notebook(name)["cells"] if cell["cell_type"] == "markdown")
        assert all((FOLDER / target).exists() for target in re.findall(r"\]\(([^)#]+)\)", text))
