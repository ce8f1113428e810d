"""Every field of the sandbox, read back from the engine while the container runs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.sandbox.support import LIMITS, TRAINING, get_spec, tell, wait_for_line, wait_until_running
from worker.sandbox import DockerSandbox
from worker.sandbox.engine import find_unfit
from worker.sandbox.seccomp import get_profile
from worker.sandbox.spec import MASKED_PATHS, OWNER_LABEL, READ_ONLY_PATHS, Action, RunSpec
from worker.sandbox.spec import get_container_config as configure

MEMORY = LIMITS.memory_mib << 20
USUAL_CPU_SHARES = 1024


@contextmanager
def _evaluating(
    sandbox: DockerSandbox, client: docker.APIClient, image: str, model: Path, action: str
) -> Iterator[dict[str, Any]]:
    """Give the effective container of an evaluation that stays in `action`."""
    model.write_text("until_told" if action == "predict" else "score until_told", encoding="ascii")
    thread = threading.Thread(target=sandbox.evaluate, args=(image, model, LIMITS))
    thread.start()
    try:
        container = wait_until_running(sandbox, action)
        yield container
        tell(client, container["Id"])
    finally:
        thread.join()


@pytest.fixture(params=["train", "predict", "score"])
def inspected(
    request: pytest.FixtureRequest,
    sandbox: DockerSandbox,
    hostile: str,
    train: Callable[..., Any],
    deadline_ms: int,
    engine_client: docker.APIClient,
    tmp_path: Path,
) -> Iterator[tuple[str, dict[str, Any]]]:
    if request.param == "train":
        training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms))
        wait_for_line(training, "ready")
        yield "train", sandbox.host.engine.inspect(training.container_id)
        return
    sandbox.check_sample(hostile, LIMITS)  # which would else be taken for the model
    with _evaluating(sandbox, engine_client, hostile, tmp_path / "model", request.param) as found:
        yield request.param, found


def test_every_field_is_in_force(inspected: tuple[str, dict[str, Any]], sandbox: DockerSandbox) -> None:
    action, container = inspected
    host, config = container["HostConfig"], container["Config"]
    uid = _check_user(config["User"])
    assert config["Entrypoint"] == ["/lc/run"]
    assert config["Cmd"] == [action]
    assert (config["WorkingDir"], config["Hostname"], config["Domainname"]) == ("/tmp", "lc", "")
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert (config["Tty"], config["OpenStdin"], config["AttachStdin"]) == (False, False, False)
    assert config["StopSignal"] == "SIGTERM"
    assert not config["Volumes"]
    assert config["Labels"][OWNER_LABEL] == sandbox.host.owner
    assert (host["Runtime"], host["NetworkMode"], host["Init"]) == ("runc", "none", True)
    assert (host["IpcMode"], host["PidMode"], host["UTSMode"], host["CgroupnsMode"]) == ("private", "", "", "private")
    assert (host["Privileged"], host["ReadonlyRootfs"], host["CapAdd"]) == (False, True, None)
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true", f"seccomp={get_profile()}"]
    assert host["PidsLimit"] >= 512
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (MEMORY, MEMORY, MEMORY // 2)
    assert not host["OomKillDisable"]
    assert host["OomScoreAdj"] == (800 if action == "train" else 500)
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"core": 0, "msgqueue": 0, "nofile": 16_384}
    assert host["LogConfig"] == {"Type": "none", "Config": {}}
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["Devices"]
    assert not host["DeviceRequests"]
    assert not host["Binds"]
    assert not host["VolumesFrom"]
    assert not host["PortBindings"]
    assert set(host["MaskedPaths"]) == set(MASKED_PATHS)
    assert set(host["ReadonlyPaths"]) == set(READ_ONLY_PATHS)
    assert set(container["NetworkSettings"]["Networks"]) <= {"none"}
    _check_cpus(action, host, sandbox)
    _check_places(action, container)
    assert uid != 0


def _check_user(user: str) -> int:
    uid, gid = user.split(":")
    assert uid == gid
    return int(uid)


def _check_cpus(action: str, host: dict[str, Any], sandbox: DockerSandbox) -> None:
    if action == "train":
        assert host["NanoCpus"] == TRAINING.milli_cpus * 1_000_000
        assert host["CpusetCpus"] == ",".join(map(str, sandbox.host.cpus))
        assert 0 < host["CpuShares"] < USUAL_CPU_SHARES
    else:
        assert host["NanoCpus"] == 0
        assert host["CpusetCpus"] == str(sandbox.host.cpus[0])
        assert host["CpuShares"] in (0, USUAL_CPU_SHARES)


def _check_places(action: str, container: dict[str, Any]) -> None:
    mounts = {mount["Destination"]: mount["RW"] for mount in container["Mounts"]}
    own = {"/lc/in": False, "/etc/passwd": False, "/etc/group": False, "/etc/machine-id": False, "/lc/out": True}
    assert mounts == own | ({"/lc/state": True} if action == "train" else {})
    tmpfs = container["HostConfig"]["Tmpfs"]
    assert set(tmpfs) == ({"/tmp"} if action == "score" else {"/tmp", "/lc/private"})
    assert {"exec", "nosuid", "nodev", f"size={MEMORY}"} <= set(tmpfs["/tmp"].split(","))
    if action != "score":
        assert {"ro", "noexec", "nosuid", "nodev"} <= set(tmpfs["/lc/private"].split(","))


def test_two_runs_have_different_uids(sandbox: DockerSandbox) -> None:
    with sandbox.host.uid() as first, sandbox.host.uid() as second:
        assert first != second


def test_system_calls_of_32_bits_have_no_way_around_the_profile() -> None:
    """One of them makes sockets of all families, which its numbers in memory name."""
    assert json.loads(get_profile())["architectures"] == ["SCMP_ARCH_X86_64"]


def test_root_is_refused() -> None:
    spec = RunSpec(Action.PREDICT, "sha256:0", 0, (0,), MEMORY, (), "runc", {})
    with pytest.raises(ValueError, match="root"):
        configure(spec)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MemoryLimit": False}, "memory limits"),
        ({"SwapLimit": False}, "swap limits"),
        ({"PidsLimit": False}, "process limits"),
        ({"CPUSet": False}, "cpusets"),
        ({"CpuCfsQuota": False}, "CPU quotas"),
        ({"OSType": "windows"}, "linux"),
        ({"Architecture": "aarch64"}, "x86-64"),
        ({"Runtimes": {"crun": {}}}, "the runtime runc"),
        ({"CgroupDriver": "none"}, "pause"),
        ({"SecurityOptions": ["name=apparmor"]}, "seccomp"),
    ],
)
def test_an_engine_that_lacks_something_is_named_unfit(
    sandbox: DockerSandbox, change: dict[str, Any], words: str
) -> None:
    info = sandbox.host.engine.info()
    assert find_unfit(info, "runc") == []
    (lack,) = find_unfit(info | change, "runc")
    assert words in lack
