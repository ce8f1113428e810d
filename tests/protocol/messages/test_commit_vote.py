import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.messages import HANDLERS
from tests.support.chain import Holding
from tests.support.market import CHECKERS, Market, measured, name_of

CHECKERS_AND_VALIDATOR = {**CHECKERS, "val0": Holding(checker=2)}
"""The validator val0, which evidence can ban, checks too."""


@pytest.fixture
def market() -> Market:
    """A market with job 1 in VOTE; all five checkers hold seats."""
    market = Market()
    market.open_vote()
    return market


def try_commit(market: Market, checker: str, job_id: int = 1, round_number: int = 0) -> str:
    message = market.commitment(checker, job_id, measured(0), round_number)
    return name_of(market.send(checker, message).code)


def test_a_commitment_is_kept(market: Market) -> None:
    message = market.commitment("checker0", 1, measured(0))
    market.must("checker0", message)
    kept = {vote.account: vote.commitment for vote in market.round(1).votes}
    assert kept.pop(market.address("checker0")) == message.commitment
    assert set(kept.values()) == {b""}
    assert market.job(1).state == pb.JOB_STATE_VOTE


def test_the_last_commitment_opens_the_tally_at_once(market: Market) -> None:
    result = market.block([(name, market.commitment(name, 1, measured(0))) for name in market.seats(1)])
    assert [[event.type for event in tx.events] for tx in result.tx_results[-2:]] == [[], ["job.tally_opened"]]
    job = market.job(1)
    assert (job.state, job.deadline_ms) == (pb.JOB_STATE_TALLY, market.time_ms + market.params.tally_window_ms)


def test_the_vote_does_not_wait_for_a_banned_seat() -> None:
    market = Market(checkers=CHECKERS_AND_VALIDATOR)
    market.open_vote()
    assert "val0" in market.seats(1)
    market.block(misbehavior=[(1, "val0")])
    market.commit_votes(1, {name: measured(0) for name in market.seats(1) if name != "val0"})
    assert market.job(1).state == pb.JOB_STATE_TALLY


def test_who_is_jailed_or_has_opted_out_may_still_vote(market: Market) -> None:
    market.must("checker0", tx_pb2.SetChecker())
    assert try_commit(market, "checker0") == "ok"


def test_a_work_key_may_commit() -> None:
    assert HANDLERS["commit_vote"].WORK_SCOPE


def test_invalid_bad_commitment(market: Market) -> None:
    for size in (0, 31, 33):
        message = tx_pb2.CommitVote(job_id=1, round=0, commitment=b"c" * size)
        assert name_of(market.send("checker0", message).code) == "bad_commitment"


def test_invalid_unknown_job(market: Market) -> None:
    assert try_commit(market, "checker0", job_id=2) == "unknown_job"


def test_invalid_not_in_vote(market: Market) -> None:
    open_job = market.submit()
    assert try_commit(market, "checker0", job_id=open_job) == "not_in_vote"
    market.commit_votes(1, dict.fromkeys(market.seats(1), measured(0)))
    assert try_commit(market, "checker0") == "not_in_vote"


def test_invalid_wrong_round(market: Market) -> None:
    assert try_commit(market, "checker0", round_number=1) == "wrong_round"


def test_invalid_deadline_passed() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    jobs = [market.submit() for _ in range(2)]
    market.block([("worker0", market.announcement("worker0", job_id, 0)) for job_id in jobs])
    while any(market.job(job_id).state == pb.JOB_STATE_OPEN for job_id in jobs):
        market.block()
    market.block([("worker0", market.revelation("worker0", job_id)) for job_id in jobs])
    first, second = (market.job(job_id).deadline_ms for job_id in jobs)
    assert first == second
    market.skip_to(second - 1_000)
    assert try_commit(market, "checker0", job_id=jobs[1]) == "deadline_passed"
    assert [market.job(job_id).renewed for job_id in jobs] == [True, False]


@pytest.mark.parametrize("account", ["carl", "worker0", "val0"])
def test_invalid_not_seated(market: Market, account: str) -> None:
    assert try_commit(market, account) == "not_seated"


def test_invalid_already_committed(market: Market) -> None:
    assert try_commit(market, "checker0") == "ok"
    assert try_commit(market, "checker0") == "already_committed"
