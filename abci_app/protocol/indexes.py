"""The index as a function of the records, and the totals that the invariants compare.

`get_index_entries` alone defines the index; it can be rebuilt from the records and is compared in audits.
"""

from collections.abc import Iterable
from typing import cast

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.hashing import compute_consensus_address

IndexChange = tuple[bytes, bytes | None]

KIND_EXPIRY, KIND_REVEAL, KIND_VOTE, KIND_TALLY = 1, 2, 3, 4
_DEADLINE_KINDS = {
    pb.JOB_STATE_OPEN: KIND_EXPIRY,
    pb.JOB_STATE_REVEAL: KIND_REVEAL,
    pb.JOB_STATE_VOTE: KIND_VOTE,
    pb.JOB_STATE_TALLY: KIND_TALLY,
}


def get_index_entries(key: bytes, record: Message | None) -> dict[bytes, bytes]:
    """Return all index entries that one record stands for."""
    if isinstance(record, pb.Account):
        return _get_account_entries(key[1:], record)
    if isinstance(record, pb.Job):
        return _get_job_entries(record)
    if isinstance(record, pb.Validator):
        consensus_key = key[1:]
        return {keys.index_consensus_address(compute_consensus_address(consensus_key)): consensus_key}
    return {}


def compute_index_changes(
    key: bytes, old: Message | None, new: Message | None, drift: list[int]
) -> Iterable[IndexChange]:
    """Return what changes in the index when `old` becomes `new`; adds the change of the totals to `drift`."""
    kind = key[0]
    if kind == _ACCOUNT:
        # Told by the key: asking for the type of a protobuf message costs as much as three of its fields.
        was, now = cast("pb.Account | None", old), cast("pb.Account | None", new)
        _add_account(drift, was, -1)
        _add_account(drift, now, 1)
        if was is not None and now is not None and _has_same_index(was, now):
            return ()
    elif kind == _JOB:
        _add_job(drift, old, new)
    elif kind != _VALIDATOR:
        return ()
    before, after = get_index_entries(key, old), get_index_entries(key, new)
    removed: list[IndexChange] = [(k, None) for k in before if k not in after]
    return [*removed, *((k, v) for k, v in after.items() if before.get(k) != v)]


_ACCOUNT, _JOB, _VALIDATOR = ord("a"), ord("j"), ord("v")


def _has_same_index(old: pb.Account, new: pb.Account) -> bool:
    """Tell quickly that an account's index entries stay; most transactions change a balance only."""
    if old.bond != new.bond or old.checker != new.checker or len(old.keys) != len(new.keys):
        return False
    if old.banned != new.banned or old.checker_jailed_ms != new.checker_jailed_ms:
        return False
    if not old.unbonding and not new.unbonding:
        return True
    return list(old.unbonding) == list(new.unbonding)


def _get_account_entries(address: bytes, account: pb.Account) -> dict[bytes, bytes]:
    entries = {keys.index_public_key(key.public_key): address for key in account.keys}
    if account.checker and account.bond and not account.banned and not account.checker_jailed_ms:
        entries[keys.index_bond(account.bond, address)] = bytes((account.checker,))
    for entry in account.unbonding:
        entries[keys.index_unbonding(entry.release_ms, entry.release_height, entry.number)] = address
    return entries


def _get_job_entries(job: pb.Job) -> dict[bytes, bytes]:
    kind = _DEADLINE_KINDS.get(job.state)
    if kind is None:
        return {keys.index_prune(job.deadline_ms, job.id): b""}
    entries = {keys.index_deadline(job.deadline_ms, kind, job.id): b""}
    for candidate in job.candidates:
        entries[keys.index_candidacy(candidate.account, job.id)] = b"\x01" if candidate.secured else b"\x00"
    if job.rounds:
        entries[keys.index_table_use(job.table_epoch, job.id)] = b""
    return entries


def _add_account(drift: list[int], account: pb.Account | None, sign: int) -> None:
    if account is None:
        return
    drift[0] += sign * account.balance
    drift[1] += sign * account.bond
    if account.unbonding:
        drift[2] += sign * sum(entry.amount for entry in account.unbonding)


def _add_job(drift: list[int], old: Message | None, new: Message | None) -> None:
    for sign, job in ((-1, old), (1, new)):
        if isinstance(job, pb.Job):
            drift[3] += sign * job.escrow
            drift[4] += sign * sum(candidate.deposit for candidate in job.candidates)
