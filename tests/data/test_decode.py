from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.decode import decode_file, decode_in_colour, decode_record, draw_outlines, open_picture, read_mask
from tumorscope.data.limits import MAX_PIXELS, MAX_SIDE
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record, read_manifest, write_manifest

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def luma(red: int, green: int, blue: int) -> int:
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


def one_line_refusal(path: Path) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif"])
def test_lossless_files_give_their_very_pixels(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    scan = decode_file(saved(tmp_path / f"a.{suffix}", GREY, **options))
    np.testing.assert_array_equal(scan.pixels, GREY)
    assert (scan.pixels.dtype, scan.shape) == (np.uint8, (20, 30))
    assert scan.origin == str(tmp_path / f"a.{suffix}")


def test_grey_stored_as_colour_stays_exactly_as_it_is(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for mode in ("RGB", "RGBA", "P", "LA"):
        scan = decode_file(saved(tmp_path / f"{mode}.png", grey, mode))
        np.testing.assert_array_equal(scan.pixels, grey, err_msg=mode)


def test_colour_becomes_luma(tmp_path):
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (12, 200, 77)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (4, 4), colour).save(path)
        assert (decode_file(path).pixels == luma(*colour)).all()


def test_to_be_shown_a_picture_keeps_its_colour_and_a_grey_one_gets_three_equal_channels(tmp_path):
    np.testing.assert_array_equal(decode_in_colour(saved(tmp_path / "a.png", COLOUR)), COLOUR)
    np.testing.assert_array_equal(decode_in_colour(saved(tmp_path / "g.png", GREY)), np.stack([GREY] * 3, axis=-1))
    path = saved(tmp_path / "a.gif", COLOUR)
    assert decode_in_colour(path).shape == COLOUR.shape


def test_palette_with_transparency_becomes_luma(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((1, 2), 1)
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    pixels = decode_file(tmp_path / "a.png").pixels
    assert pixels[2, 1] == luma(200, 100, 50)
    assert pixels.sum() == pixels[2, 1]


def test_cmyk_is_no_negative(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "black.jpg")
    assert decode_file(tmp_path / "white.jpg").pixels.min() > 250
    assert decode_file(tmp_path / "black.jpg").pixels.max() < 5


def test_one_bit_is_black_and_white(tmp_path):
    np.testing.assert_array_equal(decode_file(saved(tmp_path / "a.png", (GREY > 127))).pixels, (GREY > 127) * np.uint8(255))


def test_sixteen_bits_are_kept(tmp_path):
    wide = GREY.astype(np.uint16) * 257
    for suffix in ("png", "tif"):
        scan = decode_file(saved(tmp_path / f"a.{suffix}", wide))
        assert scan.pixels.dtype == np.uint16
        np.testing.assert_array_equal(scan.pixels, wide)


def test_floats_are_kept_and_their_gaps_refused(tmp_path):
    values = RNG.normal(0, 100, (5, 6)).astype(np.float32)
    np.testing.assert_array_equal(decode_file(saved(tmp_path / "a.tif", values)).pixels, values)
    values[2, 3] = np.nan
    assert "NaN" in one_line_refusal(saved(tmp_path / "b.tif", values))


def test_orientation_tag_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = saved(tmp_path / "a.jpg", GREY), saved(tmp_path / "b.jpg", GREY, exif=exif)
    assert decode_file(turned).sha256 == decode_file(plain).sha256


def test_the_name_does_not_decide_the_format(tmp_path):
    saved(tmp_path / "a.png", GREY).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.jpg").pixels, GREY)


@pytest.mark.parametrize("name", ["with space.png", "ünïcödé 脳.png", "hash#7.png", "line\udcffbytes.png"])
def test_odd_file_names_are_read(tmp_path, name):
    saved(tmp_path / "a.png", GREY).rename(tmp_path / name)
    record = Record(name, "glioma")
    np.testing.assert_array_equal(decode_record(Manifest(tmp_path, (record,)), record).pixels, GREY)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp", "gif"])
def test_half_a_file_is_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "truncated" in one_line_refusal(path) or suffix in ("bmp", "tif", "webp")


def test_what_is_no_picture_is_refused(tmp_path):
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.jpg"
    text.write_text("patient,label\n1,glioma\n")
    empty.touch()
    assert "not a picture" in one_line_refusal(text)
    assert "empty" in one_line_refusal(empty)
    assert "no such file" in one_line_refusal(tmp_path / "none.jpg")
    assert "not a file" in one_line_refusal(tmp_path)


def test_a_format_that_runs_programs_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert "not a picture" in one_line_refusal(tmp_path / "a.png")


def test_several_frames_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    for suffix in ("tif", "webp", "png", "gif"):
        assert "2 frames" in one_line_refusal(tmp_path / f"a.{suffix}")


def test_a_huge_picture_is_refused_unread(tmp_path):
    side = 8200
    assert side**2 > MAX_PIXELS
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    assert f"{MAX_PIXELS:,}" in one_line_refusal(tmp_path / "a.png")


def test_a_strip_of_millions_of_rows_is_refused_in_pictures_and_in_pages(tmp_path):
    """Found by fuzzing: a page of 20 x 2,097,176 pixels that no byte stands for took 13 GB on its way to the network's grid."""
    strip = Image.new("L", (4, MAX_SIDE + 1))
    strip.copy().save(tmp_path / "a.png")
    assert "a side longer than the 30,000 allowed" in one_line_refusal(tmp_path / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "pages.tif", save_all=True, append_images=[strip])
    with pytest.raises(DecodeError, match="a side longer"):
        list(open_picture(tmp_path / "pages.tif", choice=SliceChoice()))


def test_a_picture_beyond_every_limit_is_refused_without_a_warning(tmp_path):
    path = saved(tmp_path / "a.bmp", np.zeros((4, 4), dtype=np.uint8))
    header = bytearray(path.read_bytes())
    for side, offset in ((20_000, 18), (20_000, 22)):
        header[offset : offset + 4] = side.to_bytes(4, "little")
    path.write_bytes(header)
    assert f"{MAX_PIXELS:,}" in one_line_refusal(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp", "gif"])
def test_damaged_bytes_end_in_a_scan_or_a_refusal_never_in_another_error(tmp_path, suffix):
    whole = saved(tmp_path / f"whole.{suffix}", COLOUR).read_bytes()
    path, rng, messages = tmp_path / f"a.{suffix}", np.random.default_rng(7), []
    for _ in range(150):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        places = rng.integers(0, min(len(damaged), 200), 3)
        damaged[places] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            decode_file(path)
        except DecodeError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_no_mask_is_none(tmp_path):
    record = Record("a.png", "notumor")
    assert read_mask(Manifest(tmp_path, (record,)), record, (20, 30)) is None


def test_every_value_but_zero_of_a_mask_picture_is_tumour(tmp_path):
    values = np.zeros((20, 30), dtype=np.uint8)
    values[3, 4], values[5, 6] = 1, 255
    saved(tmp_path / "m.png", values)
    record = Record("a.png", "glioma", mask="m.png")
    mask = read_mask(Manifest(tmp_path, (record,)), record, (20, 30))
    assert mask.dtype == np.bool_
    assert sorted(map(tuple, np.argwhere(mask))) == [(3, 4), (5, 6)]


def test_faint_colours_of_a_mask_picture_are_tumour_too(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    picture = Image.new("RGB", (30, 20))
    picture.putpixel((4, 3), (1, 0, 0))
    picture.save(tmp_path / "m.png")
    record = Record("a.png", "glioma", mask="m.png")
    mask = read_mask(Manifest(tmp_path, (record,)), record, (20, 30))
    assert np.argwhere(mask).tolist() == [[3, 4]]


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    saved(tmp_path / "m.png", GREY)
    record = Record("a.png", "glioma", mask="m.png")
    with pytest.raises(DecodeError, match=r"\(20, 30\).*\(30, 20\)"):
        read_mask(Manifest(tmp_path, (record,)), record, (30, 20))


def test_outlines_are_read_with_x_as_the_column(tmp_path):
    record = Record("a.png", "glioma", mask="10.4,2.6 14.6,2.6 14.6,5.4 10.4,5.4")
    mask = read_mask(Manifest(tmp_path, (record,)), record, (20, 30))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 11, 14)
    assert mask.sum() == 3 * 4


@pytest.mark.parametrize("seed", range(5))
def test_pixels_whose_centre_is_inside_an_outline_are_tumour(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    radii = rng.uniform(6, 18, 12)
    points = [(25.3 + r * np.cos(a), 24.7 + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    text = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    mask = draw_outlines(text, (50, 52), where="test")
    expected = np.array([[inside(column, row, text) for column in range(52)] for row in range(50)])
    np.testing.assert_array_equal(mask, expected)


def inside(x: float, y: float, text: str) -> bool:
    points = [tuple(map(float, point.split(","))) for point in text.split()]
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x
    return crossings % 2 == 1


def test_several_outlines_add_up_and_may_leave_the_picture():
    both = draw_outlines("1.5,1.5 4.5,1.5 4.5,4.5 1.5,4.5 | -9.5,7.5 2.5,7.5 2.5,30.5 -9.5,30.5", (10, 12), where="test")
    expected = np.zeros((10, 12), dtype=bool)
    expected[2:5, 2:5] = True
    expected[8:, :3] = True
    np.testing.assert_array_equal(both, expected)


@pytest.mark.parametrize("outlines", ["1,2 3,4", "1,2 3,4 5", "1,2 3,4 5,6 | ", "1,2,3 4,5,6 7,8,9"])
def test_what_is_no_outline_is_refused(outlines):
    with pytest.raises(DecodeError, match=r"a\.png"):
        draw_outlines(outlines, (10, 10), where="a.png")


@pytest.mark.parametrize("layout", ["plain", "one channel", "colour", "channels first", "columns first"])
def test_an_archive_item_is_grey_as_a_picture_would_be(tmp_path, layout):
    colours = RNG.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(colour).convert("L")) for colour in colours])
    stored = {
        "plain": grey,
        "one channel": grey[..., None],
        "colour": colours,
        "channels first": np.moveaxis(colours, -1, 1),
        "columns first": np.asfortranarray(grey),
    }[layout]
    np.savez_compressed(tmp_path / "a.npz", images=stored)
    for row in (4, 0, 2):
        record = Record(f"a.npz#images:{row}", "glioma")
        scan = decode_record(Manifest(tmp_path, (record,)), record)
        np.testing.assert_array_equal(scan.pixels, grey[row])
        assert scan.origin == str(tmp_path / f"a.npz#images:{row}")


def test_an_archive_that_changed_is_read_again(tmp_path):
    record = Record("a.npz#x:0", "glioma")
    manifest = Manifest(tmp_path, (record,))
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 4), dtype=np.uint8))
    assert decode_record(manifest, record).shape == (3, 4)
    np.savez(tmp_path / "a.npz", x=np.ones((1, 5, 6), dtype=np.uint8))
    assert decode_record(manifest, record).shape == (5, 6)


