"""The four labels: their order, names, aliases and clinical codes. Nothing else spells or counts them."""

import re
from dataclasses import dataclass

from tumorscope.errors import SourceError


@dataclass(frozen=True, slots=True)
class LabelInfo:
    """What is known of one label.

    Attributes:
        name: The string used in files and code.
        display_name: The string shown to people.
        is_tumour: Whether a scan with this label shows a tumour.
        aliases: Spellings met in folder and class names, lower case with every separator removed.
        snomed_ct: Concept of SNOMED CT, or None where no single concept says it.
    """

    name: str
    display_name: str
    is_tumour: bool
    aliases: frozenset[str]
    snomed_ct: str | None


_INFOS = (
    LabelInfo("glioma", "glioma", True, frozenset({"glioma", "gliomas", "gliomatumor", "gliomatumour", "gl"}), "393564001"),
    LabelInfo(
        "meningioma",
        "meningioma",
        True,
        frozenset({"meningioma", "meningiomas", "meningiomatumor", "meningiomatumour", "me"}),
        "302820008",
    ),
    LabelInfo(
        "notumor",
        "no tumour",
        False,
        frozenset({"notumor", "notumour", "no", "none", "healthy", "normal", "negative", "nontumor", "nontumour", "tumorfree"}),
        None,
    ),
    LabelInfo(
        "pituitary",
        "pituitary tumour",
        True,
        frozenset({"pituitary", "pituitarytumor", "pituitarytumour", "pituitaryadenoma", "pituitarytumors", "pi"}),
        "127024001",
    ),
)

LABELS: tuple[str, ...] = tuple(info.name for info in _INFOS)
"""The labels in the order of every probability vector and confusion matrix."""

TUMOUR_LABELS: tuple[str, ...] = tuple(info.name for info in _INFOS if info.is_tumour)
NO_TUMOUR = "notumor"

UNSTATED_TUMOUR = "tumour"
"""A tumour of a type that nobody stated: not one of `LABELS`, no model answers it, and it can test a model but not train one."""

_UNSTATED_ALIASES = frozenset({"tumour", "tumor", "yes", "positive"})

_BY_NAME = {info.name: info for info in _INFOS}
_BY_ALIAS = {alias: info.name for info in _INFOS for alias in info.aliases}


def label_info(label: str) -> LabelInfo:
    """Return what is known of a label.

    Raises:
        KeyError: `label` is not one of `LABELS`.
    """
    return _BY_NAME[label]


def display_name(label: str) -> str:
    """Return what people are shown for a label, `UNSTATED_TUMOUR` among them; raises as `label_info`."""
    return "tumour of unstated type" if label == UNSTATED_TUMOUR else label_info(label).display_name


def label_index(label: str) -> int:
    """Return the position of a label in `LABELS`."""
    return LABELS.index(label)


def find_label(text: str) -> str | None:
    """Return the label that a class name means, or None when it means none of them.

    Letter case, spaces, hyphens and underscores do not matter: `No_Tumor`, `no-tumour` and `healthy` are all `notumor`.
    """
    return _BY_ALIAS.get(re.sub(r"[\s_\-.]+", "", text.strip().lower()))


def parse_label(text: str, *, where: str) -> str:
    """Return the label that a class name means, `UNSTATED_TUMOUR` among them.

    Args:
        text: A folder name, a CSV cell or a class name from an archive.
        where: What to name in the error: the folder, or file and row.

    Raises:
        SourceError: The name means none of the four labels.
    """
    label = find_label(text)
    if label is None and text.strip().lower() in _UNSTATED_ALIASES:
        return UNSTATED_TUMOUR
    if label is None:
        allowed = ", ".join(f"{info.name} (also {', '.join(sorted(info.aliases - {info.name})[:3])})" for info in _INFOS)
        raise SourceError(f"{where}: unknown class {text!r}. Known classes: {allowed}. Rename it, or leave it out.")
    return label
