import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from tumorscope.data.audit.files import FILE_FLAGS, file_facts
from tumorscope.data.decode import decode_record
from tumorscope.data.phantom.writing import write_phantom
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record

SIDE = 224
ROWS, COLUMNS = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]


def facts_of(path):
    record = Record(path.name, LABELS[0])
    manifest = Manifest(path.parent, (record,))
    return file_facts(manifest, record, decode_record(manifest, record))


@pytest.fixture
def flags(tmp_path):
    """What flags a picture after it was stored."""

    def stored(pixels, *, name="a.png"):
        Image.fromarray(np.asarray(pixels)).save(tmp_path / name)
        return facts_of(tmp_path / name).flags

    return stored


def labelled(pixels, lines, *, size=11):
    """The picture with lines of text in its upper left corner."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((3, 3 + number * (size + 3)), line, fill=255, font=ImageFont.load_default(size))
    return np.asarray(image)


def page(paper, ink):
    image = Image.new("L", (SIDE, SIDE), paper)
    for row in range(4, SIDE, 13):
        ImageDraw.Draw(image).text((5, row), "no head is drawn on this page at all", fill=ink, font=ImageFont.load_default(10))
    return np.asarray(image)


def eight_bit(values):
    return np.asarray(values).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_a_head_has_no_flag(flags, draw_slice, seed):
    assert flags(draw_slice(seed)) == ()


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp", "a.tif"])
def test_a_head_has_no_flag_in_any_format_or_in_colour_that_is_grey(flags, draw_slice, name):
    assert flags(draw_slice(0), name=name) == ()
    assert flags(np.stack([draw_slice(0)] * 3, axis=-1), name=name) == ()


def test_a_head_in_sixteen_bits_has_no_flag(flags, draw_slice):
    assert flags(draw_slice(0).astype(np.uint16) * 13) == ()


def test_phantoms_have_no_flag(tmp_path):
    manifest = write_phantom(tmp_path, patients_per_label=2)
    found = [file_facts(manifest, record, decode_record(manifest, record)).flags for record in manifest]
    assert len(found) == 40
    assert set(found) == {()}


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_one_grey_value_is_blank(flags, grey):
    assert flags(np.full((SIDE, SIDE), grey, dtype=np.uint8)) == ("blank",)


def test_nearly_one_grey_value_is_uniform(flags):
    faint = np.random.default_rng(0).normal(100, 2, (SIDE, SIDE))
    assert flags(eight_bit(faint)) == ("uniform",)
    speck = np.zeros((SIDE, SIDE), dtype=np.uint8)
    speck[100:110, 100:110] = 255
    assert flags(speck) == ("uniform",)


def test_a_thumbnail_is_tiny(flags, draw_slice):
    assert flags(draw_slice(0)[::4, ::4]) == ("tiny",)
    assert "tiny" in flags(draw_slice(0)[:, 100:160])


def test_colour_all_over_is_told_from_a_coloured_mark(flags, draw_slice):
    tinted = np.stack([draw_slice(0), draw_slice(0) // 2, draw_slice(0) // 3], axis=-1)
    assert "colour" in flags(tinted)
    assert "overlay" not in flags(tinted)
    for name in ("a.png", "a.jpg"):
        marked = np.stack([draw_slice(0)] * 3, axis=-1)
        marked[100:120, 100:103] = (255, 40, 40)
        assert flags(marked, name=name) == ("overlay",)


@pytest.mark.parametrize("size", [9, 11, 14])
def test_lettering_in_a_corner_is_found(flags, draw_slice, size):
    assert flags(labelled(draw_slice(0), ["TR 500", "TE 14 ms"], size=size)) == ("text",)


def test_lettering_is_found_in_a_large_picture_too(flags, draw_slice):
    assert flags(labelled(draw_slice(0, size=512), ["TR 500.0 ms", "TE 14.0 ms"], size=24)) == ("text",)


def test_an_ear_or_a_headrest_is_no_lettering(flags, draw_slice):
    image = Image.fromarray(draw_slice(0))
    draw = ImageDraw.Draw(image)
    draw.arc((2, 2, 60, 60), 90, 200, fill=230, width=3)
    draw.line((5, 215, 215, 215), fill=230, width=2)
    draw.ellipse((200, 20, 210, 34), fill=200)
    assert "text" not in flags(np.asarray(image))


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)),
        np.random.default_rng(0).normal(100, 30, (SIDE, SIDE)),
        115 + 800 * gaussian_filter(np.random.default_rng(0).standard_normal((SIDE, SIDE)), 6),
        255 * COLUMNS,
        127 * (ROWS + COLUMNS),
        255 * np.exp(-6 * ((ROWS - 0.5) ** 2 + (COLUMNS - 0.5) ** 2)),
        page(255, 0),
        page(0, 255),
        180 * (((COLUMNS - 0.5) / 0.35) ** 2 + ((ROWS - 0.5) / 0.42) ** 2 < 1),
        200 * ((abs(ROWS - 0.5) < 0.2) & (abs(COLUMNS - 0.5) < 0.2)),
    ],
    ids=["noise", "grey noise", "clouds", "ramp", "diagonal", "glow", "page", "dark page", "disc", "square"],
)
def test_what_is_no_head_is_warned_of(flags, pixels):
    assert "not_brain_mri" in flags(eight_bit(pixels))


def test_a_photograph_is_warned_of(tmp_path):
    sample = pytest.importorskip("sklearn.datasets").load_sample_images().images[0]
    Image.fromarray(sample).save(tmp_path / "a.jpg")
    assert {"colour", "not_brain_mri"} <= set(facts_of(tmp_path / "a.jpg").flags)


def test_an_inverted_head_is_warned_of(flags, draw_slice):
    assert "not_brain_mri" in flags(255 - draw_slice(0))


def test_flags_are_sorted_and_known(flags):
    found = flags(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8))
    assert list(found) == sorted(found)
    assert set(found) <= set(FILE_FLAGS)
    assert {"tiny", "colour"} <= set(found)


def test_levels_and_margins_are_those_that_were_drawn(tmp_path):
    pixels = np.zeros((100, 200), dtype=np.uint8)
    pixels[20:90, 50:180] = 128
    Image.fromarray(pixels).save(tmp_path / "a.png")
    facts = facts_of(tmp_path / "a.png")
    look = facts.look
    assert (facts.rows, facts.columns, look.levels) == (100, 200, 2)
    assert look.mean == pytest.approx(128 * 70 * 130 / 20000)
    assert look.dark_share == pytest.approx(1 - 70 * 130 / 20000)
    assert look.top_level_share == pytest.approx(1 - 70 * 130 / 20000)
    assert look.margins == pytest.approx((0.2, 0.1, 0.25, 0.1), abs=0.015)
    assert look.darkest_corner == look.brightest_corner == look.background_noise == 0


def test_blocks_of_eight_pixels_show(tmp_path, draw_slice):
    for name, quality in (("fine", 98), ("coarse", 10)):
        Image.fromarray(draw_slice(0)).save(tmp_path / f"{name}.jpg", quality=quality)
    fine, coarse = (facts_of(tmp_path / f"{name}.jpg").look.blockiness for name in ("fine", "coarse"))
    assert coarse > fine + 0.3


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 7), (3000, 9)])
def test_odd_shapes_are_no_error(flags, shape):
    assert "tiny" in flags(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
