"""Memory a container uses now, without the cache of files, which the kernel drops when it needs room."""

from pathlib import Path

from worker.sandbox.engine import Engine, Json

CGROUPS = Path("/sys/fs/cgroup")


class Meter:
    """Reads the container's control group where this process sees it; else asks the engine, which takes a second."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._group: Path | None = None

    def read(self) -> int:
        """Return bytes in use; 0 when it has ended. Raises OwnFailureError."""
        if self._group is None:
            state = self._engine.inspect(self._container)["State"]
            if not state["Running"]:
                return 0
            self._group = find_group(int(state["Pid"]))
        if self._group is None:
            return compute_engine_use(self._engine.stats(self._container))
        return read_group(self._group)


def find_group(pid: int) -> Path | None:
    """Return the folder of the control group that counts the memory of a container's process; None if none is seen."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    # "/" counts the whole machine: what ended, but was not waited for yet, is shown there by version 1.
    fields = [line.split(":", 2) for line in lines if not line.endswith(":/")]
    folders = [CGROUPS / "memory" / path.lstrip("/") for _, names, path in fields if "memory" in names.split(",")]
    folders += [CGROUPS / path.lstrip("/") for _, names, path in fields if names == ""]
    return next((folder for folder in folders if (folder / "memory.stat").exists()), None)


def read_group(folder: Path) -> int:
    """Return the use that a control group of version 1 or 2 reports; 0 when it is gone."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        counters = {name: int(value) for name, value in (line.split() for line in lines)}
        current = folder / "memory.current"
        usage = int((current if current.exists() else folder / "memory.usage_in_bytes").read_text(encoding="ascii"))
    except OSError:
        return 0
    return subtract_cache(usage, counters)


def compute_engine_use(stats: Json) -> int:
    """Return the use that the engine reports."""
    memory = stats.get("memory_stats") or {}
    return subtract_cache(int(memory.get("usage", 0)), memory.get("stats") or {})


def subtract_cache(usage: int, counters: dict[str, int]) -> int:
    """Return bytes in use without the cache of files; version 1 counts the whole tree under names with total_."""
    prefix = "total_" if "total_active_file" in counters else ""
    cache = counters.get(f"{prefix}active_file", 0) + counters.get(f"{prefix}inactive_file", 0)
    return max(usage - cache, 0)
