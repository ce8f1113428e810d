import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import UCREDIT
from tests.support.market import Market


@pytest.fixture
def market() -> Market:
    return Market()


def test_the_contractor_adds_to_the_bounty_and_pays_the_fee_on_it(market: Market) -> None:
    job_id = market.submit(bounty=10 * UCREDIT)
    before, escrow = market.balance("carl"), market.job(job_id).escrow
    market.must("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=5 * UCREDIT))
    job = market.job(job_id)
    assert (job.bounty, job.network_fee) == (15 * UCREDIT, 15 * UCREDIT // 50)
    assert before - market.balance("carl") == job.escrow - escrow == 5 * UCREDIT + 5 * UCREDIT // 50
    assert job.terms.bounty == 10 * UCREDIT


def test_raising_in_steps_costs_the_fee_of_the_whole_bounty(market: Market) -> None:
    """The fee is rounded down once, over all: many small steps do not get around it."""
    job_id = market.submit(bounty=UCREDIT)
    for _ in range(3):
        market.must("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=49))
    assert market.job(job_id).network_fee == (UCREDIT + 147) * 200 // 10_000 == 20_002


def test_a_raised_bounty_is_paid_to_the_winner(market: Market) -> None:
    job_id = market.submit(bounty=10 * UCREDIT)
    market.announce("worker0", job_id, 0)
    market.must("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=UCREDIT))
    before = market.balance("worker0")
    market.expire(job_id)
    market.reveal("worker0", job_id)
    market.decide(job_id, {})
    assert market.balance("worker0") == before + 11 * UCREDIT
    assert market.standing("carl").bounties_paid_out == 11 * UCREDIT


@pytest.mark.parametrize("amount", [0, 2**63])
def test_invalid_bad_amount(market: Market, amount: int) -> None:
    job_id = market.submit()
    assert market.send("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=amount)).code == errors.BadAmount.code


def test_invalid_unknown_job(market: Market) -> None:
    assert market.send("carl", tx_pb2.RaiseBounty(job_id=1, amount=1)).code == errors.UnknownJob.code


def test_invalid_not_contractor(market: Market) -> None:
    job_id = market.submit()
    assert market.send("worker0", tx_pb2.RaiseBounty(job_id=job_id, amount=1)).code == errors.NotContractor.code


def test_invalid_job_not_open(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    assert market.send("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=1)).code == errors.JobNotOpen.code


def test_invalid_job_expired_while_the_transition_waits_in_the_queue() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    expiry_ms = market.time_ms + 10_000
    market.submit(expiry_ms=expiry_ms)
    waiting = market.submit(expiry_ms=expiry_ms)
    market.skip_to(expiry_ms - 1_000)
    assert market.send("carl", tx_pb2.RaiseBounty(job_id=waiting, amount=1)).code == errors.JobExpired.code


def test_invalid_insufficient_balance(market: Market) -> None:
    job_id = market.submit()
    held = market.balance("carl")
    assert market.send("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=held)).code == errors.InsufficientBalance.code
    assert market.balance("carl") == held
