"""The memory, in bytes, that this process may still take: of the machine, its containers, its own limit."""

import contextlib
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class _Files(NamedTuple):
    """The files of a control group that say what it may use and uses."""

    limits: tuple[str, ...]
    usage: str
    reclaimable: tuple[str, ...]  # keys of memory.stat: what Linux frees before it refuses memory


# https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html. Above memory.high a group is
# slowed down until it uses less.
_V2 = _Files(("memory.max", "memory.high"), "memory.current", ("inactive_file", "slab_reclaimable"))
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file",))


def free_memory(root: pathlib.Path = pathlib.Path("/")) -> float:
    """Returns how much this process may still take.

    Args:
        root: Where /proc and /sys are.
    """
    free = [float(psutil.virtual_memory().available), *_group_memory(root), *_address_space()]
    return max(0.0, min(free))


def _group_memory(root: pathlib.Path) -> Iterator[float]:
    """Yields what is left in each control group that this process is in, with a limit."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _along(root / "sys/fs/cgroup", path, _V2)
        elif "memory" in controllers.split(","):
            yield from _along(root / "sys/fs/cgroup/memory", path, _V1)


def _along(mount: pathlib.Path, path: str, files: _Files) -> Iterator[float]:
    """Yields what is left in a group and in those that it is nested in.

    In a container the path may be that of the machine, which is not there: the mount point is then its own
    group.
    """
    folders = [part for part in pathlib.PurePosixPath(path).parts if part not in ("/", "..")]
    for count in range(len(folders), -1, -1):
        left = _left(mount.joinpath(*folders[:count]), files)
        if left is not None:
            yield left


def _left(group: pathlib.Path, files: _Files) -> float | None:
    """Returns what is left in a group; None where it has no limit, or says nothing that can be read."""
    limits = [number for name in files.limits if (number := _number(_read(group / name))) is not None]
    used = _number(_read(group / files.usage))
    if not limits or used is None:
        return None
    return min(limits) - used + _reclaimable(group, files)


def _reclaimable(group: pathlib.Path, files: _Files) -> float:
    """Returns how much of a group's memory is cache that Linux frees on demand."""
    total = 0.0
    for line in _read(group / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key in files.reclaimable:
            total += _number(value) or 0.0
    return total


def _number(text: str) -> float | None:
    """Returns a whole number; None for "max", and for what is none."""
    return float(text.strip()) if text.strip().isdecimal() else None


def _read(path: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace")
    return ""


def _address_space() -> Iterator[float]:
    """Yields what is left of the limit of this process' address space (`ulimit -v`), where there is one."""
    if resource is None:
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield float(limit) - psutil.Process().memory_info().vms


def used_memory() -> float:
    """Returns how much this process has in memory."""
    return float(psutil.Process().memory_info().rss)


def peak_memory(root: pathlib.Path = pathlib.Path("/")) -> float | None:
    """Returns the most that this process has had in memory; None where the system does not say.

    Args:
        root: Where /proc is.
    """
    found = re.search(r"VmHWM:\s*(\d+) kB", _read(root / "proc/self/status"))
    if found:
        return float(found[1]) * 1024  # not getrusage(2), which on Linux begins with the parent's peak
    if sys.platform == "darwin" and resource is not None:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows
