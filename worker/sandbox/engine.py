"""The Docker Engine: every call with its own time limit, every failure an OwnFailureError that says what failed."""

import base64
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import docker
import docker.errors
from urllib3.exceptions import HTTPError

from worker.sandbox.connection import EngineStream
from worker.sandbox.output import sanitise
from worker.sandbox.types import EngineRefusedError, OwnFailureError, UnfitEngineError

CALL_SECONDS = 60  # of one ordinary call; an overloaded disk makes create and remove slow
DEFAULT_SOCKET = "unix:///var/run/docker.sock"

# Words of engine and runtime for a container that is not in the state that is to be ended.
_NOT_SO = ("not running", "not paused", "cannot resume a running process")

# With control groups v1 runc gives up after 0.3 s, and thaws again, when what is to be frozen gets no turn on a busy
# processor: of 40 tries at a training's weight, with 13 processes waiting for two cores, 13 failed.
FREEZE_TRIES = 5
_UNFROZEN = "unable to freeze"

REASON_CHARACTERS = 2000  # of the engine's own words in a message

Json = dict[str, Any]


class Engine:
    """Thin typed layer over the SDK's low-level client."""

    def __init__(self, url: str = "") -> None:
        self.url = url or os.environ.get("DOCKER_HOST", "") or DEFAULT_SOCKET
        if not self.url.startswith("unix://"):
            raise UnfitEngineError(f"the engine's address {self.url} is no unix:// socket: set engine = unix:///…")
        try:
            self._api = docker.APIClient(base_url=self.url, version="auto", timeout=CALL_SECONDS)
        except (docker.errors.DockerException, HTTPError, OSError) as error:
            raise OwnFailureError(
                f"no container engine answers at {self.url}: start Docker, or name another socket in the settings "
                f"(engine, section sandbox); the reason was {error}"
            ) from error

    def info(self) -> Json:
        """Return the engine's description of itself."""
        with _calling("describe itself"):
            info: Json = self._api.info()
        return info

    def version(self) -> Json:
        """Return the versions of the engine and its parts."""
        with _calling("tell its version"):
            version: Json = self._api.version()
        return version

    def create(self, name: str, config: Json) -> str:
        """Create a container and return its id."""
        with _calling("create a container"):
            created: Json = self._api.create_container_from_config(config, name)
        return str(created["Id"])

    def attach(self, container: str) -> EngineStream:
        """Return the container's output; call it before start, or lines are lost."""
        query = {"stream": "1", "stdout": "1", "stderr": "1"}
        stream = self._stream("POST", f"/containers/{container}/attach", query)
        if stream.status != 101:
            stream.close()
            raise OwnFailureError(f"the engine failed to attach to a container: status {stream.status}")
        stream.wait_forever()
        return stream

    def start(self, container: str) -> None:
        """Start a created container."""
        with _calling("start a container"):
            self._api.start(container)

    def wait(self, container: str, seconds: float) -> bool:
        """Return whether the container ended within `seconds`."""
        try:
            self._api.wait(container, timeout=max(seconds, 0.01))
        except docker.errors.NotFound:
            return True  # somebody removed it
        except (docker.errors.DockerException, HTTPError, OSError) as error:
            if "timed out" in str(error):
                return False
            raise OwnFailureError(f"the engine failed to wait for a container: {error}") from error
        return True

    def inspect(self, container: str) -> Json:
        """Return the effective container."""
        with _calling("inspect a container"):
            found: Json = self._api.inspect_container(container)
        return found

    def stats(self, container: str) -> Json:
        """Return one reading of the container's counters, without waiting for a second one."""
        with _calling("read a container's counters"):
            stats: Json = self._api.stats(container, stream=False, one_shot=True)
        return stats

    def pause(self, container: str) -> bool:
        """Freeze a running container; False when it is not running."""
        for _ in range(FREEZE_TRIES - 1):
            try:
                return self._signal_call("pause", self._api.pause, container)
            except EngineRefusedError as error:
                if _UNFROZEN not in str(error):
                    raise
        return self._signal_call("pause", self._api.pause, container)

    def unpause(self, container: str) -> bool:
        """Thaw a frozen container; False when it is not frozen."""
        return self._signal_call("unpause", self._api.unpause, container)

    def kill(self, container: str, signal: str = "SIGKILL") -> bool:
        """Send a signal; False when the container is not running (any more)."""
        return self._signal_call("kill", lambda name: self._api.kill(name, signal=signal), container)

    def remove(self, container: str) -> None:
        """Remove a container with its anonymous volumes, running or not; one that is gone is fine."""
        with _calling("remove a container"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if "already in progress" not in str(error):
                    raise

    def containers(self, label: str) -> list[Json]:
        """Return all containers, dead ones too, that carry the label `name=value`."""
        with _calling("list containers"):
            found: list[Json] = self._api.containers(all=True, filters={"label": label})
        return found

    def create_volume(self, name: str, labels: dict[str, str]) -> None:
        """Create a named volume of the local driver."""
        with _calling("create a volume"):
            self._api.create_volume(name, driver="local", labels=labels)

    def remove_volume(self, name: str) -> None:
        """Remove a volume and all it holds; one that is gone is fine."""
        with _calling("remove a volume"):
            try:
                self._api.remove_volume(name, force=True)
            except docker.errors.NotFound:
                return

    def volumes(self, label: str) -> list[Json]:
        """Return the volumes that carry the label `name=value`."""
        with _calling("list volumes"):
            found: Json = self._api.volumes(filters={"label": label})
        return list(found.get("Volumes") or ())

    @contextlib.contextmanager
    def archive(self, container: str, path: str) -> Iterator[tuple[Iterator[bytes], Json] | None]:
        """Give the tar stream of a path inside a container and its stat; None when there is nothing to be had there.

        The path may be the program's: where the engine cannot follow it, but can look into the container, there is
        nothing.
        """
        with self._stream("GET", f"/containers/{container}/archive", {"path": path}) as stream:
            if stream.status == 404 or (stream.status != 200 and self._can_look_into(container)):
                yield None
                return
            if stream.status != 200:
                raise OwnFailureError(f"the engine failed to read from a container: status {stream.status}")
            stat = base64.b64decode(stream.get_header("X-Docker-Container-Path-Stat"))
            yield stream.read_chunks(), json.loads(stat)

    def _can_look_into(self, container: str) -> bool:
        with self._stream("HEAD", f"/containers/{container}/archive", {"path": "/"}) as stream:
            return stream.status == 200

    def image(self, reference: str) -> Json | None:
        """Return an image that is here, None when it is not: of a name that the engine cannot read none is."""
        with _calling("inspect an image"):
            try:
                image: Json = self._api.inspect_image(reference)
            except docker.errors.APIError as error:
                if error.status_code not in (400, 404):
                    raise
                return None
        return image

    def import_image(self, repository: str, tag: str, content: bytes) -> None:
        """Make an image of one layer from a tar."""
        with _calling("import an image"):
            self._api.import_image_from_data(content, repository=repository, tag=tag)

    def remove_image(self, reference: str) -> None:
        """Remove an image; one that is gone or in use stays as it is."""
        with _calling("remove an image"):
            try:
                self._api.remove_image(reference, force=False)
            except docker.errors.APIError as error:
                if error.status_code not in (400, 404, 409):
                    raise

    def load(self) -> EngineStream:
        """Ask to take images from a tar; its bytes are to be uploaded, the answer is to begin then.

        The engine may be silent for long while it unpacks.
        """
        path = self._get_path("/images/load")
        return EngineStream(self.url, None, "POST", path, {"quiet": "1"}, has_body=True)

    def close(self) -> None:
        """Close all connections."""
        self._api.close()

    def _stream(self, method: str, path: str, query: dict[str, str]) -> EngineStream:
        return EngineStream(self.url, CALL_SECONDS, method, self._get_path(path), query).begin()

    def _get_path(self, path: str) -> str:
        return f"/v{self._api.api_version}{path}"

    @staticmethod
    def _signal_call(action: str, call: Any, container: str) -> bool:
        with _calling(f"{action} a container"):
            try:
                call(container)
            except docker.errors.APIError as error:
                if error.status_code in (404, 409) or any(words in str(error) for words in _NOT_SO):
                    return False
                raise
        return True


@contextlib.contextmanager
def _calling(action: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.APIError as error:
        words = sanitise(str(error.explanation or error), REASON_CHARACTERS)  # they hold names that an image chose
        raise EngineRefusedError(f"the engine failed to {action}: {words}") from error
    except (docker.errors.DockerException, HTTPError, OSError) as error:
        raise OwnFailureError(f"the engine failed to {action}: {error}") from error


REQUIRED = {
    "MemoryLimit": "memory limits",
    "SwapLimit": "swap limits (kernel argument swapaccount=1, or cgroup v2)",
    "PidsLimit": "process limits",
    "CPUSet": "cpusets",
    "CpuCfsQuota": "CPU quotas",
}


def find_unfit(info: Json, runtime: str) -> Sequence[str]:
    """Return what an engine with this description lacks, in words; empty when it is fit."""
    lacks = [words for name, words in REQUIRED.items() if not info.get(name)]
    if info.get("OSType") != "linux" or info.get("Architecture") not in ("x86_64", "amd64"):
        lacks.append("linux on x86-64")
    if runtime not in (info.get("Runtimes") or {}):
        lacks.append(f"the runtime {runtime} (add it to the engine's daemon.json, or choose another in the settings)")
    if info.get("CgroupDriver") == "none":
        lacks.append("control groups, and so limits and pause (rootless on cgroup v1: use cgroup v2)")
    if not any("seccomp" in option for option in info.get("SecurityOptions") or ()):
        lacks.append("seccomp")
    return lacks


def uses_containerd(info: Json) -> bool:
    """Return whether an engine with this description keeps images in containerd's store."""
    return ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
