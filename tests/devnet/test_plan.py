from pathlib import Path

import pytest

from learningchain.devnet.plan import DevnetError, DevnetHome, load_plan, make_plan, save_plan
from learningchain.devnet.supervisor import find_running


def test_every_part_of_a_devnet_has_a_port_and_a_name_of_its_own() -> None:
    plan = make_plan("x", 4, 8)
    ports = [port for entry in plan.validators for port in (entry.rpc_port, entry.p2p_port, entry.relay_port)]
    assert len(set(ports)) == 12
    assert len(set(plan.workers)) == 8


def test_ports_of_a_devnet_are_none_that_others_get_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    file.write_text("10500\t60999\n")
    monkeypatch.setattr("learningchain.devnet.plan.PORT_RANGE", file)
    ports = [make_plan("x", 1, 0).validators[0].rpc_port for _ in range(5)]
    assert all(10_000 <= port < 10_500 for port in ports)


@pytest.mark.parametrize("told", ["1024\t65535\n", None])
def test_where_others_may_get_any_port_a_devnet_gets_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    file = tmp_path / "range"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr("learningchain.devnet.plan.PORT_RANGE", file)
    assert make_plan("x", 1, 0).validators[0].rpc_port > 0


def test_workers_share_the_validators_nodes_evenly() -> None:
    plan = make_plan("x", 2, 3)
    assert plan.get_node_url(0) == plan.get_node_url(2) != plan.get_node_url(1)


@pytest.mark.parametrize(("validators", "workers"), [(0, 1), (17, 1), (1, -1), (1, 17)])
def test_sizes_that_make_no_network_are_refused(validators: int, workers: int) -> None:
    with pytest.raises(DevnetError, match="1 to 16"):
        make_plan("x", validators, workers)


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    home = DevnetHome(tmp_path)
    assert load_plan(home) is None
    plan = make_plan("x", 2, 1)
    save_plan(home, plan)
    assert load_plan(home) == plan


def test_a_broken_plan_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "devnet.json").write_text("{")
    with pytest.raises(DevnetError, match="start anew"):
        load_plan(DevnetHome(tmp_path))


@pytest.mark.parametrize("text", ["", "x", "999999999", "1"])
def test_a_process_id_left_by_a_crash_is_no_running_devnet(tmp_path: Path, text: str) -> None:
    home = DevnetHome(tmp_path)
    home.pid_file.write_text(text)
    assert find_running(home) is None
