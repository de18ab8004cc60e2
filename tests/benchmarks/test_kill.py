"""Killing: what is drawn, killed and compared."""

import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def kill(load_benchmark):
    return load_benchmark("kill")


def test_files_are_pictures_arrays_and_broken_ones_under_many_names(kill, tmp_path, monkeypatch):
    drawn = np.random.default_rng(0).integers(0, 255, (40, 64, 64)).astype(np.uint8)
    monkeypatch.setattr(kill, "phantom_patient", lambda *_, **__: [SimpleNamespace(pixels=one) for one in drawn])
    monkeypatch.setattr(kill, "FILES_IN_A_FOLDER", 25)
    files = kill.contents(40, seed=0)
    assert len({content for _, content in files}) == 40
    kill.fill(tmp_path, files, 60)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npy")) == [
        "000/000007.npy",
        "001/000027.npy",
        "001/000047.npy",
    ]
    assert sum(1 for path in tmp_path.rglob("*.*")) == 60
    assert len((tmp_path / "000" / "000011.png").read_bytes()) < len((tmp_path / "000" / "000012.png").read_bytes()) * 0.6


def test_a_command_is_killed_or_ends_and_one_that_fails_is_told(kill):
    assert kill.run([sys.executable, "-c", "import time; time.sleep(60)"], kill_after_s=0.1)[0] == -signal.SIGKILL
    assert kill.run([sys.executable, "-c", "raise SystemExit(1)"])[0] == 1
    with pytest.raises(RuntimeError, match="status 2: why"):
        kill.run([sys.executable, "-c", "import sys; print('why'); sys.exit(2)"])


def test_every_difference_between_two_folders_is_told(kill, tmp_path):
    for folder, files in {"one": {"a": b"1", "b/c": b"2"}, "other": {"a": b"1", "b/c": b"3", "d.part": b""}}.items():
        for name, content in files.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_bytes(content)
    assert kill.differences(tmp_path / "one", tmp_path / "one") == []
    assert kill.differences(tmp_path / "one", tmp_path / "other") == ["d.part is in one folder only", "b/c differs"]
