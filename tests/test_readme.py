import re
from pathlib import Path

from tumorscope.apps.cli import app
from tumorscope.training.recipe import shipped_recipes

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_example_runs_as_it_stands(banded_folder, monkeypatch, capsys):
    monkeypatch.chdir(banded_folder.parent)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "'glioma': 4" in capsys.readouterr().out


def test_every_verb_and_every_recipe_is_named():
    for command in app.registered_commands:
        assert f"`{command.callback.__name__}`" in README or f"tumorscope {command.callback.__name__}" in README
    assert all(f"`{name}`" in README for name in shipped_recipes())


def test_both_commands_stand_at_the_top():
    assert README.index("make run") < README.index("make test") < 300
