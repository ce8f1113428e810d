"""Forgetting jobs that were settled long ago; the blocks keep the history."""

from itertools import islice

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import events, keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.events import Event
from abci_app.protocol.state import BlockState, StateDelta, StateWrite


def prune_settled(state: BlockState, context: BlockContext) -> list[Event]:
    """Remove settled jobs whose retention is over, with their rounds, at most `max_pruned_per_block`, oldest first."""
    start, end = keys.index_prune(0, 0), keys.index_prune(context.time_ms + 1, 0)
    due = [key for key, _ in islice(state.scan(start, end), context.params.max_pruned_per_block)]
    delta = StateDelta(state)
    for key in due:
        _prune_job(delta, int.from_bytes(key[-8:], "big"))
    return delta.apply()


def _prune_job(state: StateWrite, job_id: int) -> None:
    job = state.get(keys.job(job_id), pb.Job)
    if job is None:
        raise LookupError(f"the settled job {job_id} is not in the state")
    for number in range(job.rounds):
        state.delete(keys.round_(job_id, number))
    state.delete(keys.job(job_id))
    state.record(events.job_pruned(job_id))
