"""What the audit says of files and shortcuts in the public sets; the bounds are loose, the figures stand in the notes."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from tumorscope.data.audit.files import FileFacts, file_facts
from tumorscope.data.audit.provenance import guess_sources, source_table
from tumorscope.data.audit.shortcuts import meta_features, shortcut_score
from tumorscope.data.decode import decode_record, picture_warnings_off
from tumorscope.data.sources import index_source
from tumorscope.manifest import Manifest, Record

pytestmark = pytest.mark.real

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


@dataclass(frozen=True)
class Measured:
    manifest: Manifest
    facts: list[FileFacts]
    decoding_s: float
    facts_s: float

    @property
    def flags(self) -> Counter[str]:
        return Counter(flag for fact in self.facts for flag in fact.flags)


def measured(manifest: Manifest) -> Measured:
    facts, decoding_s, facts_s = [], 0.0, 0.0
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # all of the work is to be in the thread whose processor time is taken
    with picture_warnings_off():
        for record in manifest:
            started = time.thread_time()
            scan = decode_record(manifest, record)
            decoded = time.thread_time()
            facts.append(file_facts(manifest, record, scan))
            facts_s += time.thread_time() - decoded
            decoding_s += decoded - started
    cv2.setNumThreads(threads)
    return Measured(manifest, facts, decoding_s, facts_s)


@pytest.fixture(scope="module")
def nickparvar() -> Measured:
    return measured(index_source(DATA / "nickparvar"))


@pytest.fixture(scope="module")
def blocked() -> Measured:
    return measured(index_source(DATA / "blocked.csv"))


def test_facts_cost_less_than_decoding_twice(nickparvar):
    assert nickparvar.facts_s < 2 * nickparvar.decoding_s  # of the same processor in the same minute, whatever its speed


def test_lettering_and_coloured_bars_are_found_and_heads_are_heads(nickparvar, blocked):
    assert 60 <= nickparvar.flags["text"] <= 95
    assert 20 <= nickparvar.flags["overlay"] <= 30
    assert nickparvar.flags["not_brain_mri"] < 0.003 * len(nickparvar.facts)
    assert set(nickparvar.flags) <= {"text", "overlay", "not_brain_mri"}
    cheng = [fact for record, fact in zip(blocked.manifest, blocked.facts, strict=True) if record.path.startswith("cheng")]
    assert len(cheng) == 3064
    assert sum(bool(fact.flags) for fact in cheng) <= 3
    assert 60 <= blocked.flags["text"] <= 85


def test_training_images_of_nickparvar_tell_their_class_without_anatomy(nickparvar):
    rows = [row for row, record in enumerate(nickparvar.manifest) if record.split == "train"]
    records = [nickparvar.manifest.records[row] for row in rows]
    features = meta_features([nickparvar.facts[row] for row in rows])
    labels = [record.label for record in records]
    found = shortcut_score(features, labels, [record.sha256 for record in records], seed=0)
    assert 0.75 < found.balanced_accuracy < 0.95
    assert found.majority_share < 0.3
    assert any("colour mode: L in 91% of glioma" in difference.sentence for difference in found.differences)


def test_the_source_of_the_blocked_set_tells_tumour_from_none(blocked):
    sources = [Path(record.path).parts[0] for record in blocked.manifest]
    records = [Record(r.path, r.label, source=source) for r, source in zip(blocked.manifest, sources, strict=True)]
    table = source_table(records)
    assert table.tumour_share_told == 1
    assert table.with_second_source == ()
    assert "Every no tumour image comes from br35h-no, which holds nothing else" in table.sentences[0]
    folds = [str(record.fold) for record in blocked.manifest]
    found = shortcut_score(meta_features(blocked.facts), sources, folds, seed=0)
    assert found.balanced_accuracy > 0.98


def test_styles_follow_the_sources_of_the_blocked_set_but_not_those_of_nickparvar(nickparvar, blocked):
    from sklearn.metrics import adjusted_rand_score

    truth = [Path(record.path).parts[0] for record in blocked.manifest]
    assert adjusted_rand_score(truth, guess_sources(meta_features(blocked.facts), seed=0)) > 0.85
    tumour = ["br35h" if record.label == "notumor" else "cheng" for record in nickparvar.manifest]
    assert adjusted_rand_score(tumour, guess_sources(meta_features(nickparvar.facts), seed=0)) < 0.5
