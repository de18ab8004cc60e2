"""JPEG's traces are found and renewed."""

import cv2
import numpy as np
import pytest

from tumorscope.data.counterfactual import erase
from tumorscope.data.counterfactual.compression import finished, jpeg_quality


def stored(pixels, quality):
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


@pytest.fixture
def scan(head):
    return head()


@pytest.mark.parametrize("quality", [90, 75, 50])
def test_the_quality_of_a_jpeg_is_found(scan, quality):
    assert jpeg_quality(stored(scan, quality)) == quality


def test_a_scan_that_was_never_compressed_has_no_quality(scan):
    assert jpeg_quality(scan) is None


def test_a_blank_scan_has_no_quality():
    assert jpeg_quality(np.zeros((64, 64), dtype=np.uint8)) is None


def test_new_content_gets_the_blocks_of_the_scan(scan, blob):
    before = stored(scan, 75)
    where = blob(scan.shape, (90, 100), (30, 30))
    content = np.random.default_rng(0).normal(110, 8, scan.shape).astype(np.float32)
    edited = finished(before, content, where)
    again = stored(edited, 75)
    inner = blob(scan.shape, (90, 100), (18, 18))
    assert np.array_equal(edited[~where], before[~where])
    assert np.abs(again.astype(int) - edited)[inner].mean() < 0.5
    assert np.abs(stored(content.round().astype(np.uint8), 75).astype(int) - content.round())[inner].mean() > 2


def test_an_erased_scan_still_shows_its_quality(scan, blob):
    before = stored(scan, 75)
    assert jpeg_quality(erase(before, blob(scan.shape, (80, 120), (9, 9)), seed=0)) == 75
