import errno
import os
import stat
import zipfile
from pathlib import Path

import pytest

from tumorscope.data.unpacking import unpack
from tumorscope.errors import OutputError, SourceError


def archive(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in entries:
            content.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_archives_are_unpacked_side_by_side(tmp_path):
    first = archive(tmp_path / "1.zip", ("a/1.txt", b"one"), ("empty/", b""))
    second = archive(tmp_path / "2.zip", ("a/2.txt", b"two"))
    unpack([first, second], tmp_path / "new" / "out")
    found = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*")}
    assert found == {"out", "out/a", "out/a/1.txt", "out/a/2.txt", "out/empty"}
    assert (tmp_path / "new" / "out" / "a" / "2.txt").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "\\evil", "a\\..\\..\\evil", "C:\\evil", "C:evil"])
def test_an_entry_outside_the_folder_is_refused_before_anything_is_written(tmp_path, name):
    path = archive(tmp_path / "set.zip", ("good.txt", b"x"), (name, b"boo"))
    with pytest.raises(SourceError, match=r"would lie outside the folder\. Nothing was unpacked"):
        unpack([path], tmp_path / "deep" / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.zip"]


def test_a_name_with_two_dots_in_it_is_no_way_out(tmp_path):
    unpack([archive(tmp_path / "set.zip", ("a..b/..c.txt", b"x"))], tmp_path / "out")
    assert (tmp_path / "out" / "a..b" / "..c.txt").is_file()


def test_a_link_is_refused(tmp_path):
    path = archive(tmp_path / "set.zip", (link("out"), b"/etc"))
    with pytest.raises(SourceError, match="'out' is a link or a device"):
        unpack([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("limit", "refused"), [({"max_bytes": 999}, True), ({"max_files": 1}, True), ({"max_bytes": 1000}, False)])
def test_what_unpacks_to_too_much_is_refused(tmp_path, limit, refused):
    """A thousand zeros are a few bytes in the archive: the size unpacked counts, over all archives."""
    paths = [archive(tmp_path / f"{number}.zip", (f"{number}.txt", bytes(500))) for number in range(2)]
    if refused:
        with pytest.raises(SourceError, match="2 entries of 1,000 bytes unpacked; at most"):
            unpack(paths, tmp_path / "out", **limit)
        assert not (tmp_path / "out").exists()
    else:
        unpack(paths, tmp_path / "out", **limit)
        assert len(list((tmp_path / "out").iterdir())) == 2


def broken_content(path: Path) -> None:
    """Flip one byte of the compressed data, which the directory at the end does not notice."""
    content = bytearray(path.read_bytes())
    content[45] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"<html>log in</html>"), broken_content])
def test_a_broken_archive_is_named_and_leaves_nothing(tmp_path, damage):
    path = archive(tmp_path / "set.zip", ("a.txt", bytes(range(256))))
    damage(path)
    with pytest.raises(SourceError, match=r"set.zip: not a whole ZIP file .* fetch it again"):
        unpack([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encrypted_entry_is_refused(tmp_path):
    path = archive(tmp_path / "set.zip", ("a.txt", b"x"))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is encrypted"):
        unpack([path], tmp_path / "out")


def test_a_full_disk_leaves_no_half_folder(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = archive(tmp_path / "set.zip", ("a.txt", b"x"))
    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(OutputError, match="the disk is full"):
        unpack([path], tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.zip"]


def test_what_a_killed_call_left_does_not_come_along(tmp_path):
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "old.txt").touch()
    unpack([archive(tmp_path / "set.zip", ("a.txt", b"x"))], tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["a.txt"]


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"no.zip: cannot be read"):
        unpack([tmp_path / "no.zip"], tmp_path / "out")
