import csv
import json

import numpy as np
import pytest
from command_line import invoke
from PIL import Image
from scipy.ndimage import gaussian_filter

from tumorscope.data.audit.carrying import CARRIED_MASK
from tumorscope.data.phantom import write_phantom
from tumorscope.errors import SourceError, UsageError
from tumorscope.manifest import TWIN_IN_TRAIN, read_manifest


def textured(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    texture = gaussian_filter(rng.standard_normal((96, 96)), 2.5)
    pixels = np.where(rows**2 + (columns / 0.8) ** 2 < 0.8, 120 + 40 * texture / texture.std(), 0)
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture
def leaky_folder(tmp_path):
    """Five training and two test images of every class; the first test image of each is a mirrored training image."""
    root = tmp_path / "leaky"
    for number, label in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
        pictures = [textured(10 * number + row) for row in range(6)]
        for split, chosen in (("Training", pictures[:5]), ("Testing", [pictures[0][:, ::-1], pictures[5]])):
            folder = root / split / label
            folder.mkdir(parents=True)
            for row, pixels in enumerate(chosen):
                Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{row}.png")
    return root


def test_an_audit_says_how_much_of_the_test_set_is_in_training_and_leaves_its_four_files(leaky_folder, tmp_path):
    out = tmp_path / "audit"
    result = invoke("audit", leaky_folder, "-o", out)
    assert "4 of 8 test images (50%) show the same slice as a training image" in result.stderr
    content = json.loads((out / "audit.json").read_text())
    assert content["leaks"]["flagged"][TWIN_IN_TRAIN] == dict.fromkeys(("glioma", "meningioma", "notumor", "pituitary"), 1)
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["transform"]) for row in rows] == [("twin", "mirror")] * 4
    page = (out / "audit.html").read_text()
    assert "Not for diagnosis" in page
    assert "http" not in page.replace("http-equiv", "")
    flagged = [record.path for record in read_manifest(out / "manifest.csv") if TWIN_IN_TRAIN in record.flags]
    assert len(flagged) == 4


def test_the_audited_manifest_can_be_split_without_a_leak_and_keeps_its_test_set(leaky_folder, tmp_path):
    invoke("audit", leaky_folder, "-o", tmp_path / "audit")
    invoke(
        "split",
        tmp_path / "audit" / "manifest.csv",
        "-o",
        tmp_path / "split.csv",
        "--protocol",
        "leak-free",
        "--validation-share",
        "0.25",
    )
    split = read_manifest(tmp_path / "split.csv")
    assert sum(record.split == "test" for record in split) == 8
    assert len(split) == 24
    tested = {record.group for record in split if record.split == "test"}
    assert not tested & {record.group for record in split if record.split != "test"}


def test_a_supposedly_external_set_is_reduced_to_what_is_external(leaky_folder, tmp_path):
    other = tmp_path / "other" / "glioma"
    other.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(np.rot90(textured(0)))).save(other / "inside.png")
    Image.fromarray(textured(999)).save(other / "outside.png")
    result = invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", tmp_path / "other")
    assert "1 of 2 images of the other set (50.0%) are in this one" in result.stderr
    rest = read_manifest(tmp_path / "audit" / "external_manifest.csv")
    assert [record.path.rsplit("/", 1)[1] for record in rest] == ["outside.png"]


def test_when_everything_is_inside_no_manifest_of_the_rest_is_written(leaky_folder, tmp_path):
    invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", leaky_folder)
    assert not (tmp_path / "audit" / "external_manifest.csv").exists()
    assert json.loads((tmp_path / "audit" / "against.json").read_text())["inside"] == 28


def test_where_images_come_from_is_found_through_a_set_that_names_it(leaky_folder, tmp_path):
    rows = ["path,label"]
    for number, (name, label) in enumerate([("cheng", "glioma"), ("cheng", "meningioma"), ("br35h", "notumor")]):
        (tmp_path / "known" / name).mkdir(parents=True, exist_ok=True)
        for row in range(6):
            picture = np.rot90(textured(10 * number + row))
            Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / "known" / name / f"{label}{row}.png")
            rows.append(f"{name}/{label}{row}.png,{label}")
    (tmp_path / "known" / "known.csv").write_text("\n".join(rows) + "\n")
    result = invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", tmp_path / "known" / "known.csv")
    assert "7 of 7 no tumour images of known source come from br35h, which holds nothing else" in result.stderr
    sources = {record.label: record.source for record in read_manifest(tmp_path / "audit" / "manifest.csv")}
    assert sources == {"glioma": "cheng", "meningioma": "cheng", "notumor": "br35h", "pituitary": ""}
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["sources"]["tumour_share_told"] == 1.0


