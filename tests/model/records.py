"""What the model remembers: one plain record per thing. Amounts in ucredit, times in ms, losses in 1e-9."""

from dataclasses import dataclass, field
from typing import Any

CREDIT = 1_000_000
TX_UNITS = 60_000
RESERVED_LOSS = 2**63 - 1
UNSETTLED = ("OPEN", "REVEAL", "VOTE", "TALLY")


@dataclass
class Key:
    """One public key of an account; scope 1 owner, 2 work, 3 removed."""

    scope: int
    expires: int = 0
    nonce: int = 0


@dataclass
class Unbonding:
    """Credits on their way from the bond back to the balance."""

    amount: int
    release_ms: int
    release_height: int
    number: int


@dataclass
class Account:
    """An account with everything it has done."""

    keys: dict[bytes, Key]
    balance: int = 0
    bond: int = 0
    bucket: int = 0
    bucket_ms: int = 0
    banned: bool = False
    checker: int = 0  # 0 off, else highest class + 1
    checker_jailed_ms: int = 0
    validator_jailed_ms: int = 0
    unbonding: list[Unbonding] = field(default_factory=list)
    registered_height: int = -1
    name: str = ""
    endpoint: str = ""
    counters: dict[str, int] = field(default_factory=dict)
    suspended_until: int = 0
    missed_in_a_row: int = 0
    silent_since: int = 0

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of the counters that make the reputation."""
        self.counters[name] = self.counters.get(name, 0) + amount


@dataclass
class Candidate:
    """A place in a job's list."""

    account: bytes
    loss: int
    ranked: int
    height: int
    index: int
    commitment: bytes
    secured: bool
    deposit: int

    @property
    def order(self) -> tuple[int, int, int]:
        """What sorts the list."""
        return (self.ranked, self.height, self.index)


@dataclass
class Job:
    """A job with its terms as submitted."""

    id: int
    contractor: bytes
    terms: dict[str, Any]
    bounty: int
    network_fee: int
    escrow: int
    deadline: int
    opened: int
    state: str = "OPEN"
    renewed: bool = False
    announced: bool = False
    announcements: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    round: int = 0
    rounds: int = 0
    table_epoch: int = 0
    opening_hash: bytes = b""
    excluded: list[bytes] = field(default_factory=list)
    winner: bytes = b""
    winning_loss: int = 0
    outcome: str = ""


@dataclass
class Vote:
    """What a seated account said in a round; finding "" until revealed."""

    account: bytes
    seats: int
    commitment: bytes = b""
    finding: str = ""
    loss: int = 0
    receipt: bytes = b""
    paid: int = 0


@dataclass
class Round:
    """One turn of a candidate."""

    candidate: Candidate
    digest: bytes = b""
    size: int = 0
    salt: bytes = b""
    locations: list[str] = field(default_factory=list)
    drawable: int = 0  # W
    class_bond: int = 0  # T
    votes: list[Vote] = field(default_factory=list)
    outcome: str = ""


@dataclass
class Entry:
    """An account in a checker table."""

    account: bytes
    bond: int
    highest_class: int


@dataclass
class Validator:
    """A consensus key; power 0 outside the set. `signed`: it is in the LastCommit of this block."""

    operator: bytes
    power: int
    missed: list[int] = field(default_factory=list)
    signed: bool = False
