from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.decode import decode_file
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.errors import ManifestError


def test_cache_holds_every_image_on_the_grid_and_is_made_once(banded_folder, tmp_path):
    manifest = index_source(banded_folder)
    preprocessing = Preprocessing(image_size=48)
    cache = build_pixel_cache(manifest, preprocessing, tmp_path / "cache")
    for row, record in enumerate(manifest):
        np.testing.assert_array_equal(cache.grids[row], preprocessing.grid(decode_file(manifest.locate(record.path))))
    (file,) = (tmp_path / "cache").iterdir()
    before = file.stat().st_mtime_ns
    build_pixel_cache(manifest, preprocessing, tmp_path / "cache")
    assert file.stat().st_mtime_ns == before


def test_same_images_under_another_name_share_the_cache(banded_folder, tmp_path):
    preprocessing = Preprocessing(image_size=48)
    build_pixel_cache(index_source(banded_folder), preprocessing, tmp_path / "cache")
    moved = banded_folder.rename(tmp_path / "elsewhere")
    build_pixel_cache(index_source(moved), preprocessing, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_other_preprocessing_gets_a_cache_of_its_own(banded_folder, tmp_path):
    manifest = index_source(banded_folder)
    for size in (48, 56):
        build_pixel_cache(manifest, Preprocessing(image_size=size), tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_image_changed_since_indexing_is_refused_and_leaves_no_cache(banded_folder, tmp_path):
    manifest = index_source(banded_folder)
    Image.new("L", (64, 64)).save(manifest.locate(manifest.records[5].path))
    with pytest.raises(ManifestError, match=r"changed since.*index"):
        build_pixel_cache(manifest, Preprocessing(image_size=48), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_cache_follows_a_manifest_in_another_order(banded_cache):
    records = tuple(reversed(banded_cache.manifest.records))[:10]
    part = banded_cache.with_manifest(replace(banded_cache.manifest, records=records))
    np.testing.assert_array_equal(part.grids, banded_cache.grids[::-1][:10])


def test_manifest_with_a_foreign_image_is_refused(banded_cache):
    foreign = replace(banded_cache.manifest.records[0], sha256="f" * 64)
    with pytest.raises(ManifestError, match="not in the pixel cache"):
        banded_cache.with_manifest(replace(banded_cache.manifest, records=(foreign,)))


def test_grids_that_do_not_fit_the_manifest_are_refused(banded_cache):
    with pytest.raises(ManifestError, match="80 images"):
        PixelCache(banded_cache.manifest, banded_cache.grids[:5], banded_cache.preprocessing)