def test_outlines_of_a_set_that_has_them_are_carried_over_and_counted(leaky_folder, tmp_path):
    folder = tmp_path / "outlined"
    folder.mkdir()
    rows = ["path,label,mask"]
    for number, label in ((0, "glioma"), (10, "meningioma"), (30, "glioma")):
        Image.fromarray(np.ascontiguousarray(np.rot90(textured(number)))).save(folder / f"{number}.png")
        rows.append(f'{number}.png,{label},"20,30 44,30 32,60"')
    (folder / "outlined.csv").write_text("\n".join(rows) + "\n")
    result = invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", folder / "outlined.csv", "--masks")
    assert "4 of 21 tumour images without an outline got that of a twin" in result.stderr
    assert "0 could not be aligned well enough, 2 bear another label" in result.stderr
    masked = [record for record in read_manifest(tmp_path / "audit" / "manifest.csv") if record.mask]
    assert sorted(record.label for record in masked) == ["glioma"] * 2 + ["meningioma"] * 2
    assert all(CARRIED_MASK in record.flags and record.source == "outlined" for record in masked)
    counts = json.loads((tmp_path / "audit" / "against.json").read_text())["masks"]
    assert (counts["tumour_images_without_outline"], counts["carried"], counts["other_label"], counts["unlike"]) == (21, 4, 2, 0)
    with (tmp_path / "audit" / "carried_masks.csv").open() as file:
        assert sum(row["outcome"] == "carried" and float(row["correlation"]) > 0.95 for row in csv.DictReader(file)) == 4
    assert "Outlines of twins" in (tmp_path / "audit" / "audit.html").read_text()


def test_without_outlines_in_the_other_set_it_is_said_that_there_are_none(leaky_folder, tmp_path):
    result = invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", leaky_folder, "--masks")
    assert "No image of the other set has an outline" in result.stderr
    assert not any(record.mask for record in read_manifest(tmp_path / "audit" / "manifest.csv"))


def test_outlines_are_not_carried_from_nowhere(leaky_folder, tmp_path):
    with pytest.raises(UsageError, match="--masks needs --against"):
        invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--masks")


def test_broken_files_and_what_was_ignored_are_said_at_once_and_listed_on_the_page(leaky_folder, tmp_path):
    folder = leaky_folder / "Training" / "glioma"
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("x")
    pages = [Image.fromarray(textured(500)), Image.fromarray(textured(501))]
    pages[0].save(folder / "two.gif", save_all=True, append_images=pages[1:])
    result = invoke("audit", leaky_folder, "-o", tmp_path / "audit")
    assert "Ignored in Training: 1 x .txt" in result.stderr
    assert "2 images cannot be read and were left out: 1 x empty, 1 x multi_frame" in result.stderr
    assert "two.gif: holds 2 frames" in result.stderr
    assert "two.gif: holds 2 frames" in (tmp_path / "audit" / "audit.html").read_text()
    assert {image["fault"] for image in json.loads((tmp_path / "audit" / "audit.json").read_text())["broken"]} == {
        "empty",
        "multi_frame",
    }


def test_a_set_with_tumours_of_unstated_type_is_audited_like_any_other(leaky_folder, tmp_path):
    rows = ["path,label,split"]
    for path in sorted(leaky_folder.rglob("*.png")):
        split = "test" if path.parent.parent.name == "Testing" else "train"
        rows.append(f"{path},{'tumour' if split == 'test' else path.parent.name},{split}")
    (tmp_path / "empty.png").touch()
    (tmp_path / "unstated.csv").write_text("\n".join([*rows, "empty.png,yes,test"]) + "\n")
    result = invoke("audit", tmp_path / "unstated.csv", "-o", tmp_path / "audit")
    assert "4 of 8 test images (50%)" in result.stderr
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["images_per_label"]["tumour"] == 8
    assert content["leaks"]["twin_free"]["tumour"] == 4
    assert [image["label"] for image in content["broken"]] == ["tumour"]
    assert "tumour of unstated type" in (tmp_path / "audit" / "audit.html").read_text()


def test_another_set_may_be_the_name_of_a_fetched_one(leaky_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORSCOPE_HOME", str(tmp_path / "home"))
    with pytest.raises(SourceError, match="tumorscope data get cheng"):
        invoke("audit", leaky_folder, "-o", tmp_path / "audit", "--against", "cheng")


def test_auditing_nothing_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        invoke("audit", tmp_path / "nothing", "-o", tmp_path / "audit")


def test_a_confounded_set_is_found_out(tmp_path):
    write_phantom(tmp_path / "set", patients_per_label=10, slices_per_patient=2, image_size=96, scanners="confounded")
    result = invoke("audit", tmp_path / "set" / "manifest.csv", "-o", tmp_path / "audit")
    assert "Every no tumour image comes from phantom-other-scanner, which holds nothing else" in result.stderr
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["sources"]["tumour_share_told"] == 1.0
    assert content["shortcut"]["recall"]["notumor"] > 0.9
    assert "What gives the class away" in (tmp_path / "audit" / "audit.html").read_text()


def test_an_ordinary_built_in_set_gives_no_source_away(tmp_path):
    write_phantom(tmp_path / "set", patients_per_label=10, slices_per_patient=2, image_size=96)
    result = invoke("audit", tmp_path / "set" / "manifest.csv", "-o", tmp_path / "audit")
    assert "a model can score by recognising the source" not in result.stderr
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["shortcut"]["recall"]["notumor"] < 0.75
