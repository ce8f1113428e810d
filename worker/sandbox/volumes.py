"""Workspaces for a worker that cannot mount: volumes of the engine, its archive API, and a watchdog.

Caps are not hard here: the watchdog looks at the free space of the engine's disk and, when that fell by more than the
cap, counts what the program really wrote. A burst between two looks can use up part of the reserve.
"""

import io
import os
import secrets
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

from abci_app.protocol.limits import MIB
from worker.sandbox.artifacts import Artifact, NoArtifactError, copy_archived
from worker.sandbox.engine import Engine
from worker.sandbox.host import Host
from worker.sandbox.processes import get_process_name
from worker.sandbox.spec import OWNER_LABEL, PROCESS_LABEL
from worker.sandbox.storage import (
    Inputs,
    Mount,
    State,
    Workspace,
    check_space,
    disk_failures,
    get_inputs_size,
    write_inputs,
)
from worker.sandbox.types import OwnFailureError

HELPER_REPOSITORY = "learningchain-empty"
HELPER_TAG = "1"
HELPER_IMAGE = f"{HELPER_REPOSITORY}:{HELPER_TAG}"
PLACE = "/place"


class EngineStorage:
    """Makes workspaces in volumes. They carry the owner's label, so that orphans are found."""

    name = "engine"

    def __init__(self, engine: Engine, owner: str, root: Path, reserve: int) -> None:
        """`root` is a folder on the disk that holds the engine's volumes."""
        self._engine = engine
        self._owner = owner
        self._root = root
        self._reserve = reserve

    def open(self, folder: Path, uid: int, inputs: Inputs, out_bytes: int, state: State | None = None) -> Workspace:
        """See Storage."""
        with disk_failures(folder):
            return self._open(folder, uid, inputs, out_bytes, state)

    def _open(self, folder: Path, uid: int, inputs: Inputs, out_bytes: int, state: State | None) -> Workspace:
        check_space(folder.parent, get_inputs_size(inputs), self._reserve)
        check_space(self._root, out_bytes + (state.size if state else 0), self._reserve)
        folder.mkdir(mode=0o700)
        workspace = EngineWorkspace(self._engine, folder, self._root, self._reserve)
        try:
            workspace.mounts = write_inputs(folder, uid, inputs)
            name = self._make_volume(f"{folder.name}-out", {PROCESS_LABEL: get_process_name()})
            workspace.add_volume("/lc/out", name, out_bytes, is_kept=False)
            if state is not None:
                name = self._make_volume(_get_state_volume(self._owner, state.attempt), {})
                workspace.add_volume("/lc/state", name, state.size, is_kept=True)
        except BaseException:
            workspace.close()
            raise
        return workspace

    def remove_state(self, folder: Path, attempt: str) -> None:
        """See Storage."""
        self._engine.remove_volume(_get_state_volume(self._owner, attempt))

    def _make_volume(self, name: str, labels: dict[str, str]) -> str:
        """Make a volume that any uid may write to: the engine copies the folder of our own image into a new one."""
        labels = {OWNER_LABEL: self._owner, **labels}
        self._engine.create_volume(name, labels)
        mount = {"Type": "volume", "Source": name, "Target": PLACE}
        self._engine.remove(create_helper(self._engine, f"{name}-maker", mount, labels))
        return name


def can_see(engine: Engine, mount: Mount, name: str, host: Host) -> bool:
    """Return whether the engine sees the file `name` in a folder that this process mounted."""
    with host.name() as helper:
        container = create_helper(engine, helper, {**mount, "Target": PLACE}, host.get_labels())
        try:
            with engine.archive(container, f"{PLACE}/{name}") as found:
                return found is not None
        finally:
            engine.remove(container)


def create_helper(engine: Engine, name: str, mount: Mount, labels: dict[str, str]) -> str:
    """Create a container, never to be started, of an image that holds one folder and no program."""
    ensure_helper(engine)
    host_config = {"Mounts": [mount], "NetworkMode": "none"}
    return engine.create(name, {"Image": HELPER_IMAGE, "Cmd": ["/"], "Labels": labels, "HostConfig": host_config})


def ensure_helper(engine: Engine) -> None:
    """Have the helper's image on the engine."""
    if engine.image(HELPER_IMAGE) is None:
        engine.import_image(HELPER_REPOSITORY, HELPER_TAG, _get_helper_tar())


def check_layers(engine: Engine) -> None:
    """Raise OwnFailureError unless the engine can unpack a layer, which is our own."""
    tag = secrets.token_hex(8)
    engine.import_image(HELPER_REPOSITORY, tag, _get_helper_tar())
    if engine.image(f"{HELPER_REPOSITORY}:{tag}") is None:
        raise OwnFailureError("the engine failed to unpack a layer of our own")
    engine.remove_image(f"{HELPER_REPOSITORY}:{tag}")


class EngineWorkspace:
    """See Workspace."""

    def __init__(self, engine: Engine, folder: Path, root: Path, reserve: int) -> None:
        self._engine = engine
        self._folder = folder
        self._root = root
        self._reserve = reserve
        self._volumes: dict[str, int] = {}  # path inside -> cap
        self._temporary: list[str] = []
        self._free = _get_free(root)
        self.mounts: tuple[Mount, ...] = ()

    def add_volume(self, target: str, name: str, cap: int, *, is_kept: bool) -> None:
        """Mount the volume `name` at `target`, to hold at most `cap` bytes."""
        self._volumes[target] = cap
        if not is_kept:
            self._temporary.append(name)
        self.mounts += ({"Type": "volume", "Source": name, "Target": target, "VolumeOptions": {"NoCopy": True}},)

    def get_signature(self, container: str, name: str) -> object:
        """See Workspace."""
        with self._engine.archive(container, f"/lc/out/{name}") as found:
            return None if found is None else (found[1].get("size"), found[1].get("mtime"), found[1].get("mode"))

    def copy_output(self, container: str, name: str, cap: int, into: BinaryIO) -> Artifact:
        """See Workspace."""
        with self._engine.archive(container, f"/lc/out/{name}") as found:
            if found is None:
                raise NoArtifactError(f"{name} was not written")
            return copy_archived(found[0], name, cap, into)

    def is_full(self) -> bool:
        """Return False: a program that wrote more than its cap was stopped by the watchdog."""
        return False

    def is_over(self, container: str) -> bool:
        """See Workspace."""
        free = _get_free(self._root)
        is_suspect = self._free - free > min(self._volumes.values()) or free < self._reserve
        if is_suspect and any(self._is_larger(container, path, cap) for path, cap in self._volumes.items()):
            return True
        check_space(self._root, 0, self._reserve)
        return False

    def close(self) -> None:
        """See Workspace."""
        for name in self._temporary:
            self._engine.remove_volume(name)
        shutil.rmtree(self._folder)

    def _is_larger(self, container: str, path: str, cap: int) -> bool:
        """Return whether a tar of `path` is larger than `cap`; each file counts with 1 KiB at least."""
        with self._engine.archive(container, path) as found:
            total = 0
            for chunk in found[0] if found else ():
                total += len(chunk)
                if total > cap + MIB:
                    return True
        return False


def _get_state_volume(owner: str, attempt: str) -> str:
    return f"lc-{owner}-state-{attempt}"


def _get_free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _get_helper_tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        place = tarfile.TarInfo(PLACE.lstrip("/"))
        place.type, place.mode = tarfile.DIRTYPE, 0o777
        archive.addfile(place)
    return content.getvalue()
