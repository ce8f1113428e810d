import hashlib
import random
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import RESERVED_LOSS, UCREDIT
from tests.worker.worlds import (
    CONTRACTOR,
    ME,
    MODEL,
    NOW,
    RIVAL,
    SALT,
    TAG,
    commit_to,
    make_candidate,
    make_job,
    make_view,
    observe,
    start,
)
from worker import events as ev
from worker.policy import Policy
from worker.state import KEPT_RESULTS, RETRY_BLOCKS, Memory, WorkerState

GOOD = ev.Evaluated(1, MODEL, (100_000, 100_500, 100_200), 20)


def reveal_job(**changes: object) -> pb.Job:
    turn = make_candidate(ME, 100_500, commitment=commit_to(MODEL))
    values: dict[str, object] = {
        "state": pb.JOB_STATE_REVEAL, "candidates": [turn], "window_opened_ms": NOW - 1_000, "deadline_ms": NOW + 9_000,
    }  # fmt: skip
    return make_job(**{**values, **changes})


# --- training -----------------------------------------------------------------------------------------------------


def test_an_open_job_is_trained_once() -> None:
    state = WorkerState(Policy(), Memory(TAG))
    assert observe(state, make_job()) == [ev.Train(1)]
    assert observe(state, make_job(), height=11) == []


def test_only_as_many_jobs_train_as_allowed_and_the_best_bounty_comes_first() -> None:
    state = WorkerState(Policy(max_parallel=2), Memory(TAG))
    jobs = [make_job(id=i, bounty=i * UCREDIT) for i in (1, 2, 3)]
    assert observe(state, *jobs) == [ev.Train(3), ev.Train(2)]
    assert state.refusals[1].filter == "max_parallel"


def test_training_stops_when_the_job_takes_no_announcements_any_more() -> None:
    state = start(make_job())
    assert observe(state, make_job(state=pb.JOB_STATE_REVEAL, candidates=[make_candidate(RIVAL, 1)])) == [
        ev.StopTraining(1, forget=True)
    ]


def test_training_stops_when_the_job_is_gone() -> None:
    state = start(make_job())
    assert observe(state) == [ev.StopTraining(1, forget=True)]


def test_a_training_that_ended_for_good_is_not_started_again() -> None:
    state = start(make_job())
    assert state.handle(ev.TrainingEnded(1, "ended with code 0", final=True)) == []
    assert observe(state, make_job(), height=100) == []
    assert state.refusals[1].filter == "over"


def test_a_training_that_this_machine_lost_is_started_again_after_some_blocks() -> None:
    state = start(make_job())
    assert state.handle(ev.TrainingEnded(1, "the engine went away", final=False)) == []
    assert observe(state, make_job(), height=9 + RETRY_BLOCKS) == []
    assert state.refusals[1].reason == "the engine went away"
    assert observe(state, make_job(), height=10 + RETRY_BLOCKS) == [ev.Train(1)]
    assert not state.refusals


def test_what_keeps_a_training_from_starting_is_shown_while_its_job_is_open_only() -> None:
    state = start(make_job())
    observe(state, make_job(state=pb.JOB_STATE_REVEAL, candidates=[make_candidate(RIVAL, 1)]))
    state.handle(ev.TrainingEnded(1, "stopped", final=False))
    assert not state.refusals


def test_a_job_taken_up_before_a_restart_goes_on_although_no_more_may_be_taken_up() -> None:
    memory = Memory(TAG, taken={1: "ab" * 16})
    state = WorkerState(Policy(max_executions=1), memory)
    assert observe(state, make_job(), make_job(id=2)) == [ev.Train(1)]


def test_a_banned_account_stops_everything() -> None:
    state = start(make_job())
    state.handle(GOOD)
    assert observe(state, make_job(), account=pb.Account(banned=True)) == [ev.StopTraining(1, forget=True)]


# --- evaluation and announcement ----------------------------------------------------------------------------------


def test_the_newest_checkpoint_is_evaluated_one_at_a_time() -> None:
    state = start(make_job())
    assert state.handle(ev.CheckpointSaved(1, b"1" * 32)) == [ev.Evaluate(1, b"1" * 32)]
    assert state.handle(ev.CheckpointSaved(1, b"2" * 32)) == []
    assert state.handle(ev.CheckpointSaved(1, b"3" * 32)) == []
    done = ev.Evaluated(1, b"1" * 32, (5, 5, 5), 10)
    assert ev.Evaluate(1, b"3" * 32) in state.handle(done)


