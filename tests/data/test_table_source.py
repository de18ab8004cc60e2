from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.sources import index_source
from tumorscope.data.table_source import read_table_source
from tumorscope.errors import SourceError
from tumorscope.labels import LABELS
from tumorscope.manifest import write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, `0.png` to `3.png`, one for each label."""
    for number in range(4):
        Image.fromarray(np.full((6, 5), number * 60, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def table(folder: Path, *rows: str, encoding: str = "utf-8", header: str = "path,label") -> Path:
    path = folder / "set.csv"
    path.write_bytes("\n".join([header, *rows]).encode(encoding))
    return path


PLAIN = tuple(f"{number}.png,{label}" for number, label in enumerate(LABELS))


def test_path_and_label_are_enough(folder):
    manifest = index_source(table(folder, *PLAIN))
    assert [(record.path, record.label) for record in manifest] == [(f"{n}.png", label) for n, label in enumerate(LABELS)]
    assert all(record.sha256 for record in manifest)
    assert manifest.root == folder.resolve()
    assert manifest.notes == ("set.csv: 4 rows, columns taken: path, label.",)


def test_every_known_column_is_taken(folder):
    manifest = read_table_source(
        table(
            folder,
            "0.png,glioma,Training,p1,3,clinic A,1.png,,dark tilted",
            '1.png,no,VAL,p2,,,,"1,1 4,1 4,4",',
            header="path,label,split,group,fold,source,mask,border,flags",
        )
    )
    first, second = manifest
    assert (first.split, first.group, first.fold, first.source) == ("train", "p1", 3, "clinic A")
    assert (first.mask, first.flags) == ("1.png", ("dark", "tilted"))
    assert (second.label, second.split, second.fold, second.mask) == ("notumor", "validation", None, "1,1 4,1 4,4")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", ["path,label", "Path,LABEL", " path , label "])
def test_a_byte_order_mark_capitals_and_spaces_in_the_header_do_not_matter(folder, encoding, header):
    assert len(read_table_source(table(folder, *PLAIN, encoding=encoding, header=header))) == 4


def test_spaces_around_cells_and_other_spellings_of_labels_do_not_matter(folder):
    manifest = read_table_source(table(folder, " 0.png , Glioma_Tumor ", "1.png,healthy"))
    assert [(record.path, record.label) for record in manifest] == [("0.png", "glioma"), ("1.png", "notumor")]


def test_unknown_columns_are_ignored_and_told(folder):
    manifest = read_table_source(table(folder, "0.png,glioma,7,x", header="path,label,age,sex"))
    assert manifest.notes[-1] == "set.csv: columns ignored: age, sex."


def test_absolute_paths_and_odd_names_are_found(folder):
    (folder / "0.png").rename(folder / "ü #1, b.png")
    manifest = index_source(table(folder, '"ü #1, b.png",glioma', f"{folder / '1.png'},glioma"))
    assert [record.path for record in manifest] == ["ü #1, b.png", str(folder / "1.png")]


def test_items_of_an_archive_are_found(folder):
    np.savez(folder / "a.npz", images=np.arange(60, dtype=np.uint8).reshape(2, 6, 5))
    manifest = index_source(table(folder, "a.npz#images:1,glioma", "0.png,notumor"))
    assert len(manifest) == 2


def test_a_manifest_is_a_table_whose_digests_are_computed_anew(folder):
    manifest = index_source(table(folder, *PLAIN))
    path = folder / "manifest.csv"
    write_manifest(manifest, path)
    path.write_text(path.read_text().replace(manifest.records[2].sha256, "0" * 64))
    assert index_source(path).data_fingerprint == manifest.data_fingerprint


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("path,label", "9.png,glioma", r"1 of 1 files do not exist (row 2: 9.png)"),
        ("path,label", ".,glioma", "1 of 1 files do not exist"),
        ("path,label", ",glioma", "row 2: an empty path"),
        ("path,label", "0.png,cat", "row 2: unknown class 'cat'"),
        ("path,label", "0.png", "row 2: unknown class ''"),
        ("path,label", "0.png,glioma,more", "row 2: more cells than columns"),
        ("path,class", "0.png,glioma", "no column label; it has path, class"),
        ("path;label", "0.png;glioma", "no column path and no column label"),
        ("path,label,label", "0.png,glioma,glioma", "the column 'label' stands there more than once"),
        ("path,label,split", "0.png,glioma,dev", "row 2: unknown split 'dev'"),
        ("path,label,fold", "0.png,glioma,-1", "row 2: fold '-1'"),
        ("path,label,fold", "0.png,glioma,²", "row 2: fold '²'"),
        ("path,label,mask", "0.png,glioma,m.png", "row 2: the mask 'm.png' is neither an existing file nor outlines"),
        ("path,label,border", '0.png,glioma,"1,1 2,2"', "row 2: an outline with 2 point(s)"),
        ("path,label,border", '0.png,glioma,"1,1 2,2 3"', "row 2: the outline '1,1 2,2 3'"),
    ],
)
def test_a_bad_table_is_refused_with_its_path_and_row_in_one_line(folder, header, row, message):
    path = table(folder, row, header=header)
    with pytest.raises(SourceError) as caught:
        index_source(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_path_twice_is_refused_with_both_rows(folder):
    with pytest.raises(SourceError, match=r"rows 2 and 6 have the path 0\.png"):
        read_table_source(table(folder, *PLAIN, "0.png,notumor"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no column path"), (b"path,label\n", "no rows"), ("path,label\n".encode("utf-16"), "UTF-8"), (b"\x89PNG\r\n", "UTF-8")],
)
def test_an_empty_table_or_none_is_refused(folder, content, message):
    (folder / "set.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_table_source(folder / "set.csv")


def test_missing_files_are_counted_and_the_first_three_named_with_their_rows(folder):
    rows = [f"{number}.png,glioma" for number in (0, 7, 1, 8, 9, 10)]
    with pytest.raises(SourceError, match=r"4 of 6 files .*row 3: 7\.png, row 5: 8\.png, row 6: 9\.png\)"):
        read_table_source(table(folder, *rows))
