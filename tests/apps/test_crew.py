import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tumorscope.apps.crew import work_together
from tumorscope.data.sources import index_source
from tumorscope.data.split import split_manifest
from tumorscope.errors import UsageError
from tumorscope.manifest import write_manifest

SMALL = ("--models", "cnn", "--image-size", "64", "--epochs", "2", "--init", "none", "--device", "cpu")


@pytest.fixture
def manifest(banded_folder, tmp_path):
    write_manifest(split_manifest(index_source(banded_folder)), tmp_path / "manifest.csv")
    return tmp_path / "manifest.csv"


def slurm(rank, *, size, per_node=2):
    """What SLURM tells a task of its place, all machines being this one."""
    place = {"NTASKS": size, "NTASKS_PER_NODE": per_node, "PROCID": rank, "LOCALID": rank % per_node, "NODEID": rank // per_node}
    return {f"SLURM_{key}": str(value) for key, value in place.items()} | {"SLURM_NODELIST": "127.0.0.1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def command(*arguments):
    return [sys.executable, "-m", "tumorscope", *map(str, arguments)]


def start(*arguments, environment=None, **how):
    environment = {**os.environ, **(environment or {})}
    return subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def test_devices_of_this_machine_train_with_one_command(manifest, tmp_path):
    out = tmp_path / "run"
    process = start("train", manifest, "--out", out, *SMALL, "--devices", 2)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert json.loads((out / "cnn" / "bundle.json").read_text())["training"]["processes"] == 2
    assert len((out / "cnn" / "history.csv").read_text().splitlines()) == 3
    assert [path.name for path in (out / "cnn" / "training").iterdir()] == ["tensorboard"]


def test_tasks_of_slurm_share_the_training_and_the_first_does_the_rest(manifest, tmp_path):
    out, port = tmp_path / "run", {"MASTER_PORT": free_port()}
    arguments = ("train", manifest, "--out", out, *SMALL, "--num-nodes", 2)
    tasks = [start(*arguments, environment=slurm(rank, size=2, per_node=1) | port) for rank in (0, 1)]
    said = [task.communicate(timeout=250) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert json.loads((out / "cnn" / "bundle.json").read_text())["training"]["processes"] == 2
    assert "cnn: validation accuracy" in said[0][1]
    assert said[1] == ("", "")


def test_processes_of_torchrun_share_the_training(manifest, tmp_path):
    out = tmp_path / "run"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tumorscope")
    arguments = ("train", manifest, "--out", out, *SMALL, "--devices", 2)
    done = subprocess.run([*torchrun, *map(str, arguments)], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "cnn" / "bundle.json").read_text())["training"]["processes"] == 2
    assert done.stderr.count("cnn: validation accuracy") == 1


def test_others_end_when_the_first_process_does(tmp_path):
    port = {"MASTER_PORT": free_port()}
    arguments = ("train", tmp_path / "missing.csv", "--out", tmp_path / "run", *SMALL, "--devices", 2)
    tasks = [start(*arguments, environment=slurm(rank, size=2) | port) for rank in (0, 1)]
    said = [task.communicate(timeout=250)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [1, 1]
    assert "missing.csv" in said[0]
    assert said[1].startswith("tumorscope: the first process ended")


@pytest.mark.usefixtures("listening")
def test_ctrl_c_ends_all_processes(manifest, tmp_path):
    process = start("train", manifest, "--out", tmp_path / "run", *SMALL, "--epochs", 500, "--devices", 2, start_new_session=True)
    await_file(tmp_path / "run" / "cnn" / "history.csv", process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "tumorscope: stopped; the same command goes on from here."
    assert "Traceback" not in err
    await_end_of_group(process.pid)


def test_others_end_when_the_first_process_is_killed(manifest, tmp_path):
    process = start("train", manifest, "--out", tmp_path / "run", *SMALL, "--epochs", 500, "--devices", 2, start_new_session=True)
    await_file(tmp_path / "run" / "cnn" / "history.csv", process)
    process.kill()
    process.communicate(timeout=250)
    await_end_of_group(process.pid)


def await_file(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def await_end_of_group(number, *, within_s=60.0):
    deadline = time.monotonic() + within_s
    while alive(number):
        assert time.monotonic() < deadline, alive(number)
        time.sleep(0.2)


def alive(group):
    """Processes of a group that still run; those that ended may wait for someone to ask for their status."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if line.split()[0] == str(group) and not line.split()[1].startswith("Z")]


@pytest.mark.parametrize(
    ("devices", "nodes", "environment", "message"),
    [
        (2, 2, {}, "torchrun or srun"),
        (1, 1, slurm(0, size=2), "started 2 processes"),
        (2, 2, slurm(3, size=4, per_node=4), "number 3 of machine 0"),
        (2, 1, {"SLURM_NTASKS": "2"}, "--ntasks-per-node"),
        (1, 1, slurm(0, size=2) | {"SLURM_LOCALID": "first"}, "no numbers .*first"),
        (2, 1, {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, "incomplete .*SLURM_LOCALID"),
        (2, 1, {"WORLD_SIZE": "2", "RANK": "0"}, "not by torchrun"),
    ],
)
def test_other_numbers_than_were_started_are_refused(devices, nodes, environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        work_together(lambda crew: pytest.fail("worked"), device="cpu", devices=devices, nodes=nodes)


def test_missing_gpu_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        work_together(lambda crew: pytest.fail("worked"), device="cuda", devices=1, nodes=1)
