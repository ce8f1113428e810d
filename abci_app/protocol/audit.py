"""The full audit of a state: what must hold between all its records. Tests ask for it after every block.

A restore would ask for it too, and rebuild the index; this version restores nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.indexes import get_index_entries
from abci_app.protocol.invariants import BrokenInvariant
from abci_app.protocol.jobs import SETTLED
from abci_app.protocol.limits import MAX_INT64

R = TypeVar("R", bound=Message)
Records = Mapping[bytes, Message]


def audit(records: Iterable[tuple[bytes, bytes]], index: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise BrokenInvariant, saying what is wrong, unless records and index form a sound state."""
    decoded = dict(decode_records(records))
    _audit_index(decoded, dict(index))
    _audit_supply(decoded)
    _audit_accounts(decoded)
    _audit_jobs(decoded)
    _audit_tables(decoded)


def decode_records(records: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, Message]]:
    """Yield the decoded records. Raises BrokenInvariant for an encoding that is not the deterministic one."""
    for key, data in records:
        record = keys.get_record_type(key).FromString(data)
        record.DiscardUnknownFields()  # upb would keep and write them again
        if record.SerializeToString(deterministic=True) != data:
            raise BrokenInvariant(f"the record {key.hex()} is not in canonical encoding")
        yield key, record


def rebuild_index(records: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the index entries of all records, in no particular order: what a restore writes."""
    for key, record in decode_records(records):
        yield from get_index_entries(key, record).items()


def _of(records: Records, letter: bytes, kind: type[R]) -> Iterator[tuple[bytes, R]]:
    for key, record in records.items():
        if key.startswith(letter) and isinstance(record, kind):
            yield key[1:], record


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise BrokenInvariant(text)


def _audit_index(records: Records, index: Mapping[bytes, bytes]) -> None:
    expected: dict[bytes, bytes] = {}
    for key, record in records.items():
        for entry, value in get_index_entries(key, record).items():
            _require(entry not in expected, f"two records claim the index entry {entry.hex()}")
            expected[entry] = value
    _require(expected == dict(index), "the index differs from what the records say")


def _audit_supply(records: Records) -> None:
    supply = records.get(keys.SUPPLY)
    if not isinstance(supply, pb.Supply):
        raise BrokenInvariant("there is no supply record")
    accounts = [account for _, account in _of(records, b"a", pb.Account)]
    jobs = [job for _, job in _of(records, b"j", pb.Job)]
    sums = {
        "balances": sum(account.balance for account in accounts),
        "bonds": sum(account.bond for account in accounts),
        "unbonding": sum(entry.amount for account in accounts for entry in account.unbonding),
        "escrow": sum(job.escrow for job in jobs),
        "deposits": sum(candidate.deposit for job in jobs for candidate in job.candidates),
    }
    for name, value in sums.items():
        _require(getattr(supply, name) == value, f"the total of {name} is wrong")
    _require(sum(sums.values()) + supply.burned == supply.genesis, "the parts do not sum to the genesis supply")
    _require(supply.genesis <= MAX_INT64, "the supply exceeds its range")


def _audit_accounts(records: Records) -> None:
    open_jobs: Counter[bytes] = Counter()
    candidacies: Counter[bytes] = Counter()
    unsecured: Counter[bytes] = Counter()
    for _, job in _of(records, b"j", pb.Job):
        if job.state not in SETTLED:
            open_jobs[job.contractor] += 1
            candidacies.update(candidate.account for candidate in job.candidates)
            unsecured.update(candidate.account for candidate in job.candidates if not candidate.secured)
    for address, account in _of(records, b"a", pb.Account):
        standing = records.get(keys.standing(address), pb.Standing())
        if not isinstance(standing, pb.Standing):
            raise BrokenInvariant("a standing is of the wrong type")
        counted = (standing.open_jobs, standing.candidacies, standing.unsecured_candidacies)
        actual = (open_jobs[address], candidacies[address], unsecured[address])
        _require(counted == actual, f"the counters of {address.hex()} are {counted}, its jobs say {actual}")
        gone = account.balance == account.bond == len(account.unbonding) == 0
        _require(gone or not account.banned, f"the banned account {address.hex()} holds credits")
    for letter, kind in ((b"s", pb.Standing), (b"p", pb.Profile)):
        for address, _ in _of(records, letter, kind):
            _require(keys.account(address) in records, f"{kind.__name__} {address.hex()} has no account")
    for consensus_key, validator in _of(records, b"v", pb.Validator):
        name = compute_consensus_address(consensus_key).hex()
        _require(keys.account(validator.operator) in records, f"the operator of validator {name} does not exist")


def _audit_jobs(records: Records) -> None:
    counters = records.get(keys.COUNTERS)
    if not isinstance(counters, pb.Counters):
        raise BrokenInvariant("there is no counters record")
    for key, job in _of(records, b"j", pb.Job):
        _require(key == keys.u64(job.id) and 1 <= job.id < counters.next_job_id, f"job {job.id} has a wrong number")
        settled = job.state in SETTLED
        _require(not settled or not job.escrow, f"the settled job {job.id} holds an escrow")
        _require(not settled or not any(c.deposit for c in job.candidates), f"the settled job {job.id} holds deposits")
        for number in range(job.rounds):
            _require(keys.round_(job.id, number) in records, f"round {number} of job {job.id} is missing")
    for key, turn in _of(records, b"r", pb.Round):
        _require(keys.job(turn.job_id) in records, f"round {turn.number} of job {turn.job_id} has no job")
        _require(key == keys.u64(turn.job_id) + keys.u64(turn.number), "a round lies under a wrong key")


def _audit_tables(records: Records) -> None:
    running = (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)
    needed = {job.table_epoch for _, job in _of(records, b"j", pb.Job) if job.state in running}
    current = records.get(keys.CURRENT_EPOCH)
    tables = {table.epoch for _, table in _of(records, b"ct", pb.CheckerTable)}
    if isinstance(current, pb.CurrentEpoch):
        needed.add(current.table_epoch)
    _require(tables == needed, "the checker tables are not the current one and those that jobs refer to")
