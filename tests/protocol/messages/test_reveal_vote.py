from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import MAX_LOSS, RESERVED_LOSS
from abci_app.protocol.messages import HANDLERS
from tests.support.market import OVERRUN, RECEIPT, UNAVAILABLE, UNRUNNABLE, Finding, Market, measured, name_of


@pytest.fixture
def market() -> Market:
    """A market with job 1 in VOTE; nobody has committed yet."""
    market = Market()
    market.open_vote()
    return market


@pytest.fixture
def tally() -> Market:
    """A market with job 1 in TALLY; all five checkers committed to a measured loss of 5."""
    market = Market()
    market.open_vote()
    market.commit_votes(1, dict.fromkeys(market.seats(1), measured(5)))
    return market


def try_vote(market: Market, checker: str, found: Finding | None = None, **changed: Any) -> str:
    message = market.vote(1, measured(5) if found is None else found, **changed)
    return name_of(market.send(checker, message).code)


def get_vote(market: Market, checker: str) -> pb.Vote:
    return next(vote for vote in market.round(1).votes if vote.account == market.address(checker))


def test_a_vote_is_kept_and_ends_the_silence(tally: Market) -> None:
    assert try_vote(tally, "checker0") == "ok"
    vote = get_vote(tally, "checker0")
    assert (vote.finding, vote.loss, vote.receipt) == (tx_pb2.FINDING_MEASURED, 5, RECEIPT)
    assert tally.standing("checker0").silent_since_ms == tally.time_ms
    assert tally.job(1).state == pb.JOB_STATE_TALLY


def test_the_last_vote_decides_at_once(tally: Market) -> None:
    result = tally.block([(name, tally.vote(1, measured(5))) for name in tally.seats(1)])
    assert [event.type for event in result.tx_results[-1].events] == ["job.round_decided", "job.settled"]
    assert tally.job(1).state == pb.JOB_STATE_PAID


def test_a_vote_resets_the_missed_rounds(market: Market) -> None:
    market.decide(1, {name: measured(0) for name in market.seats(1) if name != "checker0"})
    assert market.standing("checker0").missed_in_a_row == 1
    second = market.open_vote()
    market.decide_all(second, measured(0))
    standing = market.standing("checker0")
    assert (standing.missed_in_a_row, standing.votes_missed, standing.votes_agreed) == (0, 1, 1)


def test_a_work_key_may_vote() -> None:
    assert HANDLERS["reveal_vote"].WORK_SCOPE


@pytest.mark.parametrize(
    "found",
    [
        measured(MAX_LOSS),
        measured(-MAX_LOSS),
        measured(RESERVED_LOSS, receipt=b""),
        measured(0, receipt=b""),
        OVERRUN,
        Finding(tx_pb2.FINDING_OVERRUN, receipt=RECEIPT),
        UNAVAILABLE,
        UNRUNNABLE,
    ],
)
def test_every_finding_can_be_voted(market: Market, found: Finding) -> None:
    market.decide_all(1, found)
    assert {vote.finding for vote in market.round(1).votes} == {found.finding}


@pytest.mark.parametrize(
    "found",
    [
        measured(MAX_LOSS + 1),
        measured(RESERVED_LOSS - 1),
        measured(-MAX_LOSS - 1),
        measured(0, receipt=b"r" * 31),
        Finding(tx_pb2.FINDING_OVERRUN, loss=1, receipt=b""),
        Finding(tx_pb2.FINDING_OVERRUN, receipt=b"r"),
        Finding(tx_pb2.FINDING_UNAVAILABLE, receipt=RECEIPT),
        Finding(tx_pb2.FINDING_UNAVAILABLE, loss=1, receipt=b""),
        Finding(tx_pb2.FINDING_UNRUNNABLE, receipt=RECEIPT),
        Finding(tx_pb2.FINDING_UNRUNNABLE, loss=-1, receipt=b""),
        Finding(tx_pb2.FINDING_UNSPECIFIED, receipt=b""),
        Finding(5, receipt=b""),
    ],
)
def test_invalid_bad_vote(market: Market, found: Finding) -> None:
    market.commit_votes(1, dict.fromkeys(market.seats(1), found))
    assert try_vote(market, "checker0", found) == "bad_vote"


def test_invalid_bad_salt(tally: Market) -> None:
    assert try_vote(tally, "checker0", salt=b"s" * 31) == "bad_salt"


def test_invalid_unknown_job(tally: Market) -> None:
    message = tx_pb2.RevealVote(job_id=2, finding=tx_pb2.FINDING_MEASURED, salt=b"s" * 32)
    assert name_of(tally.send("checker0", message).code) == "unknown_job"


def test_invalid_not_in_tally(market: Market) -> None:
    """A vote revealed during VOTE could be copied."""
    market.must("checker0", market.commitment("checker0", 1, measured(5)))
    assert try_vote(market, "checker0") == "not_in_tally"


def test_invalid_wrong_round(tally: Market) -> None:
    assert try_vote(tally, "checker0", round=1) == "wrong_round"


def test_invalid_deadline_passed() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    jobs = [market.submit() for _ in range(2)]
    market.block([("worker0", market.announcement("worker0", job_id, 0)) for job_id in jobs])
    while any(market.job(job_id).state == pb.JOB_STATE_OPEN for job_id in jobs):
        market.block()
    market.block([("worker0", market.revelation("worker0", job_id)) for job_id in jobs])
    names = list(market.seats(jobs[0]))
    market.block([(name, market.commitment(name, job_id, measured(5))) for job_id in jobs for name in names])
    assert market.job(jobs[0]).deadline_ms == market.job(jobs[1]).deadline_ms
    market.skip_to(market.job(jobs[1]).deadline_ms - 1_000)
    message = market.vote(jobs[1], measured(5))
    assert name_of(market.send("checker0", message).code) == "deadline_passed"


def test_invalid_not_seated(tally: Market) -> None:
    assert try_vote(tally, "worker1") == "not_seated"


def test_invalid_not_committed(market: Market) -> None:
    market.commit_votes(1, {name: measured(5) for name in market.seats(1) if name != "checker0"})
    while market.job(1).state == pb.JOB_STATE_VOTE:
        market.expire(1)
    assert try_vote(market, "checker0") == "not_committed"


def test_invalid_already_revealed(tally: Market) -> None:
    assert try_vote(tally, "checker0") == "ok"
    assert try_vote(tally, "checker0") == "already_revealed"


@pytest.mark.parametrize(
    "changed",
    [{"loss": 6}, {"receipt": b"q" * 32}, {"salt": b"t" * 32}, {"finding": tx_pb2.FINDING_OVERRUN, "loss": 0}],
)
def test_invalid_vote_mismatch(tally: Market, changed: dict[str, Any]) -> None:
    assert try_vote(tally, "checker0", **changed) == "vote_mismatch"


def test_a_copied_commitment_cannot_be_opened() -> None:
    """The commitment covers the account: a checker that copies another one's has nothing to reveal."""
    market = Market()
    market.open_vote()
    copied = market.commitment("checker0", 1, measured(5))
    market.must("checker1", copied)
    market.commit_votes(1, {name: measured(5) for name in market.seats(1) if name != "checker1"})
    assert try_vote(market, "checker1") == "vote_mismatch"
