"""What a built wheel carries; needs the build backend, which the development extra installs."""

import shutil
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_a_built_wheel_carries_the_bundled_model_the_recipes_and_the_templates(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    inside = tmp_path / "src" / "tumorscope" / "models" / "bundled"
    for name in ("bundle.json", "model.safetensors", "network.onnx", "CARD.md"):
        (inside / name).write_text("x")
    built = next(wheel.WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=["standard"]))
    names = zipfile.ZipFile(built).namelist()
    for name in (
        "models/bundled/bundle.json",
        "models/bundled/model.safetensors",
        "models/bundled/network.onnx",
        "models/bundled/CARD.md",
        "training/recipes/default.toml",
        "reporting/templates/study_report.html.j2",
        "data/plane_rule.json",
    ):
        assert f"tumorscope/{name}" in names
