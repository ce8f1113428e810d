import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from tests.support.market import TERMS, Market


@pytest.fixture
def market() -> Market:
    return Market()


def test_everything_goes_back_and_the_job_is_cancelled(market: Market) -> None:
    before = market.balance("carl")
    job_id = market.submit(runner_ups=2)
    result = market.must("carl", tx_pb2.CancelJob(job_id=job_id))
    job = market.job(job_id)
    assert (job.state, job.escrow, market.balance("carl")) == (pb.JOB_STATE_CANCELLED, 0, before)
    assert job.deadline_ms == market.time_ms + market.params.job_retention_ms
    standing = market.standing("carl")
    assert (standing.open_jobs, standing.jobs_posted, standing.jobs_refunded) == (0, 1, 0)
    assert [event.type for event in result.events] == ["job.settled"]


def test_invalid_unknown_job(market: Market) -> None:
    assert market.send("carl", tx_pb2.CancelJob(job_id=7)).code == errors.UnknownJob.code


def test_invalid_not_contractor(market: Market) -> None:
    job_id = market.submit()
    assert market.send("worker0", tx_pb2.CancelJob(job_id=job_id)).code == errors.NotContractor.code


def test_invalid_job_not_open(market: Market) -> None:
    job_id = market.submit()
    market.must("carl", tx_pb2.CancelJob(job_id=job_id))
    assert market.send("carl", tx_pb2.CancelJob(job_id=job_id)).code == errors.JobNotOpen.code


def test_invalid_job_expired_while_the_transition_waits_in_the_queue() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    expiry_ms = market.time_ms + 10_000
    market.submit(expiry_ms=expiry_ms)
    waiting = market.submit(expiry_ms=expiry_ms)
    market.skip_to(expiry_ms - 1_000)
    assert market.send("carl", tx_pb2.CancelJob(job_id=waiting)).code == errors.JobExpired.code


def test_invalid_job_has_announcements(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    assert market.send("carl", tx_pb2.CancelJob(job_id=job_id)).code == errors.JobHasAnnouncements.code


def test_invalid_job_has_announcements_although_a_ban_emptied_the_list(market: Market) -> None:
    job_id = market.submit(deposit=TERMS["verify_fee"])
    market.announce("val0", job_id, 0)
    market.block(misbehavior=[(1, "val0")])
    assert not market.job(job_id).candidates
    assert market.send("carl", tx_pb2.CancelJob(job_id=job_id)).code == errors.JobHasAnnouncements.code
    market.announce("worker0", job_id, 2**30)
    assert len(market.job(job_id).candidates) == 1
