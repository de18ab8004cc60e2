from dataclasses import replace

import pytest

from tumorscope.data.public_sets import PUBLIC_SETS, PublicFile, find_set, parse_set
from tumorscope.errors import SourceError


def test_the_names_are_those_that_people_use_and_none_stands_twice():
    names = [public.name for public in PUBLIC_SETS]
    assert set(names) == {"nickparvar", "bhuyan", "sartaj", "br35h", "cheng"}
    assert len(names) == len(set(names))


@pytest.mark.parametrize("public", PUBLIC_SETS, ids=lambda public: public.name)
def test_every_set_names_page_licence_citation_and_what_is_wrong_with_it(public):
    assert public.page.startswith("https://")
    assert all(file.url.startswith("https://") for file in public.files)
    assert public.licence
    assert public.citation
    assert public.caveats


def test_the_four_archives_of_cheng_make_up_the_size_that_figshare_prints():
    """The download of all files is stated as 838.77 MB, in mebibytes; the two small files beside the archives are 9 kB."""
    cheng = parse_set("cheng")
    assert sum(file.size for file in cheng.files) / 2**20 == pytest.approx(838.77, abs=0.02)
    assert len({file.md5 for file in cheng.files}) == 4


def test_a_set_is_found_whatever_the_case_of_its_name():
    assert find_set("Nickparvar") is find_set("nickparvar") is not None


def test_an_unknown_name_is_answered_with_the_known_ones():
    assert find_set("brats") is None
    with pytest.raises(SourceError, match=r"brats: no such public set. Known: nickparvar, bhuyan, sartaj, br35h, cheng"):
        parse_set("brats")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"handle": ""}, "either a handle"),
        ({"files": parse_set("cheng").files}, "either a handle"),
        ({"name": "../evil"}, "small letters"),
        ({"licence": ""}, "licence"),
        ({"classes": ("tumour",)}, "tumour is none of"),
        ({"table": (("yes", "tumour"),)}, "tumour is none of"),
    ],
)
def test_a_set_that_contradicts_itself_cannot_be_built(change, message):
    with pytest.raises(ValueError, match=message):
        replace(parse_set("nickparvar"), **change)


@pytest.mark.parametrize(
    "change", [{"name": "../a.zip"}, {"name": "a/b.zip"}, {"name": ".hidden"}, {"md5": "0"}, {"md5": "G" * 32}, {"size": 0}]
)
def test_a_file_needs_a_plain_name_a_size_and_a_checksum(change):
    with pytest.raises(ValueError, match=r"needed|plain file name"):
        replace(PublicFile("a.zip", "https://example.org/1", 1, "0" * 32), **change)
