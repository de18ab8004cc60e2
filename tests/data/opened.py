"""What is in a file, or why it is refused, for the tests of formats."""

from pathlib import Path

import pytest

from tumorscope.data.opening import open_scans
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan


def only(path: Path, **options) -> Scan:
    (scan,) = open_scans(path, **options)
    return scan


def refusal(path: Path, **options) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        list(open_scans(path, **options))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value