@pytest.mark.parametrize("item", ["images:2", "images:-1", "images:x", "pictures:0", "names:0"])
def test_an_item_that_is_not_there_is_refused(tmp_path, item):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 4), dtype=np.uint8), names=np.array(["a", "b"]))
    record = Record(f"a.npz#{item}", "glioma")
    with pytest.raises(DecodeError, match=r"a\.npz") as caught:
        decode_record(Manifest(tmp_path, (record,)), record)
    assert "\n" not in str(caught.value)


def test_a_record_reads_the_same_after_its_manifest_moved(tmp_path):
    saved(tmp_path / "a.png", GREY)
    before = Manifest(tmp_path, (Record("a.png", "glioma"),))
    (tmp_path / "run").mkdir()
    write_manifest(before, tmp_path / "run" / "m.csv")
    after = read_manifest(tmp_path / "run" / "m.csv")
    assert decode_record(after, after.records[0]).sha256 == decode_record(before, before.records[0]).sha256


@pytest.mark.real
def test_the_median_tumour_of_cheng_covers_one_and_a_quarter_percent():
    import csv

    with (SHARED / "blocked.csv").open(newline="") as file:
        borders = [row["border"] for row in csv.DictReader(file) if row["border"]]
    assert len(borders) == 3064
    shares = [draw_outlines(border, (512, 512), where="blocked.csv").mean() for border in borders[::5]]
    assert 0.009 < np.median(shares) < 0.02