def test_nothing_is_evaluated_after_the_expiry() -> None:
    half = ev.Evaluated(1, MODEL, (7_000,), 1)
    state = WorkerState(Policy(), Memory(TAG, fresh={1: b"2" * 32}, evaluated={(1, MODEL): half}))
    assert observe(state, make_job(state=pb.JOB_STATE_REVEAL)) == []
    assert ev.Evaluate(1, b"2" * 32) in observe(state, make_job())


def test_the_worst_measured_loss_is_announced() -> None:
    state = start(make_job())
    assert state.handle(GOOD) == [ev.Announce(1, MODEL, 100_500, secured=False)]


def test_nothing_is_announced_that_would_take_no_place() -> None:
    state = start(make_job(candidates=[make_candidate(RIVAL, 100_000)]))
    assert state.handle(GOOD) == []


def test_a_model_that_was_run_too_seldom_is_run_again_once_it_would_take_a_place() -> None:
    """It was left after one run because a rival led; the rival is gone now."""
    state = start(make_job(candidates=[make_candidate(RIVAL, 100)]))
    assert state.handle(ev.Evaluated(1, b"1" * 32, (7_000,), 1)) == []
    assert state.handle(ev.Evaluated(1, b"2" * 32, (6_000,), 1)) == []
    assert observe(state, make_job(), height=11) == [ev.Evaluate(1, b"2" * 32)]
    assert state.handle(ev.Failed(ev.Evaluate(1, b"2" * 32))) == [ev.Evaluate(1, b"1" * 32)]
    done = ev.Evaluated(1, b"1" * 32, (7_000, 7_000, 7_000), 1)
    assert state.handle(done) == [ev.Announce(1, b"1" * 32, 7_000, secured=False)]


def test_the_newest_checkpoint_goes_before_those_that_were_run_too_seldom() -> None:
    state = start(make_job(candidates=[make_candidate(RIVAL, 100)]))
    state.handle(ev.Evaluated(1, b"1" * 32, (7_000,), 1))
    assert state.handle(ev.CheckpointSaved(1, b"2" * 32)) == [ev.Evaluate(1, b"2" * 32)]
    assert observe(state, make_job(), height=11) == []


def test_a_model_that_is_lost_leaves_the_announcement_to_the_next_best() -> None:
    """It made room in the store for others; a lost one must not stand in the way of one that would lead too."""
    best, next_best = ev.Evaluated(1, b"1" * 32, (2_000,) * 3, 1), ev.Evaluated(1, b"2" * 32, (3_000,) * 3, 1)
    memory = Memory(TAG, evaluated={(1, result.digest): result for result in (best, next_best)})
    state = WorkerState(Policy(), memory)
    announce = ev.Announce(1, best.digest, 2_000, secured=False)
    assert announce in observe(state, make_job())
    assert state.handle(ev.ModelLost(1, best.digest)) == []
    again = ev.Announce(1, next_best.digest, 3_000, secured=False)
    assert state.handle(ev.Failed(announce)) == [again]
    assert list(memory.evaluated) == [(1, next_best.digest)]


def test_a_newest_checkpoint_that_is_lost_is_not_evaluated_again() -> None:
    evaluate = ev.Evaluate(1, MODEL)
    state = start(make_job())
    assert state.handle(ev.CheckpointSaved(1, MODEL)) == [evaluate]
    state.handle(ev.ModelLost(1, MODEL))
    state.handle(ev.Failed(evaluate))
    assert observe(state, make_job(), height=100) == []
    assert state.handle(ev.CheckpointSaved(1, MODEL)) == [evaluate]


def test_what_was_announced_can_be_opened_although_its_model_is_lost() -> None:
    state = WorkerState(Policy(), won_memory())
    state.handle(ev.ModelLost(1, MODEL))
    assert observe(state, reveal_job()) == [ev.Upload(1, MODEL)]


