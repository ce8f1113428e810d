"""The Docker Engine: a running one where there is one, else a private one below the state folder."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tools.setup.engine_api import Engine
from tools.setup.packages import WITH_SUDO, find_program, is_root_in_reach
from tools.setup.processes import (
    as_root,
    get_parent,
    read_note,
    read_record,
    send_signal,
    start_daemon,
    stop_recorded,
    wait_for_end,
    write_record,
)
from tools.setup.settings import LOGS, SOCKET_PATH_BYTES, STATE, STOP_SECONDS, SetupError
from tools.setup.steps import Work

DEFAULT_SOCKET = Path("/var/run/docker.sock")
SYSTEMD = Path("/run/systemd/system")
DATA = STATE / "engine"
RECORD = STATE / "engine.json"
LOG = LOGS / "dockerd.log"
START_SECONDS = 40
SERVICE_SECONDS = 10
"""How long the system's own service may take to answer after its package was installed."""
LONGEST_SOCKET = "containerd/containerd-debug.sock"
"""The longest path that the engine makes below its run folder."""
TRUST_KEY = Path("/etc/docker/key.json")
"""Engines before 24 write a key here whatever their settings."""
CGROUPS = Path("/sys/fs/cgroup")
FOLDERS_OUTSIDE = ("/run/docker/plugins", "/run/docker", "/run/containerd/s", "/run/containerd", "/etc/docker")
"""Every engine makes these, and control groups. What was not there before is removed if it is empty, deepest first."""
OUTSIDE_NOTE = STATE / "engine-made.json"


