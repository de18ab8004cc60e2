import os

import pytest
import torch

from tumorscope.errors import UsageError
from tumorscope.models.device import check_devices


def test_gpu_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        check_devices("cuda", 1)


def test_more_devices_than_there_are_is_refused_with_their_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices("cuda", 2)
    with pytest.raises(UsageError, match="--devices 3: torch sees 2 CUDA devices"):
        check_devices("auto", 3)


def test_more_processes_than_cores_are_refused():
    check_devices("cpu", 2)
    with pytest.raises(UsageError, match="cores"):
        check_devices("cpu", 2 * (os.cpu_count() or 1) + 1)
