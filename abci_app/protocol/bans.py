"""Bans, for ever: what an account holds is burned, and it leaves every list in which its turn has not begun."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import credits, events, keys
from abci_app.protocol.accounts import edit_account, require_account
from abci_app.protocol.context import BlockContext
from abci_app.protocol.jobs import edit_job
from abci_app.protocol.settlement import drop_candidate
from abci_app.protocol.state import StateWrite
from abci_app.protocol.turns import close_round, pass_turn


def ban_account(state: StateWrite, context: BlockContext, address: bytes) -> None:
    """Ban an account; nothing happens if it is banned already.

    Its validator leaves the set at the end of the block. Its own jobs run on, and votes it has revealed count. At most
    64 candidacies have to be ended.
    """
    if require_account(state, address).banned:
        return
    burned = credits.burn_account(state, address)
    edit_account(state, address).banned = True
    jobs = [_edit_candidacy_job(state, key) for key, _ in state.scan(*_get_range(address))]
    places = [(job, _find_place(job, address)) for job in jobs]
    burned += sum(credits.burn_deposit(state, job.candidates[place]) for job, place in places)
    state.record(events.account_banned(address, burned))
    for job, place in places:
        _end_candidacy(state, context, job, place)


def _get_range(address: bytes) -> tuple[bytes, bytes]:
    """Return where the index has the candidacies of an account."""
    start = keys.index_candidacy(address, 0)
    return start, keys.index_candidacy(address, 2**64 - 1) + b"\x00"


def _edit_candidacy_job(state: StateWrite, index_key: bytes) -> pb.Job:
    return edit_job(state, int.from_bytes(index_key[-8:], "big"))


def _find_place(job: pb.Job, address: bytes) -> int:
    return [candidate.account for candidate in job.candidates].index(address)


def _end_candidacy(state: StateWrite, context: BlockContext, job: pb.Job, place: int) -> None:
    """Take the account out of one list. In VOTE and TALLY its own turn stays, to be ended by the decision."""
    if job.state == pb.JOB_STATE_OPEN or place > 0:
        drop_candidate(state, job, place)
    elif job.state == pb.JOB_STATE_REVEAL:
        close_round(state, context, job, pb.OUTCOME_BANNED)
        pass_turn(state, context, job)
