"""SliceChoice: which plane and which slices of a volume are wanted."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from tumorscope.errors import DecodeError, UsageError

Plane = Literal["acquired", "axial", "coronal", "sagittal"]

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class SliceChoice:
    """Which slices of a file with several are wanted. A file with one slice always gives that one.

    Attributes:
        plane: Of a NIfTI volume; `acquired` is the one whose slices lie farthest apart, axial where all are alike. Files of other
            formats hold slices as they were acquired, and those are given whatever the plane.
        slices: `all`, `middle`, one number or a range `a-b`, both ends included. Slices are counted from 0.
    """

    plane: Plane = "acquired"
    slices: str = "all"

    def __post_init__(self) -> None:
        if self.plane not in get_args(Plane):
            raise UsageError(f"plane {self.plane!r}: allowed are {', '.join(get_args(Plane))}.")
        found = _RANGE.fullmatch(self.slices)
        if self.slices not in ("all", "middle") and not found:
            raise UsageError(f"slices {self.slices!r}: allowed are all, middle, a number, or a range such as 10-20.")
        if found and found[2] and int(found[2]) < int(found[1]):
            raise UsageError(f"slices {self.slices!r}: the range ends before it begins. Write the smaller number first.")

    def of(self, count: int, *, where: str) -> range:
        """Return the wanted ones of `count` slices.

        Raises:
            DecodeError: There are fewer slices than the range needs; `where` is named.
        """
        if count == 1 or self.slices == "all":
            return range(count)
        if self.slices == "middle":
            return range(count // 2, count // 2 + 1)
        first, _, last = self.slices.partition("-")
        wanted = range(int(first), int(last or first) + 1)
        if wanted[-1] >= count:
            raise DecodeError(
                f"{where}: slices {self.slices} were asked for, but there are {count}, counted from 0 to {count - 1}.",
                fault="no_such_slice",
            )
        return wanted
