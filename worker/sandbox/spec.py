"""What a container is created from: one pure function from a run to the engine's configuration, field by field."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from worker.sandbox.seccomp import get_profile

HOST_NAME = "lc"
USER_NAME = "lc"
MACHINE_ID = "6c6561726e696e67636861696e000001"  # "learningchain" in hex, the same on every machine
PIDS_LIMIT = 1024
OPEN_FILES = 16_384
TMP_INODES = 262_144
NANO_CPUS_PER_MILLI = 1_000_000
TRAIN_CPU_SHARES = 128  # of the engine's usual 1024: evaluations have deadlines, training takes what is left
OUT_OF_MEMORY_SCORE = 500  # when the whole host runs out of memory, sandboxes go first,
TRAIN_OUT_OF_MEMORY_SCORE = 800  # and of them trainings, which go on later: an evaluation that is killed is a finding

OWNER_LABEL = "org.learningchain.sandbox.owner"
PROCESS_LABEL = "org.learningchain.sandbox.process"
ATTEMPT_LABEL = "org.learningchain.sandbox.attempt"

# The engine's own list, and places by which one machine could be told from another.
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys/kernel/random/boot_id",
    "/sys/class",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Action(Enum):
    """What /lc/run is asked to do."""

    TRAIN = "train"
    PREDICT = "predict"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One container: who runs what, with which resources."""

    action: Action
    image: str  # the engine's image id
    uid: int  # also the gid; never 0
    cpus: tuple[int, ...]
    memory_bytes: int
    mounts: tuple[dict[str, Any], ...]  # in the engine's form
    runtime: str
    labels: dict[str, str]
    milli_cpus: int = 0  # quota; 0: all of `cpus`
    environment: dict[str, str] = field(default_factory=dict)  # beside the fixed one


def get_environment(spec: RunSpec) -> dict[str, str]:
    """Return the variables that are set over those of the image."""
    threads = str(-(-spec.milli_cpus // 1000) if spec.milli_cpus else len(spec.cpus))
    return {
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",
        "USER": USER_NAME,
        "LOGNAME": USER_NAME,
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "NVIDIA_VISIBLE_DEVICES": "void",  # an image's own value would open GPUs under some engine set-ups
        **spec.environment,
    }


def get_container_config(spec: RunSpec) -> dict[str, Any]:
    """Return the body of the engine's create call. Everything an image may set for itself is overridden."""
    if spec.uid == 0:
        raise ValueError("a sandbox never runs as root")
    return {
        "Image": spec.image,
        "Entrypoint": ["/lc/run"],
        "Cmd": [spec.action.value],
        "WorkingDir": "/tmp",
        "User": f"{spec.uid}:{spec.uid}",
        "Env": [f"{name}={value}" for name, value in get_environment(spec).items()],
        "Hostname": HOST_NAME,
        "Domainname": "",
        "Labels": spec.labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "NetworkDisabled": True,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _get_host_config(spec),
    }


def _get_host_config(spec: RunSpec) -> dict[str, Any]:
    return {
        "Runtime": spec.runtime,
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={get_profile()}"],
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READ_ONLY_PATHS),
        "Devices": [],
        "PidsLimit": PIDS_LIMIT,
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,  # memory and swap together: no swap
        "OomScoreAdj": TRAIN_OUT_OF_MEMORY_SCORE if spec.action is Action.TRAIN else OUT_OF_MEMORY_SCORE,
        "CpusetCpus": ",".join(map(str, spec.cpus)),
        "NanoCpus": spec.milli_cpus * NANO_CPUS_PER_MILLI,
        "CpuShares": TRAIN_CPU_SHARES if spec.action is Action.TRAIN else 0,  # 0: the engine's default
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "msgqueue", "Soft": 0, "Hard": 0},  # /dev/mqueue would be one more writable place
            {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
        ],
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Init": True,
        "Mounts": list(spec.mounts),
        "Tmpfs": _get_tmpfs(spec),
        "ShmSize": spec.memory_bytes // 2,
    }


def _get_tmpfs(spec: RunSpec) -> dict[str, str]:
    tmpfs = {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.memory_bytes},nr_inodes={TMP_INODES}"}
    if spec.action is not Action.SCORE:
        tmpfs["/lc/private"] = "ro,noexec,nosuid,nodev,mode=0555,size=4096,nr_inodes=2"
    return tmpfs


def get_passwd(uid: int) -> str:
    """Return /etc/passwd: libraries look their user up, and some fail without a name."""
    return f"root:x:0:0:root:/tmp:/bin/sh\n{USER_NAME}:x:{uid}:{uid}:{USER_NAME}:/tmp:/bin/sh\n"


def get_group(gid: int) -> str:
    """Return /etc/group that goes with get_passwd."""
    return f"root:x:0:\n{USER_NAME}:x:{gid}:\n"
