import errno
import os
from pathlib import Path

import pytest

from tumorscope.errors import OutputError
from tumorscope.storage import output_error, refuse_closed_folder, remove_torn, write_atomically


@pytest.mark.parametrize(("content", "expected"), [("ünï\n", "ünï\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")])
def test_text_is_written_as_utf8_and_bytes_as_they_are(tmp_path, content, expected):
    write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == expected


def test_missing_folders_are_made_and_only_the_file_is_left(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "file", "x")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_what_was_there_is_replaced(tmp_path):
    write_atomically(tmp_path / "file", "a much longer first text")
    write_atomically(tmp_path / "file", "short")
    assert (tmp_path / "file").read_text() == "short"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OutputError, match="the disk is full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_meets_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_text()))
    write_atomically(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_a_place_below_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_atomically(tmp_path / "file" / "below", "x")
    assert str(tmp_path / "file" / "below") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_the_message_says_why_and_what_to_do(number, words):
    error = output_error(Path("out/report.html"), OSError(number, os.strerror(number)))
    assert str(error).startswith("out/report.html: ")
    assert words in str(error)
    assert error.exit_code == 1


def test_an_open_folder_passes_and_nothing_is_left_or_made(tmp_path):
    refuse_closed_folder(tmp_path / "a" / "b", option="--out")
    refuse_closed_folder(tmp_path, option="--out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "run", "run/audit"])
def test_a_file_where_a_folder_is_needed_is_refused_with_the_option_that_chose_it(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Choose another -o, or") as caught:
        refuse_closed_folder(tmp_path / "file" / below, option="-o")
    assert str(caught.value).startswith(str(tmp_path / "file" / below))


def test_a_disk_that_is_read_only_is_refused_by_trying(monkeypatch, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(OutputError, match="Read-only file system"):
        refuse_closed_folder(tmp_path / "run", option="--out")


def test_what_a_killed_program_left_is_removed_and_nothing_else(tmp_path):
    names = ("a.json", "a.json.12.part", "b.json.7.part", "a.json.x.part", "a.part")
    for name in names:
        (tmp_path / name).touch()
    remove_torn(tmp_path, "a.json")
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {"a.json.12.part"}
    remove_torn(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.json.x.part", "a.part"}
    remove_torn(tmp_path / "none")
