import numpy as np

from tumorscope.data.audit import looks as looks_module
from tumorscope.data.audit.audit import audit
from tumorscope.data.audit.looks import Looks
from tumorscope.data.sources import index_source


def refuse(*arguments):
    raise AssertionError("an image was decoded a second time")


def test_looks_taken_while_indexing_give_the_same_audit_without_decoding_again(banded_folder, monkeypatch):
    looks = Looks()
    manifest = index_source(banded_folder, seen=looks.take)
    plain = audit(manifest)
    monkeypatch.setattr(looks_module, "decode_record", refuse)
    found = audit(manifest, looks=looks)
    assert found.facts == plain.facts
    assert found.manifest == plain.manifest
    assert np.array_equal(found.pairs.similarity, plain.pairs.similarity)


def test_an_image_that_nobody_looked_at_is_decoded_when_asked_for_and_a_look_is_given_once(banded_folder):
    looks = Looks()
    manifest = index_source(banded_folder, seen=looks.take)
    record = manifest.records[0]
    taken, again = looks.give(manifest, record), looks.give(manifest, record)
    assert again is not taken
    assert again.facts == taken.facts
    assert np.array_equal(again.frame, taken.frame)
