"""The terms that the tools fill in are accepted by the chain and protect the contractor."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import SETS, get_params
from learningchain.terms import Choices, Terms, complete_terms, compute_checker_supply, compute_cost
from tests.support.market import IMAGE, Market


def to_message(terms: Terms) -> tx_pb2.SubmitJob:
    return tx_pb2.SubmitJob(image=IMAGE, **{name: getattr(terms, name) for name in Terms.__slots__})


@pytest.mark.parametrize("bounty", [1, 10, 11, 100, 400])
@pytest.mark.parametrize("runner_ups", [0, 2])
def test_the_chain_accepts_the_defaults(bounty: int, runner_ups: int) -> None:
    market = Market()
    choices = Choices(bounty * UCREDIT, market.params.min_job_ms + 5_000, runner_ups=runner_ups)
    terms = complete_terms(choices, market.params, market.time_ms)
    before = market.balance("carl")
    market.must("carl", to_message(terms))
    assert before - market.balance("carl") == compute_cost(terms, market.params).total


@pytest.mark.parametrize("name", SETS)
def test_the_defaults_lie_within_the_bounds_of_every_parameter_set(name: str) -> None:
    params = get_params(name)
    terms = complete_terms(Choices(50 * UCREDIT, params.min_job_ms), params, 0)
    assert terms.verify_fee == params.classes[0].min_verify_fee
    assert params.min_reveal_window_ms <= terms.reveal_window_ms <= params.max_reveal_window_ms
    assert terms.tolerance >= params.min_tolerance
    assert terms.ban_margin >= 10 * terms.tolerance
    assert terms.min_improvement > terms.tolerance


def test_small_bounties_ask_no_deposit_and_large_ones_leave_one_free_place() -> None:
    params = get_params("public")
    small = complete_terms(Choices(10 * UCREDIT, 1, runner_ups=2), params, 0)
    large = complete_terms(Choices(500 * UCREDIT, 1, runner_ups=2), params, 0)
    assert (small.deposit, small.free_places) == (0, 3)
    assert (large.deposit, large.free_places) == (50 * UCREDIT, 1)


def test_what_is_chosen_is_kept() -> None:
    choices = Choices(
        bounty=7,
        open_ms=8,
        verify_fee=1,
        deposit=2,
        runner_ups=1,
        free_places=0,
        reveal_window_ms=3,
        tolerance=0,
        ban_margin=5,
        min_improvement=6,
        loss_ceiling=0,
    )
    terms = complete_terms(choices, get_params("devnet"), 100)
    assert terms == Terms(7, 0, 1, 2, 1, 0, 108, 3, 0, 5, 6, 0)


def test_a_class_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="small"):
        complete_terms(Choices(1, 1, job_class=9), get_params("public"), 0)


def test_the_cost_counts_a_verify_fee_for_every_possible_round() -> None:
    params = get_params("public")
    cost = compute_cost(complete_terms(Choices(100 * UCREDIT, 1, runner_ups=3), params, 0), params)
    assert cost.verify_fees == 4 * params.classes[0].min_verify_fee
    assert cost.network_fee == 2 * UCREDIT
    assert cost.total == cost.bounty + cost.verify_fees + cost.network_fee


def test_checkers_of_the_class_other_than_the_contractor_are_counted() -> None:
    table = pb.CheckerTable(
        entries=[
            pb.TableEntry(account=b"a", bond=10, highest_class=0),
            pb.TableEntry(account=b"b", bond=20, highest_class=1),
            pb.TableEntry(account=b"c", bond=60, highest_class=2),
        ]
    )
    assert compute_checker_supply(table, b"x", 0) == compute_checker_supply(table, b"y", 0)
    assert compute_checker_supply(table, b"c", 1).bond == 20
    assert not compute_checker_supply(table, b"c", 1).is_enough
    assert compute_checker_supply(table, b"a", 1).is_enough
    assert not compute_checker_supply(pb.CheckerTable(), b"a", 0).is_enough