def test_a_long_training_leaves_few_results_and_the_same_decisions() -> None:
    """Rivals come and go meanwhile, so that models run once and models run often have their turn."""
    few, all_of_them = start(make_job()), start(make_job())
    chance = random.Random(7)
    for number in range(400):
        digest = hashlib.sha256(b"%d" % number).digest()
        loss = 1_000_000 - 1_000 * number + chance.randrange(400_000)
        losses = () if number % 17 == 0 else (loss,) * chance.choice((1, 3))
        rival = [make_candidate(RIVAL, chance.randrange(1_000_000))] if chance.random() < 0.5 else []
        for happening in (
            ev.CheckpointSaved(1, digest),
            ev.Evaluated(1, digest, losses, chance.choice((10, 10, 60))),
            ev.Observed(make_view(make_job(candidates=rival), height=11 + 10 * number)),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("worker.state.KEPT_RESULTS", 10**6)
                expected = all_of_them.handle(happening)
            assert few.handle(happening) == expected
            for state in (few, all_of_them):
                for todo in expected:
                    if not isinstance(todo, ev.Train):
                        state.handle(ev.Failed(todo))
    assert len(few.memory.evaluated) <= 2 * KEPT_RESULTS + 2 < 100 < len(all_of_them.memory.evaluated)


def test_results_are_looked_through_for_jobs_that_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of open jobs and results every happening would else take seconds, and votes come late."""
    list_scored = WorkerState._list_scored
    asked: set[int] = set()

    def note(state: WorkerState, job_id: int) -> list[ev.Evaluated]:
        asked.add(job_id)
        return list_scored(state, job_id)

    monkeypatch.setattr(WorkerState, "_list_scored", note)
    memory = Memory(TAG, evaluated={(7, MODEL): ev.Evaluated(7, MODEL, (5, 5, 5), 1)}, fresh={9: MODEL})
    out = observe(WorkerState(Policy(), memory), *(make_job(id=job_id) for job_id in range(1, 100)))
    assert asked == {7, 9}
    assert {ev.Announce(7, MODEL, 5, secured=False), ev.Evaluate(9, MODEL)} < set(out)


def test_an_announcement_on_its_way_is_not_sent_twice() -> None:
    state = start(make_job())
    announce = state.handle(GOOD)[0]
    assert observe(state, make_job(), height=11) == []
    state.handle(ev.Done(announce))
    assert observe(state, make_job(), height=12) == []
    stands = make_job(candidates=[make_candidate(ME, 100_500, commitment=commit_to(MODEL))])
    assert observe(state, stands, height=100) == []


def test_an_announcement_that_was_lost_is_given_again() -> None:
    state = start(make_job())
    announce = state.handle(GOOD)[0]
    state.handle(ev.Failed(announce))
    assert observe(state, make_job(), height=11) == []
    assert observe(state, make_job(), height=10 + RETRY_BLOCKS) == [announce]


def test_a_model_that_nearly_overruns_is_not_announced() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (1, 1, 1), 51)) == []
    assert state.handle(ev.Evaluated(1, MODEL, (1, 1, 1), 50)) == [ev.Announce(1, MODEL, 1, secured=False)]


def test_a_model_without_a_valid_score_is_not_announced() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (), 1)) == []
    assert state.handle(ev.Evaluated(1, MODEL, (RESERVED_LOSS,), 1)) == []


def test_a_noisy_image_ends_the_job_and_is_remembered_of_its_contractor() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (1_000, 2_001, 1_500), 1)) == [ev.StopTraining(1, forget=True)]
    assert CONTRACTOR in state.memory.shunned
    assert observe(state, make_job(id=2), height=11)[:1] != [ev.Train(2)]
    assert state.refusals[2].filter == "contractor_noise"


def test_an_image_that_scores_now_and_then_not_is_noisy_too() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (5, RESERVED_LOSS), 1)) == [ev.StopTraining(1, forget=True)]
    assert CONTRACTOR in state.memory.shunned


def test_a_model_that_never_scores_is_no_noise() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (RESERVED_LOSS,), 1)) == []
    assert state.memory.shunned == {}


def test_a_spread_of_exactly_the_tolerance_is_fine() -> None:
    state = start(make_job())
    assert state.handle(ev.Evaluated(1, MODEL, (1_000, 2_000, 1_500), 1)) == [
        ev.Announce(1, MODEL, 2_000, secured=False)
    ]


def test_nothing_is_announced_at_or_after_the_expiry() -> None:
    state = WorkerState(Policy(), Memory(TAG, evaluated={(1, MODEL): GOOD}))
    assert ev.Announce(1, MODEL, 100_500, secured=False) not in observe(state, make_job(deadline_ms=NOW))


# --- reveal -------------------------------------------------------------------------------------------------------


def won_memory() -> Memory:
    own = ev.Announced(1, MODEL, SALT, 100_500)
    return Memory(TAG, evaluated={(1, MODEL): GOOD}, announced={(1, MODEL): own})


def test_the_winner_uploads_and_then_reveals() -> None:
    state = WorkerState(Policy(), won_memory())
    assert observe(state, reveal_job()) == [ev.Upload(1, MODEL)]
    assert state.handle(ev.Done(ev.Upload(1, MODEL))) == [ev.Reveal(1, MODEL)]


def test_after_a_restart_an_upload_is_not_done_again() -> None:
    memory = won_memory()
    memory.uploaded[1, MODEL] = None
    state = WorkerState(Policy(), memory)
    assert observe(state, reveal_job()) == [ev.Reveal(1, MODEL)]


def test_with_no_relay_reached_the_winner_reveals_in_the_last_third() -> None:
    state = WorkerState(Policy(), won_memory())
    observe(state, reveal_job())
    state.handle(ev.Failed(ev.Upload(1, MODEL)))
    late = reveal_job(deadline_ms=NOW + 1_000, window_opened_ms=NOW - 9_000)
    assert ev.Reveal(1, MODEL) in observe(state, late, height=11)


def test_a_model_that_no_relay_has_is_brought_to_one_until_the_votes_are_in() -> None:
    """Also by a worker that was killed after its Reveal: relays take it in VOTE too."""
    state = WorkerState(Policy(), won_memory())
    late = reveal_job(deadline_ms=NOW + 1_000, window_opened_ms=NOW - 9_000)
    assert observe(state, late) == [ev.Upload(1, MODEL), ev.Reveal(1, MODEL)]
    state.handle(ev.Failed(ev.Upload(1, MODEL)))
    vote = reveal_job(state=pb.JOB_STATE_VOTE)
    assert observe(state, vote, height=10 + RETRY_BLOCKS) == [ev.Upload(1, MODEL)]
    assert state.handle(ev.Done(ev.Upload(1, MODEL))) == []
    assert observe(WorkerState(Policy(), won_memory()), reveal_job(state=pb.JOB_STATE_TALLY)) == []


def test_another_candidates_turn_is_not_ours() -> None:
    state = WorkerState(Policy(), won_memory())
    assert observe(state, reveal_job(candidates=[make_candidate(RIVAL, 1)])) == []


def test_a_commitment_that_is_not_in_the_journal_is_not_revealed() -> None:
    state = WorkerState(Policy(), Memory(TAG))
    assert observe(state, reveal_job()) == []


def test_an_attempt_is_forgotten_with_its_job_and_the_job_still_counts_as_taken_up() -> None:
    """Not before its training has ended."""
    state = start(make_job())
    state.handle(ev.Taken(1, "ab" * 16))
    assert observe(state) == [ev.StopTraining(1, forget=True)]
    assert ev.Forget(1) in state.handle(ev.TrainingEnded(1, "stopped", final=False))
    assert state.handle(ev.Done(ev.Forget(1))) == []
    assert state.memory.taken == {1: ""}
    assert observe(state, height=100) == []


def test_a_job_that_is_over_is_forgotten_once() -> None:
    state = WorkerState(Policy(), won_memory())
    assert observe(state) == [ev.Forget(1)]
    assert state.handle(ev.Done(ev.Forget(1))) == []
    assert state.memory.announced == {}


REMEMBERED: dict[str, dict[Any, Any]] = {
    "taken": {1: "ab" * 16},
    "over": {1: "ended"},
    "fresh": {1: MODEL},
    "evaluated": {(1, MODEL): ev.Evaluated(1, MODEL, (5, 5, 5), 1)},
    "announced": {(1, MODEL): ev.Announced(1, MODEL, SALT, 5)},
    "votes": {(1, 0): ev.Measured(1, 0, 1, 5, b"r" * 32, SALT)},
    "uploaded": {(1, MODEL): None},
}


@pytest.mark.parametrize("kind", REMEMBERED)
def test_whatever_is_remembered_of_a_job_that_is_over_is_forgotten_once(kind: str) -> None:
    """Else it would be asked for, and forgotten, at each look for ever."""
    state = WorkerState(Policy(), Memory(TAG, **{kind: dict(REMEMBERED[kind])}))
    assert observe(state) == [ev.Forget(1)]
    assert state.handle(ev.Done(ev.Forget(1))) == []
    assert observe(state, height=100) == []


def test_models_are_held_that_may_have_to_be_revealed_and_newest_checkpoints() -> None:
    replaced, standing, last, other, fresh = (bytes([number]) * 32 for number in range(5))
    own = {(1, d): ev.Announced(1, d, SALT, 9 - d[0]) for d in (replaced, standing, last)}
    memory = Memory(TAG, announced={**own, (2, other): ev.Announced(2, other, SALT, 5)}, fresh={3: fresh})
    state = WorkerState(Policy(train=False), memory)
    assert state.list_held_models() == {replaced, standing, last, other, fresh}  # before anything is known
    entry = make_candidate(ME, 8, commitment=commit_to(standing))
    observe(state, make_job(candidates=[entry]), make_job(id=2), make_job(id=3))
    assert state.list_held_models() == {standing, last, other, fresh}
    state.handle(ev.Announced(1, replaced, SALT, 1))
    assert state.list_held_models() == {standing, replaced, other, fresh}
    for job_id in (1, 2, 3):
        state.handle(ev.Done(ev.Forget(job_id)))
    assert state.list_held_models() == set()
