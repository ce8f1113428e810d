"""Models that try to get out of the sandbox, or to harm the machine."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from abci_app.protocol.limits import RESERVED_LOSS
from tests.sandbox.support import LIMITS, Evaluate, get_facts, list_mounts
from worker.sandbox import DockerSandbox, Evaluation, Finding
from worker.sandbox.output import TAIL_BYTES
from worker.sandbox.spec import MACHINE_ID


def assert_contained(evaluation: Evaluation) -> None:
    """The image says 0 when none of its attacks went through."""
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, 0), evaluation.detail


def assert_overrun(evaluation: Evaluation, words: str) -> None:
    assert (evaluation.finding, evaluation.loss_nano, evaluation.receipt) == (Finding.OVERRUN, 0, b"")
    assert words in evaluation.detail


def test_there_is_no_network(evaluate: Evaluate) -> None:
    """Neither the host's open port nor its abstract socket can be reached, nor what a virtual machine runs on."""
    abstract = f"learningchain-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{abstract}")
        unix.listen()
        assert_contained(evaluate(f"network {port.getsockname()[1]} {abstract}"))


def test_nothing_but_out_tmp_and_shm_is_writable(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    assert_contained(evaluate("writes", chosen=any_sandbox))


def test_labels_are_hidden_from_predict(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    assert_contained(evaluate("labels", chosen=any_sandbox))


def test_there_are_no_privileges_to_be_had(evaluate: Evaluate) -> None:
    """Capabilities, setuid programs, user namespaces, mounts, and calls that old engines allow."""
    assert_contained(evaluate("privileges"))


def test_a_fork_bomb_meets_the_limit_of_processes(evaluate: Evaluate) -> None:
    assert_contained(evaluate("forks"))


@pytest.mark.parametrize("where", ["memory", "tmp", "shm"])
def test_memory_is_limited_wherever_it_is_taken(evaluate: Evaluate, where: str) -> None:
    """/dev/shm alone holds half the limit: the program fails there, with room in the rest."""
    evaluation = evaluate(where)
    if where == "shm":
        assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail
        assert "No space left" in evaluation.detail
    else:
        assert_overrun(evaluation, "out of memory")


def test_more_than_its_cap_of_predictions_is_an_overrun(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    """One that still fits the disk is too large, one beyond runs into the disk's end, or the watchdog's."""
    assert_overrun(evaluate("disk 5", chosen=any_sandbox), "predict")
    assert_overrun(evaluate("disk 4096", chosen=any_sandbox), "predict")


def test_predictions_of_exactly_the_cap_are_taken(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    evaluation = evaluate("disk 4", chosen=any_sandbox)
    assert (evaluation.finding, evaluation.usage.predictions) == (Finding.MEASURED, 1.0), evaluation.detail


def test_a_program_that_copes_with_a_full_disk_is_measured(evaluate: Evaluate) -> None:
    assert evaluate("disk_then_score 4096").loss_nano == 500_000_000


def test_too_many_files_are_an_overrun(evaluate: Evaluate) -> None:
    assert_overrun(evaluate("inodes"), "predict")


def test_a_flood_of_output_is_stopped_at_once(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    """The engine's kill hangs for a minute when nobody reads the output: it must not."""
    evaluation = evaluate("log", chosen=any_sandbox)
    assert_overrun(evaluation, "printed more than")
    assert evaluation.seconds < LIMITS.seconds  # it was over before its time was


def test_what_it_printed_is_harmless_text(evaluate: Evaluate) -> None:
    detail = evaluate("escapes").detail
    assert all(character.isprintable() for character in detail)
    assert "yyyy" in detail
    assert len(detail) < TAIL_BYTES + 200


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "unix_socket"])
def test_only_a_regular_file_is_an_artifact(evaluate: Evaluate, kind: str) -> None:
    evaluation = evaluate(kind)
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail
    assert evaluation.receipt == b""


def test_a_link_does_not_lead_to_a_file_of_the_host(
    evaluate: Evaluate, any_sandbox: DockerSandbox, tmp_path: Path
) -> None:
    """Followed by this process it would: what it then takes for predictions scores."""
    canary = tmp_path / "canary"
    canary.write_text("0.5", encoding="ascii")
    evaluation = evaluate(f"link {canary}", chosen=any_sandbox)
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail
    assert evaluation.receipt == b""


@pytest.mark.parametrize("kind", ["link", "link predictions", "fifo"])
def test_only_a_regular_file_is_an_artifact_of_a_volume(
    evaluate: Evaluate, engine_sandbox: DockerSandbox, kind: str
) -> None:
    evaluation = evaluate(kind, chosen=engine_sandbox)
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail
    assert evaluation.receipt == b""


def test_a_sparse_file_counts_with_its_length(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    evaluation = evaluate(f"sparse {1 << 40}", chosen=any_sandbox)
    assert evaluation.finding is Finding.OVERRUN
    # Where the engine holds the outputs, the watchdog may see it before the program has ended.
    assert "larger than" in evaluation.detail or "wrote more than it may" in evaluation.detail


def test_a_process_that_stays_behind_dies_with_its_container(evaluate: Evaluate) -> None:
    evaluation = evaluate("daemon")
    assert evaluation.loss_nano == 250_000_000, evaluation.detail  # else it would have run out of time


def test_the_environment_is_the_same_everywhere(evaluate: Evaluate, sandbox: DockerSandbox) -> None:
    first, second = get_facts(evaluate("environment")), get_facts(evaluate("environment"))
    assert first == second
    environment = first["environment"]
    assert environment.pop("PATH")
    assert environment == {
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",
        "USER": "lc",
        "LOGNAME": "lc",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "NVIDIA_VISIBLE_DEVICES": "void",
        "HOSTNAME": "lc",
        "KEPT": "kept",
        "LC_SEED": "image",
        "LD_DEBUG": "",
    }
    assert first["arguments"] == ["/lc/run", "predict"]
    assert (first["folder"], first["host"], first["user"], first["machine"]) == ("/tmp", "lc", "lc", MACHINE_ID)
    assert (first["boot"], first["groups"], first["masked"]) == ("", ["/"], [0, 0])
    assert len(first["cores"]) == 1
    assert first["out"] == []
    assert first["job"] == {"contract": 1}


def test_inputs_lie_under_fixed_paths_with_time_zero(evaluate: Evaluate) -> None:
    """A bind mount shows its path on the host's disk: only that inside our own small file system is to be seen."""
    facts = get_facts(evaluate("environment"))
    assert set(facts["times"].values()) == {0.0}
    assert facts["mounts"] == {
        "/lc/in": "/in",
        "/lc/out": "/",
        "/lc/private": "/",
        "/etc/passwd": "/etc/passwd",
        "/etc/machine-id": "/etc/machine-id",
    }


def test_nothing_stays_behind(evaluate: Evaluate, sandbox: DockerSandbox, docker_host: str) -> None:
    evaluate("inodes")
    home = sandbox.host.home
    assert list_mounts(home) == []
    assert [path for path in (home / "runs").rglob("*") if path.is_file()] == []
    assert sandbox.host.engine.containers(f"org.learningchain.sandbox.owner={sandbox.host.owner}") == []
    assert sandbox.host.engine.volumes(f"org.learningchain.sandbox.owner={sandbox.host.owner}") == []


def test_the_score_of_another_class_is_measured_with_its_own_cores(evaluate: Evaluate) -> None:
    facts = get_facts(evaluate("environment", replace(LIMITS, cores=2)))
    assert len(facts["cores"]) == 2
    assert facts["environment"]["OMP_NUM_THREADS"] == "2"


def test_the_models_folder_is_not_touched(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate("0.5")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
