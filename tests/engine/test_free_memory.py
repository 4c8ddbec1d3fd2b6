"""What is left of limits, by files as Linux has them."""

import pathlib
import subprocess
import sys
from typing import Any

import psutil
import pytest

from nst_tf.engine import free_memory
from tests import conftest

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Gives the machine 64 GiB of free memory."""

    class Memory:
        available = 64 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)


def _tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def _v2(group: str, limit: Any, used: int, cache: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup{group}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cache}\nactive_file 7\n",
    }


def test_without_control_groups_it_is_the_machines(tmp_path):
    assert free_memory.free_memory(tmp_path) == 64 * GIB


@pytest.mark.parametrize("path", ["/", "/not/there", "/../../other"])
def test_a_container_has_the_limit_of_its_mount_point(tmp_path, path):
    files = {"proc/self/cgroup": f"0::{path}\n"} | _v2("", 8 * GIB, 3 * GIB)
    assert free_memory.free_memory(_tree(tmp_path, files)) == 5 * GIB


def test_the_tightest_of_nested_groups_counts(tmp_path):
    files = {"proc/self/cgroup": "0::/a/b\n"} | _v2("/a/b", "max", GIB) | _v2("/a", 4 * GIB, 3 * GIB)
    files |= _v2("", 16 * GIB, 5 * GIB)
    assert free_memory.free_memory(_tree(tmp_path, files)) == GIB


def test_cache_that_linux_frees_on_demand_is_free(tmp_path):
    files = {"proc/self/cgroup": "0::/\n"} | _v2("", 8 * GIB, 8 * GIB - 2**20, cache=7 * GIB)
    assert free_memory.free_memory(_tree(tmp_path, files)) == 7 * GIB + 2**20


def test_the_first_version_of_control_groups(tmp_path):
    folder = "sys/fs/cgroup/memory/docker/x"
    files = {
        "proc/self/cgroup": "12:cpu,cpuacct:/docker/x\n5:memory:/docker/x\n0::/system.slice\n",
        f"{folder}/memory.limit_in_bytes": str(2 * GIB),
        f"{folder}/memory.usage_in_bytes": str(GIB),
        f"{folder}/memory.stat": f"inactive_file 3\ntotal_inactive_file {GIB // 2}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
    }
    assert free_memory.free_memory(_tree(tmp_path, files)) == 1.5 * GIB


@pytest.mark.parametrize("text", ["", "garbled", "-5", "12 monkeys", "\u00e9", "9" * 400])
def test_a_garbled_limit_is_none(tmp_path, text):
    files = {"proc/self/cgroup": "0::/\n\nrubbish\n::\n"} | _v2("", text, GIB)
    assert free_memory.free_memory(_tree(tmp_path, files)) == 64 * GIB


def test_more_used_than_allowed_is_nothing_left(tmp_path):
    files = {"proc/self/cgroup": "0::/\n"} | _v2("", GIB, 2 * GIB)
    assert free_memory.free_memory(_tree(tmp_path, files)) == 0


def test_the_process_own_limit_counts():
    resource = pytest.importorskip("resource")
    code = (
        "import resource, psutil; from nst_tf.engine import free_memory;"
        f"used = psutil.Process().memory_info().vms; limit = used + {GIB};"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); print(free_memory.free_memory())"
    )
    assert resource is not None
    found = subprocess.run([sys.executable, "-c", code], cwd=conftest.ROOT, capture_output=True, text=True)
    assert float(found.stdout) == pytest.approx(GIB, rel=0.1), found.stderr


def test_the_peak_is_at_least_what_is_in_use():
    used, peak = free_memory.used_memory(), free_memory.peak_memory()
    assert peak is not None
    assert 0 < used <= 1.01 * peak


def test_a_system_that_does_not_say_its_peak(tmp_path, monkeypatch):
    monkeypatch.setattr(free_memory, "resource", None)
    assert free_memory.peak_memory(tmp_path) is None
