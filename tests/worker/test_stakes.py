"""Which jobs a worker keeps in view where not all can be: those it would train, and those it has a stake in."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import UCREDIT
from tests.worker.worlds import CONTRACTOR, MODEL, RIVAL, TAG, make_job, make_view
from worker import events as ev
from worker.policy import Policy
from worker.state import Memory, WorkerState
from worker.view import ChainView

KNOWN = {CONTRACTOR: pb.Standing()}


def list_best(state: WorkerState, view: ChainView, *jobs: pb.Job) -> list[int]:
    return [job.id for job in sorted(jobs, key=lambda job: state.rank_job(view, job))]


def test_jobs_to_train_come_first_and_of_them_the_highest_bounty() -> None:
    memory = Memory(TAG, over={5: "its image is broken"}, shunned={RIVAL: "noise"})
    jobs = (
        make_job(id=1, bounty=2 * UCREDIT),
        make_job(id=2, bounty=3 * UCREDIT),
        make_job(id=3, bounty=3 * UCREDIT),
        make_job(id=4, bounty=UCREDIT // 2),  # below the least bounty
        make_job(id=5, bounty=9 * UCREDIT),
        make_job(id=6, bounty=8 * UCREDIT, contractor=RIVAL),
        make_job(id=7, bounty=7 * UCREDIT, deadline_ms=0),  # no time left
    )
    state = WorkerState(Policy(), memory)
    assert list_best(state, make_view(contractors={**KNOWN, RIVAL: pb.Standing()}), *jobs) == [2, 3, 1, 5, 6, 7, 4]


def test_a_contractor_is_not_refused_for_its_past_before_somebody_looked_at_it() -> None:
    """A large bounty of one with a good past would never be looked at."""
    state = WorkerState(Policy(), Memory(TAG))
    large, small = make_job(id=1, bounty=500 * UCREDIT), make_job(id=2)
    trusted = pb.Standing(bounties_paid_out=1_000 * UCREDIT)
    assert list_best(state, make_view(), small, large) == [1, 2]
    assert list_best(state, make_view(contractors={CONTRACTOR: trusted}), small, large) == [1, 2]
    assert list_best(state, make_view(contractors=KNOWN), small, large) == [2, 1]


def test_a_stake_is_whatever_runs_or_is_left_and_what_may_have_to_be_opened_comes_first() -> None:
    memory = Memory(
        TAG,
        taken={1: "attempt", 2: ""},
        over={3: "it ended"},
        fresh={4: MODEL},
        evaluated={(5, MODEL): ev.Evaluated(5, MODEL, (5, 5, 5), 1)},
        announced={(6, MODEL): ev.Announced(6, MODEL, b"s" * 32, 5)},
        votes={(7, 0): ev.Measured(7, 0, 1, 5, b"", b"s" * 32)},
    )
    state = WorkerState(Policy(), memory)
    state.running[ev.Check(8, 0)] = None
    assert state.list_stakes() == [8, 6, 7, 5, 1, 3, 4]
