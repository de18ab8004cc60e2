"""The public data sets that `tumorscope data` knows: where they lie, their licences, what is known to be wrong with them."""

import re
from dataclasses import dataclass

from tumorscope.errors import SourceError
from tumorscope.labels import LABELS, NO_TUMOUR

UNKNOWN_LICENCE = "not recorded here: read it on the page before you use the set"


@dataclass(frozen=True, slots=True)
class PublicFile:
    """One file of an archive, as the archive publishes it.

    Attributes:
        name: File name, without a folder.
        url: Where its bytes come from.
        size: In bytes.
        md5: Checksum, 32 hexadecimal digits.
    """

    name: str
    url: str
    size: int
    md5: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w. -]+", self.name) or self.name.startswith("."):
            raise ValueError(f"{self.name!r} is not a plain file name.")
        if not re.fullmatch(r"[0-9a-f]{32}", self.md5) or self.size <= 0:
            raise ValueError(f"{self.name}: a checksum of 32 hexadecimal digits and a size above 0 are needed.")


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One public data set; it comes either from Kaggle (`handle`) or as files with checksums (`files`).

    Attributes:
        name: What a user types.
        title: What its authors call it.
        page: Where a person finds it.
        classes: The labels that can be used from it.
        licence: What its page states.
        citation: How to cite it.
        caveats: What is known to be wrong with it.
        layout: What `index_source` finds.
        images: Number of images in the whole set, None where it was not counted.
        handle: `owner/name` on Kaggle, with `/versions/N` where results are about one version.
        files: Archives to unpack, with checksums.
        table: Folder names and the labels they stand for, where other folders of the set fit no label: a CSV then names the images.
    """

    name: str
    title: str
    page: str
    classes: tuple[str, ...]
    licence: str
    citation: str
    caveats: tuple[str, ...]
    layout: str
    images: int | None = None
    handle: str = ""
    files: tuple[PublicFile, ...] = ()
    table: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"{self.name!r}: the name of a set has small letters, digits and hyphens.")
        if bool(self.handle) == bool(self.files):
            raise ValueError(f"{self.name}: give either a handle on Kaggle or files.")
        if not (self.page and self.licence and self.citation and self.classes):
            raise ValueError(f"{self.name}: page, licence, citation and classes are needed.")
        unknown = {*self.classes, *(label for _, label in self.table)} - set(LABELS)
        if unknown:
            raise ValueError(f"{self.name}: {', '.join(sorted(unknown))} is none of {', '.join(LABELS)}.")


def _figshare(name: str, number: int, size: int, md5: str) -> PublicFile:
    return PublicFile(name, f"https://ndownloader.figshare.com/files/{number}", size, md5)


_SPLIT_FOLDERS = "Training and Testing, with class folders"

PUBLIC_SETS: tuple[PublicSet, ...] = (
    PublicSet(
        name="nickparvar",
        title="Brain Tumor MRI Dataset, version 1",
        page="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset/versions/1",
        handle="masoudnickparvar/brain-tumor-mri-dataset/versions/1",
        images=7023,
        classes=LABELS,
        licence="CC0 1.0",
        citation="Nickparvar, M. (2021). Brain Tumor MRI Dataset. Kaggle. https://doi.org/10.34740/kaggle/dsv/2645886",
        layout=_SPLIT_FOLDERS,
        caveats=(
            "76 % of the official test images (994 of 1,311) show the same slice as a training image; a look-up that learns "
            "nothing scores 95.9 % on them, 98.2 % when it may mirror.",
            "Nearly every tumour comes from Cheng's set and nearly every other scan from Br35H and the like: a network can tell "
            "the classes apart by where a picture comes from.",
            "Published numbers are about version 1, which is fetched; a later version has other images.",
        ),
    ),
    PublicSet(
        name="bhuyan",
        title="MRI Image Data, the set that the student report names",
        page="https://www.kaggle.com/datasets/alaminbhuyan/mri-image-data",
        handle="alaminbhuyan/mri-image-data",
        classes=LABELS,
        licence=UNKNOWN_LICENCE,
        citation="Bhuyan, A. MRI Image Data. Kaggle. https://www.kaggle.com/datasets/alaminbhuyan/mri-image-data",
        layout=f"{_SPLIT_FOLDERS}, in one folder",
        caveats=(
            "Not examined: it is built like Nickparvar's set and may well be a cleaned copy of it. Audit it, and audit it against "
            "Nickparvar's, before you believe a number.",
        ),
    ),
    PublicSet(
        name="sartaj",
        title="Brain Tumor Classification (MRI)",
        page="https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri",
        handle="sartajbhuvaji/brain-tumor-classification-mri",
        images=3264,
        classes=LABELS,
        licence="MIT",
        citation=(
            "Bhuvaji, S., Kadam, A., Bhumkar, P., Dedge, S. and Kanchan, S. (2020). Brain Tumor Classification (MRI). Kaggle. "
            "https://doi.org/10.34740/kaggle/dsv/1183165"
        ),
        layout=_SPLIT_FOLDERS,
        caveats=(
            "The author of Nickparvar's set holds its glioma images to be wrongly labelled in part and left them out.",
            "Not external to Nickparvar's set: 85-95 % of it is inside.",
        ),
    ),
    PublicSet(
        name="br35h",
        title="Br35H :: Brain Tumor Detection 2020",
        page="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
        handle="ahmedhamada0/brain-tumor-detection",
        images=3000,
        classes=(NO_TUMOUR,),
        licence=UNKNOWN_LICENCE,
        citation="Hamada, A. (2020). Br35H :: Brain Tumor Detection 2020. Kaggle. https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
        layout="the folder no, named by a CSV; the tumours in yes are of unstated type and left out",
        table=(("no", NO_TUMOUR),),
        caveats=(
            "Its 1,500 scans without a tumour hold many near copies of each other: about 137 clusters.",
            "Some of them are not normal: bright lesions, operated brains, CT, watermarks of picture agencies.",
            "Not external to Nickparvar's set: 85-95 % of it is inside.",
        ),
    ),
    PublicSet(
        name="cheng",
        title="brain tumor dataset, version 8",
        page="https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
        images=3064,
        classes=tuple(label for label in LABELS if label != NO_TUMOUR),
        licence="CC BY 4.0",
        citation="Cheng, J. (2017). brain tumor dataset. figshare. https://doi.org/10.6084/m9.figshare.1512427",
        layout="MATLAB files with image, label, patient and outline",
        # Names, numbers, sizes and checksums of version 8 as https://api.figshare.com/v2/articles/1512427 publishes them. Pinned,
        # so that what the set is does not depend on the day, and the checksum does not come from where the bytes come from.
        files=(
            _figshare("brainTumorDataPublic_1-766.zip", 3381290, 214401279, "74b949ad33f042e6e103523091cd1428"),
            _figshare("brainTumorDataPublic_767-1532.zip", 3381296, 217848429, "7e8a875500d2c8a346f270538e29890e"),
            _figshare("brainTumorDataPublic_1533-2298.zip", 3381293, 215563856, "8227bf6080cb71f15a88be8d25c79ae7"),
            _figshare("brainTumorDataPublic_2299-3064.zip", 3381302, 231679762, "b378a80d6174e5317d59eb28430c6652"),
        ),
        caveats=(
            "Tumours only, of 233 patients and one scanner family: scans without a tumour have to come from elsewhere, and a "
            "network can then tell the classes apart by where a picture comes from.",
        ),
    ),
)


def find_set(name: str) -> PublicSet | None:
    """Return the set of this name, letter case aside, or None when there is none."""
    return next((public for public in PUBLIC_SETS if public.name == name.lower()), None)


def set_of_source(source: str) -> PublicSet | None:
    """Return the public set that images of a source come from, judged by its name or, as in `br35h-no`, the beginning of it."""
    return find_set(source) or find_set(source.partition("-")[0])


def parse_set(name: str) -> PublicSet:
    """Return the set of this name, letter case aside.

    Raises:
        SourceError: There is none of this name.
    """
    public = find_set(name)
    if public is None:
        raise SourceError(f"{name}: no such public set. Known: {', '.join(known.name for known in PUBLIC_SETS)}.")
    return public
