"""What happens by itself: each due job deadline has a default outcome, so that no state waits for a person."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.decision import decide_round
from abci_app.protocol.events import Event
from abci_app.protocol.jobs import edit_job
from abci_app.protocol.settlement import settle
from abci_app.protocol.state import BlockState, StateDelta, StateWrite
from abci_app.protocol.turns import end_by_default, open_first_turn
from abci_app.protocol.voting import open_tally
from abci_app.protocol.windows import must_renew, renew_window


def process_due_jobs(state: BlockState, context: BlockContext) -> list[Event]:
    """Process due deadlines in (time, kind, id) order, at most `max_due_per_block`; the rest waits for the next block.

    Each runs on its own delta. New deadlines lie in the future, so the search goes on after the last key handled.
    """
    events: list[Event] = []
    start, end = keys.index_deadline(0, 0, 0), keys.index_deadline(context.time_ms + 1, 0, 0)
    for _ in range(context.params.max_due_per_block):
        due = next(iter(state.scan(start, end)), None)
        if due is None:
            break
        delta = StateDelta(state)
        _process_deadline(delta, context, edit_job(delta, int.from_bytes(due[0][-8:], "big")))
        events += delta.apply()
        start = due[0] + b"\x00"
    return events


def _process_deadline(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Carry out the default outcome of the present state, or renew its window once."""
    if job.state == pb.JOB_STATE_OPEN:
        _expire(state, context, job)
    elif must_renew(state, context, job):
        renew_window(state, context, job)
    elif job.state == pb.JOB_STATE_REVEAL:
        end_by_default(state, context, job)
    elif job.state == pb.JOB_STATE_VOTE:
        open_tally(state, context, job)
    else:
        decide_round(state, context, job)


def _expire(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    if job.candidates:
        open_first_turn(state, context, job)
    else:
        settle(state, context, job, pb.JOB_STATE_EXPIRED)
