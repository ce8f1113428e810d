"""What a worker with a seat does: check, commit to what it found, reveal its vote in time."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import UCREDIT
from tests.worker.worlds import (
    CONTRACTOR,
    ME,
    MODEL,
    RIVAL,
    SALT,
    TAG,
    make_candidate,
    make_job,
    make_view,
    observe,
    start,
)
from worker import events as ev
from worker.policy import Policy
from worker.state import MAX_CHECKS, RETRY_BLOCKS, Memory, WorkerState
from worker.view import ChainView

MEASURED = ev.Measured(1, 0, 1, 5, b"r" * 32, SALT)


def vote_view(state: int, *, commitment: bytes = b"", finding: int = 0, height: int = 10) -> ChainView:
    job = make_job(state=state, candidates=[make_candidate(RIVAL, 5)])
    seat = pb.Vote(account=ME, seats=3, commitment=commitment)
    seat.finding = finding  # type: ignore[assignment]
    return make_view(job, height=height, rounds={1: pb.Round(job_id=1, number=0, votes=[seat])})


def test_a_seated_worker_checks_commits_and_reveals_its_vote() -> None:
    state = WorkerState(Policy(), Memory(TAG))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE))) == [ev.Check(1, 0)]
    assert state.handle(MEASURED) == [ev.CommitVote(1, 0)]
    tally = vote_view(pb.JOB_STATE_TALLY, commitment=b"c" * 32, height=11)
    assert ev.RevealVote(1, 0) in state.handle(ev.Observed(tally))


def test_a_vote_is_not_revealed_before_the_tally_nor_twice() -> None:
    state = WorkerState(Policy(), Memory(TAG, votes={(1, 0): MEASURED}))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE, commitment=b"c" * 32))) == []
    revealed = vote_view(pb.JOB_STATE_TALLY, commitment=b"c" * 32, finding=1, height=11)
    assert state.handle(ev.Observed(revealed)) == []


def test_a_vote_in_the_journal_is_not_measured_again_after_a_restart() -> None:
    state = WorkerState(Policy(), Memory(TAG, votes={(1, 0): MEASURED}))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE))) == [ev.CommitVote(1, 0)]


def test_without_a_measurement_nothing_is_voted() -> None:
    state = WorkerState(Policy(), Memory(TAG))
    state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE)))
    assert state.handle(ev.Failed(ev.Check(1, 0))) == []
    tally = vote_view(pb.JOB_STATE_TALLY, height=11)
    assert state.handle(ev.Observed(tally)) == []


def test_a_vote_whose_commitment_came_too_late_is_not_revealed() -> None:
    """The chain would refuse it in each block in which it is tried."""
    state = WorkerState(Policy(), Memory(TAG, votes={(1, 0): MEASURED}))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_TALLY))) == []


def test_a_failed_check_is_tried_again() -> None:
    state = WorkerState(Policy(), Memory(TAG))
    state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE)))
    state.handle(ev.Failed(ev.Check(1, 0)))
    again = vote_view(pb.JOB_STATE_VOTE, height=10 + RETRY_BLOCKS)
    assert state.handle(ev.Observed(again)) == [ev.Check(1, 0)]


def seated_jobs(*job_ids: int) -> tuple[list[pb.Job], dict[int, pb.Round]]:
    """Jobs in VOTE in which this worker has a seat; the higher the id the higher the bounty."""
    candidates = [make_candidate(RIVAL, 5)]
    jobs = [make_job(id=i, state=pb.JOB_STATE_VOTE, bounty=i * UCREDIT, candidates=candidates) for i in job_ids]
    return jobs, {i: pb.Round(job_id=i, number=0, votes=[pb.Vote(account=ME, seats=1)]) for i in job_ids}


def test_checks_begin_with_the_highest_bounty_and_none_waits_for_another() -> None:
    """A model that nobody has would else keep the worker from all its other seats until that window closes."""
    jobs, rounds = seated_jobs(2, 3)
    state = WorkerState(Policy(), Memory(TAG))
    state.handle(ev.CheckpointSaved(1, MODEL))
    found = observe(state, make_job(), *jobs, rounds=rounds)
    assert found == [ev.Check(3, 0), ev.Check(2, 0), ev.Evaluate(1, MODEL), ev.Train(1)]


def test_checks_under_way_are_limited() -> None:
    jobs, rounds = seated_jobs(*range(1, MAX_CHECKS + 3))
    state = WorkerState(Policy(), Memory(TAG))
    found = observe(state, *jobs, rounds=rounds)
    assert found == [ev.Check(i, 0) for i in range(MAX_CHECKS + 2, 2, -1)]


def test_a_check_of_more_bounty_gets_the_place_of_one_of_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.state.MAX_CHECKS", 2)
    state = WorkerState(Policy(), Memory(TAG))
    jobs, rounds = seated_jobs(2, 3)
    observe(state, *jobs, rounds=rounds)
    jobs, rounds = seated_jobs(1, 2, 3, 4)
    assert observe(state, *jobs, rounds=rounds, height=11) == [ev.MakeWay(4, 0)]
    assert state.handle(ev.Done(ev.MakeWay(4, 0))) == []
    assert state.handle(ev.Failed(ev.Check(2, 0))) == [ev.Check(4, 0)]


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (Policy(refused_owners=frozenset({CONTRACTOR})), "owners"),
        (Policy(allowed_registries=frozenset({"docker.io"})), "registries"),
    ],
)
def test_an_image_that_this_machine_does_not_run_is_not_checked_either(policy: Policy, name: str) -> None:
    state = WorkerState(policy, Memory(TAG))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE))) == []
    assert state.refusals[1].filter == name


def test_the_worth_of_training_does_not_matter_for_a_check() -> None:
    state = WorkerState(Policy(train=False, min_bounty=10**12, milli_cpus=50), Memory(TAG))
    assert state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE))) == [ev.Check(1, 0)]


def test_refusals_of_jobs_that_are_over_are_forgotten() -> None:
    state = start(make_job(), policy=Policy(train=False))
    assert state.refusals[1].filter == "mode"
    observe(state, make_job(id=2), height=11)
    assert list(state.refusals) == [2]


def test_a_worker_that_does_not_check_still_reveals_a_vote_it_committed() -> None:
    state = WorkerState(Policy(check=False), Memory(TAG, votes={(1, 0): MEASURED}))
    tally = vote_view(pb.JOB_STATE_TALLY, commitment=b"c" * 32)
    assert ev.RevealVote(1, 0) in state.handle(ev.Observed(tally))
    other = WorkerState(Policy(check=False), Memory(TAG))
    assert other.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE))) == []


def test_of_a_check_that_failed_nothing_is_remembered_for_ever() -> None:
    """A worker runs for years, and sees many jobs of which it never holds anything."""
    state = WorkerState(Policy(), Memory(TAG))
    state.handle(ev.Observed(vote_view(pb.JOB_STATE_VOTE)))
    state.handle(ev.Failed(ev.Check(1, 0)))
    assert state._not_before
    observe(state, height=10 + RETRY_BLOCKS)
    assert not state._not_before
