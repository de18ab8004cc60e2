import pytest

from tumorscope.data.audit.numbering import consecutive


def followers(*paths):
    first, second = consecutive(paths)
    return [(paths[a], paths[b]) for a, b in zip(first, second, strict=True)]


def test_files_follow_each_other_by_their_last_number_alone():
    assert followers("p1/scan_9.png", "p1/scan_10.png", "p1/scan_12.png") == [("p1/scan_9.png", "p1/scan_10.png")]


def test_items_of_an_archive_follow_each_other():
    assert followers("train.npz#images:4", "train.npz#images:3") == [("train.npz#images:3", "train.npz#images:4")]


@pytest.mark.parametrize(
    ("a", "b"), [("a/1.png", "b/2.png"), ("1.png", "2.jpg"), ("x1.png", "y2.png"), ("1.png", "3.png"), ("a.png", "b.png")]
)
def test_another_folder_name_or_ending_breaks_the_sequence(a, b):
    assert followers(a, b) == []


def test_leading_zeros_do_not_matter():
    assert followers("s009.png", "s010.png") == [("s009.png", "s010.png")]
    assert followers("s9.png", "s010.png") == [("s9.png", "s010.png")]
