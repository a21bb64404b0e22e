"""How much memory the machine still has for this process."""

from __future__ import annotations

import pathlib
import re

# Of a control group, second version and first: its limit, what it uses, and the line of
# `memory.stat` with the cached files among that, which the system gives up before a process dies.
_FILES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_bytes(root: pathlib.Path = pathlib.Path("/")) -> int | None:
    """What Linux calls available, within the limits of the process's control groups.

    None where the system does not say, as macOS does not.
    """
    total = _number(root / "proc/meminfo", r"MemAvailable:\s+(\d+) kB")
    if total is None:
        return None
    rooms = [1024 * total]
    paths = re.findall(r"^(\d+):(.*?):/(.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    for folder, limit, used, cached in _FILES:
        top = root / "sys/fs/cgroup" / folder
        for _, controllers, path in paths:
            if controllers != folder:
                continue
            # A container may see its own group as the top, under a path of the machine outside.
            for group in {top, top / path, *(top / path).parents}:
                most = _number(group / limit, r"(\d+)")
                now = _number(group / used, r"(\d+)")
                if most is not None and now is not None:
                    files = _number(group / "memory.stat", rf"^{cached} (\d+)") or 0
                    rooms.append(max(most - now + files, 0))
    return min(rooms)


def _number(path: pathlib.Path, pattern: str) -> int | None:
    found = re.search(pattern, _text(path), re.MULTILINE)
    return int(found[1]) if found else None


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
