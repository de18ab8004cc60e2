import zipfile
from pathlib import Path

import pytest

from tumorscope.data.public_sets import PUBLIC_SETS
from tumorscope.manifest import read_manifest


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    """The command line is at home in a folder of the test's own."""
    monkeypatch.setenv("TUMORSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def place_by_hand(folder: Path, home: Path) -> None:
    downloads = home / "data" / "sartaj" / "downloads"
    downloads.mkdir(parents=True)
    with zipfile.ZipFile(downloads / "archive.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))


def test_list_names_every_set_its_licence_and_how_to_get_it(tumorscope):
    status, out, _ = tumorscope("data", "list")
    assert status == 0
    for public in PUBLIC_SETS:
        assert public.title in out
        assert public.licence in out
        assert f"not here; tumorscope data get {public.name}" in out


def test_get_prints_licence_citation_and_faults_then_the_place_and_what_to_do_next(tumorscope, banded_folder, tmp_path):
    place_by_hand(banded_folder, tmp_path / "home")
    status, out, err = tumorscope("data", "get", "sartaj")
    path = tmp_path / "home" / "data" / "sartaj" / "images"
    assert status == 0
    assert out.strip() == str(path)
    assert "Licence: MIT" in err
    assert "Cite: Bhuvaji" in err
    assert "Known: " in err
    assert err.strip().splitlines()[-1] == f"Next: tumorscope index {path}, or tumorscope audit {path}"
    assert f"here: {path}" in tumorscope("data", "list")[1]


def test_home_can_be_another_folder(tumorscope, banded_folder, tmp_path):
    place_by_hand(banded_folder, tmp_path / "else where")
    status, out, err = tumorscope("data", "get", "sartaj", "--home", tmp_path / "else where")
    assert status == 0
    assert out.strip() == str(tmp_path / "else where" / "data" / "sartaj" / "images")
    assert f"tumorscope index '{out.strip()}'" in err
    assert "here: " in tumorscope("data", "list", "--home", tmp_path / "else where")[1]


def test_a_fetched_set_is_data_by_its_name(tumorscope, banded_folder, tmp_path):
    place_by_hand(banded_folder, tmp_path / "home")
    assert tumorscope("data", "get", "sartaj")[0] == 0
    assert tumorscope("index", "sartaj", "-o", tmp_path / "all.csv")[0] == 0
    assert len(read_manifest(tmp_path / "all.csv")) == 56


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "get", "brats"), "brats: no such public set. Known: nickparvar"),
        (("run", "--data", "nickparvar", "--out", "x"), "Fetch it with `tumorscope data get nickparvar`"),
        (("index", "cheng"), "Fetch it with `tumorscope data get cheng`"),
    ],
)
def test_a_users_error_is_one_line(tumorscope, arguments, message):
    status, _, err = tumorscope(*arguments)
    assert status == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
