"""The core computes the same in every process: hash seed, locale and time zone mean nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.story import tell

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return list(tell())


def test_every_stage_of_the_story_differs(expected: list[str]) -> None:
    assert len(set(expected)) == len(expected) == 6


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"},
        {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "TZ": "Pacific/Kiritimati"},
        {"PYTHONHASHSEED": "4294967295", "LC_ALL": "tr_TR.UTF-8", "TZ": "America/St_Johns", "PYTHONOPTIMIZE": "1"},
        {"PYTHONHASHSEED": "random", "LANG": "de_DE@euro", "TZ": ":/nowhere", "PYTHONDEVMODE": "1"},
    ],
    ids=["plain", "far east", "turkish", "odd"],
)
def test_another_process_in_another_place_computes_the_same(environment: dict[str, str], expected: list[str]) -> None:
    command = [sys.executable, "-m", "tests.support.story"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().splitlines() == expected
