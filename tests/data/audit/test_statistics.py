import numpy as np
import pytest
from PIL import Image

from tumorscope.data.audit.files import file_facts
from tumorscope.data.audit.statistics import class_statistics
from tumorscope.data.decode import decode_record
from tumorscope.errors import ManifestError
from tumorscope.manifest import Manifest, Record


def test_statistics_are_those_of_each_class_in_each_split(tmp_path):
    """Flat grey pictures of 10, 20, 30 have a 5th percentile of 11 and a 95th of 29."""
    records = []
    for number, (label, split, grey, columns) in enumerate(
        [
            ("notumor", "train", 10, 80),
            ("notumor", "train", 20, 80),
            ("notumor", "train", 30, 90),
            ("notumor", "test", 7, 80),
            ("glioma", "", 9, 80),
        ]
    ):
        Image.fromarray(np.full((70, columns), grey, dtype=np.uint8)).save(tmp_path / f"{number}.png")
        records.append(Record(f"{number}.png", label, split=split))
    manifest = Manifest(tmp_path, tuple(records))
    facts = [file_facts(manifest, record, decode_record(manifest, record)) for record in manifest]
    found = class_statistics(manifest.records, facts)
    assert [(one.label, one.split, one.images) for one in found] == [
        ("glioma", "", 1),
        ("notumor", "train", 3),
        ("notumor", "test", 1),
    ]
    assert found[1].sizes == {"70x80": 2, "70x90": 1}
    assert list(found[1].sizes) == ["70x80", "70x90"]
    assert found[1].modes == {"PNG L": 3}
    assert found[1].measured["mean grey"] == pytest.approx((11, 20, 29))
    assert found[1].measured["grey deviation"] == (0, 0, 0)


def test_as_many_facts_as_images_are_needed():
    with pytest.raises(ManifestError, match="1 images but facts of 0"):
        class_statistics([Record("a.png", "glioma")], [])
