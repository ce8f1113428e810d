"""Which cores an evaluation gets."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from worker.sandbox import OwnFailureError
from worker.sandbox.host import Host

CORES = (0, 1, 2, 3, 6, 7, 9)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Mock(), Mock(), "owner", tmp_path, "runc", CORES, 0)


def test_evaluations_are_spread_over_all_groups_of_neighbouring_cores(host: Host) -> None:
    assert {host.choose_cpus(2) for _ in range(300)} == {(0, 1), (2, 3), (6, 7)}
    assert {host.choose_cpus(1) for _ in range(300)} == {(core,) for core in CORES}


def test_a_class_gets_all_cores_or_none(host: Host) -> None:
    assert host.choose_cpus(7) == CORES
    with pytest.raises(OwnFailureError, match="8 cores are needed and this worker may use 7"):
        host.choose_cpus(8)
