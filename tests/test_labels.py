import pytest

from tumorscope.errors import SourceError
from tumorscope.labels import LABELS, NO_TUMOUR, TUMOUR_LABELS, find_label, label_index, label_info, parse_label


def test_labels_stand_in_alphabetical_order_as_folder_sorting_gives_them():
    assert LABELS == ("glioma", "meningioma", "notumor", "pituitary") == tuple(sorted(LABELS))


def test_no_tumour_is_the_only_label_without_a_tumour():
    assert {*TUMOUR_LABELS, NO_TUMOUR} == set(LABELS)
    assert NO_TUMOUR not in TUMOUR_LABELS
    assert [label_info(label).is_tumour for label in LABELS] == [True, True, False, True]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("glioma", "glioma"),
        ("Glioma_Tumor", "glioma"),
        ("meningioma_tumor", "meningioma"),
        (" Meningioma ", "meningioma"),
        ("no_tumor", "notumor"),
        ("No-Tumour", "notumor"),
        ("notumor", "notumor"),
        ("no", "notumor"),
        ("HEALTHY", "notumor"),
        ("normal", "notumor"),
        ("pituitary tumor", "pituitary"),
        ("pituitary_adenoma", "pituitary"),
    ],
)
def test_spellings_that_people_use_are_understood(text, label):
    assert find_label(text) == label
    assert parse_label(text, where="folder") == label


@pytest.mark.parametrize("text", ["", "yes", "tumor", "glio", "notumors_or_glioma", "1"])
def test_other_names_mean_no_label(text):
    assert find_label(text) is None


def test_an_unknown_class_is_refused_with_place_and_known_classes_in_one_line():
    with pytest.raises(SourceError) as caught:
        parse_label("metastasis", where="scans/metastasis")
    message = str(caught.value)
    assert message.startswith("scans/metastasis: ")
    assert all(label in message for label in ("'metastasis'", *LABELS))
    assert "\n" not in message


def test_no_alias_means_two_labels():
    aliases = [alias for label in LABELS for alias in label_info(label).aliases]
    assert len(aliases) == len(set(aliases))


def test_index_is_the_position_in_labels():
    assert [label_index(label) for label in LABELS] == [0, 1, 2, 3]
