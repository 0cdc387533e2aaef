"""The command on two hosts: two network namespaces with a cable between them, as far apart as one machine allows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_data import COLUMNS

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """The names of two hosts, and of the network interface of each."""
    if not shutil.which("ip"):
        pytest.skip("the command `ip` (Linux, package iproute2) is missing, which makes network namespaces")
    names = [f"ft{os.getpid()}{letter}" for letter in "ab"]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1], "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this user may not make network namespaces: {error.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            for device in (name, "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def start(host: str, rank: int, words: list[str]) -> subprocess.Popen:
    """Start torchrun on a host, as docs/several_machines.md says."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank)]
    launcher += ["--nproc-per-node", "1", "--master-addr", ADDRESSES[0], "--master-port", "29500"]
    command = ["ip", "netns", "exec", host, *launcher, "-m", "course_utils", *words]
    env = os.environ | {"GLOO_SOCKET_IFNAME": host}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_hosts_give_the_losses_of_one(hosts, good, mine, tiny, tmp_path):
    """Neither host reaches anything but the other: its namespace holds one end of a cable, and no way out."""
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(tmp_path / "out"), "--epochs", "3"]
    running = [start(host, rank, [*words, "--max-tokens", "24"]) for rank, host in enumerate(hosts)]
    try:
        said = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)[-3000:]
    assert [text.count("expected time of training") for text in said] == [1, 0]
    two, one = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path / "out", mine))
    assert two["model"]["processes"] == 2
    assert two["history"]["loss"] == pytest.approx(one["history"]["loss"], abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
