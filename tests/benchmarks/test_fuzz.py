"""Fuzzing: its seeds are sound, and what must not be is noticed and kept."""

import argparse
from pathlib import Path
from types import SimpleNamespace

import pytest

from tumorscope.errors import DecodeError

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is asked of Linux"),
    pytest.mark.filterwarnings("ignore"),  # of broken files, as while fuzzing
]


@pytest.fixture(scope="module")
def fuzz(load_benchmark):
    return load_benchmark("fuzz")


@pytest.fixture
def door(fuzz, tmp_path):
    for name in ("input", "keep"):
        (tmp_path / name).mkdir()
    return fuzz.Door(tmp_path / "input", tmp_path / "keep", patience_s=60)


def test_sound_files_of_every_format_are_scans(fuzz, door):
    for inputs in fuzz.seeds():
        if fuzz.KINDS[inputs[0]][0] != ".dcm" or b"P-1" in inputs:
            door.take(inputs)
    assert set(door.tally.outcomes) == {"scans"}
    assert set(door.tally.formats) == {suffix[1:] for suffix, _ in fuzz.KINDS}
    assert not door.tally.faults


def test_what_is_packed_is_damaged_inside_and_packed_again(fuzz, door):
    for suffix, pack in {".png": fuzz.checked, ".npz": fuzz.archived, ".nii.gz": fuzz.gzipped}.items():
        kind = fuzz.KINDS.index((suffix, pack))
        inputs = bytearray(next(one for one in fuzz.seeds() if one[0] == kind))
        inputs[-30] ^= 1
        assert pack(bytes(inputs[1:])) != pack(next(one for one in fuzz.seeds() if one[0] == kind)[1:])
        door.take(bytes(inputs))
    assert door.tally.inputs == 3
    assert not door.tally.faults


def test_an_error_of_another_kind_is_a_fault_whose_smallest_input_is_kept(fuzz, door):
    def broken(path, **_):
        raise DecodeError("refused") if path.read_bytes() == b"refuse" else ZeroDivisionError("a fault")

    door._open_scans = broken
    for content in (b"long content", b"short", b"another long one", b"refuse"):
        door.take(b"\x00" + content)
    assert door.tally.outcomes == {"ZeroDivisionError": 3, "DecodeError unreadable": 1}
    assert list(door.tally.faults.values()) == [3]
    (found,) = (door.keep).glob("fault-*.jpg")
    assert found.read_bytes() == b"short"


def test_neither_a_scan_nor_a_refusal_is_a_fault(door):
    door._open_scans = lambda path, **_: iter(())
    door.take(b"\x00")
    assert list(door.tally.outcomes) == ["AssertionError"]
    assert sum(door.tally.faults.values()) == 1


@pytest.mark.parametrize(("code", "said"), [(-11, "ended by signal 11"), (1, "by the patience of 9 s")])
def test_an_input_that_ends_the_process_is_kept_and_another_process_started(fuzz, tmp_path, monkeypatch, code, said):
    codes = [code, 0]

    def run(command, **_):
        (tmp_path / "input" / "a.dcm").write_bytes(b"bad")
        fuzz.Tally(inputs=5).write(tmp_path / "tally.json")
        if len(codes) == 1:
            monkeypatch.setattr(fuzz, "RESTARTS", 0)
            clock[0] += 100
        return SimpleNamespace(returncode=codes.pop(0))

    clock = [0.0]
    monkeypatch.setattr(fuzz.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fuzz.subprocess, "run", run)
    for name in ("input", "keep"):
        (tmp_path / name).mkdir()
    options = argparse.Namespace(engine="hypothesis", seconds=50, seed=0, patience=9, output=tmp_path / "keep", only=[])
    total = fuzz.watch(options, tmp_path)
    assert total.inputs == 10
    assert [said in fault for fault in total.faults] == [True]
    assert [path.read_bytes() for path in (tmp_path / "keep").glob("fault-*.dcm")] == [b"bad"]
