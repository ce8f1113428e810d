"""What the sandbox's tests share."""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import docker

from worker.sandbox import (
    DockerSandbox,
    Evaluation,
    EvaluationLimits,
    LogLine,
    Progress,
    Training,
    TrainingLimits,
    TrainingSpec,
)
from worker.sandbox.spec import PROCESS_LABEL

_Found = TypeVar("_Found")

IMAGES = Path(__file__).parent / "images"
LIMITS = EvaluationLimits(cores=1, memory_mib=96, seconds=30, image_mib=1024, model_mib=1, predictions_mib=4)
TRAINING = TrainingLimits(milli_cpus=500, memory_mib=96, state_mib=4, image_mib=1024, model_mib=4, seconds=60)
# The order of JOBS in images/hostile/run.
JOBS = (
    *("ignore_term", "resume", "improve", "lease", "train_link", "train_facts", "train_disk", "train_state_inodes"),
    *("log", "memory", "sleep", "idle"),
)


class Evaluate(Protocol):
    def __call__(self, model: str, limits: EvaluationLimits = ..., chosen: DockerSandbox = ...) -> Evaluation: ...


def get_repository(registry: str, name: str) -> str:
    return f"{registry}/learningchain/test-{name}"


def get_spec(image: str, behaviour: str, deadline_ms: int, **changes: Any) -> TrainingSpec:
    """Return what starts the hostile image with a behaviour; `changes` replaces fields."""
    fields = {"attempt": secrets.token_hex(16), "limits": TRAINING, **changes}
    return TrainingSpec(job_id=JOBS.index(behaviour), image=image, deadline_ms=deadline_ms, **fields)


def wait_for(look: Callable[[], _Found | None], seconds: float = 20.0) -> _Found:
    """Return what `look` finds as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def wait_for_line(training: Training, text: str, seconds: float = 20.0) -> list[str]:
    """Return the log lines up to one that contains `text`."""
    lines: list[str] = []

    def look() -> bool:
        lines.extend(line.text for line in training.lines() if isinstance(line, LogLine))
        return any(text in line for line in lines)

    wait_for(look, seconds)
    return lines


def wait_for_end(training: Training, seconds: float = 20.0) -> list[Progress | LogLine]:
    """Return all lines of a training that ends by itself."""
    lines: list[Progress | LogLine] = []

    def look() -> bool:
        is_over = training.status().state.value != "running"
        lines.extend(training.lines())
        return is_over

    wait_for(look, seconds)
    return lines


def wait_until_running(sandbox: DockerSandbox, action: str) -> dict[str, Any]:
    """Return what the engine says of the sandbox's container that runs an action."""
    engine = sandbox.host.engine

    def find() -> dict[str, Any] | None:
        for container in engine.containers(f"{PROCESS_LABEL}={sandbox.host.process}"):
            if container["State"] == "running" and container["Command"].endswith(f"/lc/run {action}"):
                found = engine.inspect(container["Id"])
                return found if found["State"]["Running"] else None
        return None

    return wait_for(find)


def tell(client: docker.APIClient, container: str) -> None:
    """Let a program that runs `until_told` end."""
    command = ["/usr/bin/python3", "-IS", "-c", "open('/tmp/told', 'w')"]
    assert client.exec_start(client.exec_create(container, command)["Id"]) == b""


def get_facts(evaluation: Evaluation) -> dict[str, Any]:
    """Return the JSON object that a failing run printed."""
    match = re.search(r"\{.*\}", evaluation.detail)
    assert match is not None, evaluation.detail
    facts = json.loads(match[0])
    assert isinstance(facts, dict)
    return facts


def list_mounts(folder: Path) -> list[str]:
    """Return the mounts below a folder, as the system's own tool lists them."""
    found = subprocess.run(["findmnt", "-rn", "-o", "TARGET"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.startswith(str(folder))]
