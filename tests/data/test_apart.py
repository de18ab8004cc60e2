"""What decodes in a process of its own, and what becomes of it."""

import numpy as np
import pytest

from tumorscope.data import apart
from tumorscope.data.apart import _Apart, matlab_apart


@pytest.fixture
def other(monkeypatch, tmp_path):
    """A process that does what a script says."""

    def made(script: str) -> _Apart:
        path = tmp_path / "worker.py"
        path.write_text(script)
        monkeypatch.setattr(apart, "_WORKER", path)
        return _Apart()

    return made


def test_a_decoder_that_never_answers_is_ended(other, monkeypatch):
    monkeypatch.setattr(apart, "_PATIENCE_S", 0.3)
    silent = other("import time\ntime.sleep(60)\n")
    assert silent.ask({}, b"frame").content is None
    assert silent.process is None


def test_a_decoder_that_works_for_too_long_is_ended_and_started_again(other):
    patched = f"import sys\nsys.path.insert(0, {str(apart._WORKER.parent)!r})\nimport apart_worker as own\n"
    patched += "def work(content, asked):\n    while content == b'bad':\n        pass\n    return content\n"
    worker = other(patched + "own._TASKS = {'work': work}\nown._answer(sys.stdin.buffer, sys.stdout.buffer)\n")
    asked = {"task": "work", "seconds": 0.2}
    assert worker.ask(asked, b"good").content == b"good"
    ended = worker.ask(asked, b"bad")
    assert (ended.content, ended.fault) == (None, "truncated")
    assert worker.ask(asked, b"good").content == b"good"
    worker.close()


def test_what_a_file_holds_beside_numbers_and_text_comes_as_nothing(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    cells = np.array([np.eye(2), "a"], dtype=object)
    scipy_io.savemat(tmp_path / "a.mat", {"cjdata": {"image": np.eye(3), "cells": cells, "inner": {"a": 1.0}, "PID": "7"}})
    answer = matlab_apart(tmp_path / "a.mat", "cjdata", max_pixels=100)
    (tmp_path / "a.npz").write_bytes(answer.content)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as fields:
        assert {name: fields[name].size for name in fields.files} == {
            "struct.image": 9,
            "struct.cells": 0,
            "struct.inner": 0,
            "struct.PID": 1,
        }
