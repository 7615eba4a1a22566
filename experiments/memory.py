"""How much memory there is, so that what cannot fit is refused before anything is allocated.

An allocation says too little: the system grants more than it has, and ends the process that comes to use it.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path


def check_memory(what: str, needed: int) -> None:
    """Raise ValueError unless so many bytes are free; ``what`` is the sentence up to "needs"."""
    free = free_bytes()
    if needed > free:
        raise ValueError(f"{what} needs at least {_size(needed)} of memory, and {_size(free)} are free here")


def free_bytes() -> int:
    """The memory that this process can still have: the least of what the machine, its cgroup and its limits leave."""
    return max(0, min((*_machine(), *_cgroup(), *_limit())))


def _machine() -> Iterator[int]:
    lines = _text(Path("/proc/meminfo")).splitlines()
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    if "MemAvailable" in found:
        yield found["MemAvailable"] + found.get("SwapFree", 0)
    else:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup() -> Iterator[int]:
    """Versions 2 and 1, where the process's own group or the one that is mounted can be read; file caches are free."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = Path("/sys/fs/cgroup", kinds)
        limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        for folder in {root / path.lstrip("/"), root}:
            most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
            if most.isdecimal() and used.isdecimal():
                stat = dict(entry.split() for entry in _text(folder / "memory.stat").splitlines())
                yield int(most) - int(used) + int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _limit() -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        used = _text(Path("/proc/self/statm")).split()
        yield most - (int(used[0]) * os.sysconf("SC_PAGE_SIZE") if used else 0)


def _text(path: Path) -> str:
    """What the system says there; nothing where it does not."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _size(n: int) -> str:
    return f"{n / 2**30:,.1f} GiB" if n >= 2**30 else f"{n / 2**20:,.1f} MiB"
