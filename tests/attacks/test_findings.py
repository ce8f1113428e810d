"""Every finding of both reviews has a test of its own: here by its name, elsewhere by the table below."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FINDINGS = [f"f{number}" for number in range(1, 24)] + [f"r{number}" for number in range(1, 17)]
GAPS = [f"r17_{number}" for number in range(1, 10)]
ELSEWHERE = {
    # image bombs: a pull stops at the class's limit and before the disk is full, and that is no finding
    "r2": ["sandbox/test_images.py::test_an_image_outside_the_contract_is_not_pulled",
           "sandbox/test_images.py::test_a_pull_stops_before_the_disk_is_full",
           "sandbox/test_images.py::test_no_pull_starts_without_room"],
    # holes of the sandbox: declared volumes, leases and links, numbers that never end, seeds and paths that betray
    "r12": ["sandbox/test_images.py::test_an_image_outside_the_contract_is_not_pulled",
            "sandbox/test_effective_container.py::test_every_field_is_in_force",
            "sandbox/test_effective_container.py::test_an_engine_that_lacks_something_is_named_unfit",
            "sandbox/test_training.py::test_a_write_lease_on_the_model_does_not_block_the_copy",
            "sandbox/test_hostile_evaluation.py::test_only_a_regular_file_is_an_artifact",
            "sandbox/test_score.py::test_a_huge_number_costs_no_time",
            "sandbox/test_training.py::test_two_attempts_have_different_seeds_and_uids",
            "sandbox/test_hostile_evaluation.py::test_inputs_lie_under_fixed_paths_with_time_zero"],
    # saturated checkers evaluate the highest bounties first
    "r15": ["worker/test_state.py::test_checks_go_before_own_evaluations_and_the_highest_bounty_first"],
    # uploads of workers behind NAT
    "f23": ["worker/test_model_http.py"],
}  # fmt: skip
"""Finding to tests about programs around the chain; each has a bearing on the machine, not on a rule."""


def read_names(path: Path) -> list[str]:
    """Return the names of a file's tests."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in nodes if isinstance(node, kinds) and node.name.startswith("test_")]


HERE = [name for path in sorted(Path(__file__).parent.glob("test_*_*.py")) for name in read_names(path)]


@pytest.mark.parametrize("finding", [*FINDINGS, *GAPS])
def test_a_finding_has_a_test(finding: str) -> None:
    assert finding in ELSEWHERE or any(name.startswith(f"test_{finding}_") for name in HERE)


@pytest.mark.parametrize("place", sorted({place for places in ELSEWHERE.values() for place in places}))
def test_a_test_elsewhere_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    names = read_names(TESTS / path)
    assert name in names if name else names


def test_every_test_here_names_its_finding() -> None:
    assert [name for name in HERE if not any(name.startswith(f"test_{label}_") for label in [*FINDINGS, *GAPS])] == []