def get_run_folder() -> Path:
    """Return the folder of the private engine's sockets: in the state folder, or a short one where that is too long."""
    folder = STATE / "run"
    if len(os.fsencode(folder / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES:
        return folder
    name = hashlib.sha256(os.fsencode(STATE)).hexdigest()[:8]
    return Path("/tmp") / f"lc-{name}"  # not TMPDIR, which can be another when it is to be stopped


def get_private_host() -> str:
    """Return the address of the private engine, running or not."""
    return f"unix://{get_run_folder()}/docker.sock"


def find_running() -> tuple[str, str] | None:
    """Return (address, whose) of an engine that answers. Raise SetupError when DOCKER_HOST names one that does not."""
    named = os.environ.get("DOCKER_HOST", "")
    if named and named != get_private_host():
        if reason := Engine(named).why_not():
            raise SetupError(
                f"DOCKER_HOST={named} does not answer: {reason}", "start that engine, or: unset DOCKER_HOST"
            )
        return named, "the engine of DOCKER_HOST"
    if read_record(RECORD) and not Engine(get_private_host()).why_not():
        return get_private_host(), "the private engine, already running"
    if DEFAULT_SOCKET.exists() and not Engine(f"unix://{DEFAULT_SOCKET}").why_not():
        return f"unix://{DEFAULT_SOCKET}", "the system's engine"
    return None


def check_startable() -> None:
    """Raise SetupError when no engine answers and this user cannot start one either."""
    if is_root_in_reach():
        return
    reason = Engine(f"unix://{DEFAULT_SOCKET}").why_not() if DEFAULT_SOCKET.exists() else "there is none"
    raise SetupError(
        f"no Docker Engine answers ({DEFAULT_SOCKET}: {reason}), and root is needed to start a private one",
        f"{WITH_SUDO}; or let a running engine answer you: as root, usermod -aG docker YOUR-NAME, then log in anew",
    )


def ensure(work: Work, *, just_installed: bool) -> tuple[str, str]:
    """Return (address, what to show) of an engine, starting a private one if none answers."""
    deadline = time.monotonic() + (SERVICE_SECONDS if just_installed and SYSTEMD.exists() else 0)
    while True:
        if found := find_running():
            note = "; its package started it, it is used and left running" if just_installed else ""
            return found[0], f"{found[1]}{note}"
        if time.monotonic() >= deadline:
            break
        work.say("waiting for the system's own service")
        time.sleep(0.5)
    start_private(work)
    return get_private_host(), "a private engine for this folder"


def start_private(work: Work) -> None:
    """Start dockerd below the state folder and wait until it answers."""
    program = find_program("dockerd")
    if program is None:
        raise SetupError("no Docker Engine answers and dockerd is not installed", "apt-get install docker.io")
    if "," in str(DATA):
        raise SetupError(f"dockerd cannot keep its data at {DATA}: there is a comma in the path", "move the checkout")
    stop_private()  # what a killed run may have left
    run = get_run_folder()
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    if run.stat().st_uid != os.geteuid():
        raise SetupError(f"{run} belongs to somebody else", f"rm -r {run}")
    OUTSIDE_NOTE.write_text(json.dumps([path for path in list_outside() if not exists(path)]))
    LOG.unlink(missing_ok=True)
    start_daemon(as_root(get_command(program, run)), RECORD, LOG)
    wait_until_ready(work, run)


def get_command(program: str, run: Path) -> list[str]:
    """Return the command line of the private engine: no bridge and no firewall rules on the host."""
    name = f"lc-{hashlib.sha256(os.fsencode(STATE)).hexdigest()[:8]}"  # apart from others in a system-wide containerd
    return [
        "env", f"TMPDIR={run}",  # where containerd writes its stacks when it was too slow for dockerd
        program, "--data-root", str(DATA), "--exec-root", str(run / "exec"), "--pidfile", str(run / "docker.pid"),
        "-H", f"unix://{run}/docker.sock", "-G", str(os.getegid()),
        "--bridge=none", "--iptables=false", "--ip-masq=false",
        "--containerd-namespace", name, "--containerd-plugins-namespace", f"{name}-plugins",
    ]  # fmt: skip


def wait_until_ready(work: Work, run: Path) -> None:
    """Wait for the first answer; raise SetupError with the engine's last words when it ends instead."""
    deadline = time.monotonic() + START_SECONDS
    while reason := Engine(get_private_host()).why_not():
        if read_record(RECORD) is None or time.monotonic() > deadline:
            text = "\n    ".join(LOG.read_text(errors="replace").splitlines()[-6:])
            stop_private()
            raise SetupError(
                f"dockerd did not start ({reason}):\n    {text}",
                f"see {LOG}; is this machine a container without cgroups?",
            )
        work.say("starting dockerd")
        time.sleep(0.1)
    pid = (run / "docker.pid").read_text()
    write_record(RECORD, int(pid))  # under sudo the child is sudo, not dockerd


def stop_private() -> bool:
    """Stop the private engine with its containers and remove its sockets; True if it ran."""
    run = get_run_folder()
    stopped = stop_recorded(RECORD, 2 * STOP_SECONDS)
    end_orphans(run)
    take_off_mounts(DATA)  # an engine may leave its data folder mounted on itself
    remove_tree(run)
    remove_outside()
    return stopped


def list_outside() -> list[str]:
    """Return what an engine makes outside its folders: a key, folders, and control groups, in v1 in each hierarchy."""
    is_v2 = (CGROUPS / "cgroup.controllers").exists()
    groups = [path / "docker" for path in ([CGROUPS] if is_v2 else CGROUPS.glob("*/"))]
    return [str(TRUST_KEY), *FOLDERS_OUTSIDE, *map(str, groups)]


def remove_outside() -> None:
    """Remove what the private engine made outside the state folder; folders only if they are empty."""
    if not OUTSIDE_NOTE.exists():
        return
    made = read_note(OUTSIDE_NOTE) or []
    if str(TRUST_KEY) in made:
        subprocess.run(as_root(["rm", "-f", str(TRUST_KEY)]), check=False)
    if folders := [path for path in made if path != str(TRUST_KEY)]:
        # Quiet, as some may be in use by others or never have been made; which ones, only root may see.
        subprocess.run(as_root(["rmdir", *folders]), check=False, stderr=subprocess.DEVNULL)
    OUTSIDE_NOTE.unlink()


def exists(path: str) -> bool:
    """Tell whether a path exists; one that we may not look at does."""
    try:
        return Path(path).exists()
    except PermissionError:
        return True


def end_orphans(run: Path) -> None:
    """End what survives a killed dockerd: containerd, its shims, and the containers below them."""
    helpers = [pid for pid, arguments in list_processes() if is_helper(arguments, run / "exec")]
    if not helpers:
        return
    family = [*helpers, *list_descendants(helpers)]
    for pid in family:
        send_signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS / 3
    for pid in family:
        if not wait_for_end(pid, max(0.0, deadline - time.monotonic())):
            send_signal(pid, signal.SIGKILL)
            wait_for_end(pid, STOP_SECONDS)


def list_processes() -> Iterator[tuple[int, list[str]]]:
    """Yield (id, arguments) of every process on this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            except OSError:  # it ended while we looked
                continue


def is_helper(arguments: list[str], folder: Path) -> bool:
    """Tell whether a command line is that of containerd or a shim which works in `folder`."""
    return "containerd" in Path(arguments[0]).name and any(text.startswith(f"{folder}/") for text in arguments)


def list_descendants(pids: list[int]) -> list[int]:
    """Return the ids of all processes below some others, parents first."""
    children: dict[int, list[int]] = {}
    for pid, _ in list_processes():
        if (parent := get_parent(pid)) is not None:
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += below
    return [pid for pid in found if pid not in pids]


def remove_tree(path: Path) -> None:
    """Delete a file or folder that may belong to root; mounts that a killed engine left in it are taken off first."""
    if not path.exists():
        return
    take_off_mounts(path)
    remove = ["rm", "-rf", "--one-file-system", str(path)]
    if subprocess.run(remove, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        subprocess.run(as_root(remove), check=False)


def take_off_mounts(folder: Path) -> None:
    """Unmount everything at or below a folder, deepest first."""
    mounts = [
        Path(line.split()[4].replace(r"\040", " ")) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    for mount in sorted((mount for mount in mounts if mount.is_relative_to(folder)), reverse=True):
        subprocess.run(as_root(["umount", "--lazy", str(mount)]), check=False)
