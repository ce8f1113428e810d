"""Every finding of both reviews has a test of its own: here by its name, elsewhere by the table below."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FINDINGS = [f"f{number}" for number in range(1, 24)] + [f"r{number}" for number in range(1, 17)]
GAPS = [f"r17_{number}" for number in range(1, 10)]
ELSEWHERE = {
    # image bombs: a pull stops at the class's limit and before the disk is full, and that is no finding
    "r2": [
        "sandbox/test_images.py: outside_the_contract",
        "sandbox/test_pulls.py: before_the_disk_is_full",
        "sandbox/test_room.py: without_room",
        "sandbox/test_folders.py: folders_of_long_names_count",
        "sandbox/test_layers.py: begins_like_something_packed",
    ],
    # holes of the sandbox: declared volumes, leases and links, numbers that never end, seeds and paths that betray
    "r12": [
        "sandbox/test_images.py: outside_the_contract",
        "sandbox/test_effective_container.py: every_field_is_in_force",
        "sandbox/test_effective_container.py: engine_that_lacks_something",
        "sandbox/test_training.py: write_lease",
        "sandbox/test_hostile_evaluation.py: only_a_regular_file",
        "sandbox/test_score.py: huge_number",
        "sandbox/test_training.py: different_seeds",
        "sandbox/test_hostile_evaluation.py: fixed_paths",
    ],
    "r15": ["worker/test_state_votes.py: highest_bounty"],  # saturated checkers evaluate the highest bounties first
    "f23": ["worker/test_upload_claims.py: candidate_whose_turn_it_is_may_upload"],  # workers behind NAT
}
"""Finding to tests about programs around the chain, by file and words of the test's name."""


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
    path, words = place.split(": ")
    assert [name for name in read_names(TESTS / path) if words in name] != []


def test_every_test_here_names_its_finding() -> None:
    assert [name for name in HERE if not any(name.startswith(f"test_{label}_") for label in [*FINDINGS, *GAPS])] == []
