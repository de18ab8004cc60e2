"""Options, arguments and choices of the command line."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Protocol(StrEnum):
    """How the test set is chosen."""

    published = "published"
    leak_free = "leak-free"
    regroup = "regroup"


class SplitName(StrEnum):
    """Part of a manifest."""

    train = "train"
    validation = "validation"
    test = "test"


class DeviceName(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class EngineName(StrEnum):
    """What runs a trained network."""

    openvino = "openvino"
    onnxruntime = "onnxruntime"
    torch = "torch"


class HeatmapKind(StrEnum):
    """How a map is written."""

    overlay = "overlay"
    raw = "raw"


class PlaneName(StrEnum):
    """Plane of a volume's slices."""

    acquired = "acquired"
    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


class ExportFormat(StrEnum):
    """What a network is written as."""

    onnx = "onnx"
    openvino = "openvino"


RunArgument = Annotated[Path, typer.Argument(help="Folder of a run.")]
ManifestArgument = Annotated[Path, typer.Argument(help="Manifest made by `tumorscope index` or `split`.")]
ModelsOption = Annotated[str, typer.Option(help="Networks, separated by commas: mobilenet_v2, cnn.")]
RecipeOption = Annotated[
    str | None, typer.Option(help="Name of a shipped recipe (default, plain, thorough, quick, report, phantom) or a TOML file.")
]
InitOption = Annotated[
    str | None,
    typer.Option(
        help="Where weights start: imagenet (download), none, bundled (the model that comes with Tumorscope), the folder of a "
        "trained model, or a safetensors or torch state dict file. A CNN starts from a CNN's bundle, else at random."
    ),
]
ProtocolOption = Annotated[
    Protocol,
    typer.Option(
        help="published keeps the files' own test set; leak-free keeps it too and removes its twins and group mates from "
        "training; regroup cuts everything anew by group."
    ),
]
FoldsOption = Annotated[int | None, typer.Option(min=2, help="Cross-validation with so many folds.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Epochs for every network, instead of the recipe's.")]
SizeOption = Annotated[int | None, typer.Option(min=32, max=1024, help="Rows and columns that the networks see, in pixels.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Of split, weights, order and augmentation.")]
DeviceOption = Annotated[DeviceName, typer.Option(help="auto takes a GPU when there is one.")]
DevicesOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Devices of this machine that train together, a process each; they share the recipe's batch_size. Without a GPU, "
        "processes on the CPU.",
    ),
]
NodesOption = Annotated[
    int,
    typer.Option("--num-nodes", min=1, help="Machines; torchrun or srun then starts the command once for every device of each."),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most so many images of each label and split.")]
TestOption = Annotated[
    list[Path] | None,
    typer.Option(help="External test set; may be repeated. Labels may be the four, or `tumour` for a tumour of unstated type."),
]
ClassesOption = Annotated[
    str | None, typer.Option(help="Order of integer labels in an NPZ, for instance notumor,glioma,meningioma,pituitary.")
]
