"""Where every record lives: the layout of the state and of the index derived from it.

State key (hashed, in the tree)            store       record
`a` address                                accounts    Account
`s` address                                accounts    Standing
`p` address                                accounts    Profile
`j` id                                     jobs        Job
`r` job id, round                          rounds      Round
`v` consensus public key                   validators  Validator
`cp`                                       chain       Params
`cs`                                       chain       Supply
`cn`                                       chain       Counters
`cr`                                       chain       RegistrationLoad
`co`                                       chain       Outage
`ce`                                       chain       CurrentEpoch
`ct` epoch                                 chain       CheckerTable

Index key (not hashed, derived from records by `indexes.py`)            value
`k` public key                                                          address
`b` 2^64-1-bond, address      accounts that may enter a checker table   class + 1
`u` time, height, number      unbonding entries                         address
`d` time, kind, job id        job deadlines                             empty
`x` time, job id              settled jobs to be pruned                 empty
`n` address, job id           candidacies of an account                 1 secured, 0 not
`t` epoch, job id             unsettled jobs that refer to a table      empty
`m` consensus address         validators                                consensus public key

Numbers are 8 bytes big-endian, addresses 20 bytes, so byte order is number order.
"""

from typing import Final

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb

STORES: Final = ("accounts", "chain", "jobs", "rounds", "validators")
"""Names of the stores, sorted, as they hang under the app hash."""

STORE_OF: Final = {
    ord("a"): "accounts",
    ord("s"): "accounts",
    ord("p"): "accounts",
    ord("j"): "jobs",
    ord("r"): "rounds",
    ord("v"): "validators",
    ord("c"): "chain",
}
"""First byte of a state key to its store."""

PARAMS: Final = b"cp"
SUPPLY: Final = b"cs"
COUNTERS: Final = b"cn"
REGISTRATION_LOAD: Final = b"cr"
OUTAGE: Final = b"co"
CURRENT_EPOCH: Final = b"ce"

TABLE_USE: Final = b"t"
"""First byte of `index_table_use`."""

_CHAIN_RECORDS: Final[dict[bytes, type[Message]]] = {
    PARAMS: pb.Params,
    SUPPLY: pb.Supply,
    COUNTERS: pb.Counters,
    REGISTRATION_LOAD: pb.RegistrationLoad,
    OUTAGE: pb.Outage,
    CURRENT_EPOCH: pb.CurrentEpoch,
    b"ct": pb.CheckerTable,
}
_RECORDS: Final[dict[int, type[Message]]] = {
    ord("a"): pb.Account,
    ord("s"): pb.Standing,
    ord("p"): pb.Profile,
    ord("j"): pb.Job,
    ord("r"): pb.Round,
    ord("v"): pb.Validator,
}


def get_record_type(key: bytes) -> type[Message]:
    """Return the protobuf class of the record under a state key. Raises KeyError for a key outside the layout."""
    record = _RECORDS.get(key[0])
    return record if record is not None else _CHAIN_RECORDS[key[:2]]


def u64(value: int) -> bytes:
    """Return 8 bytes big-endian. Raises OverflowError outside 0 … 2^64-1."""
    return value.to_bytes(8, "big")


def account(address: bytes) -> bytes:
    """State key of an Account."""
    return b"a" + address


def standing(address: bytes) -> bytes:
    """State key of a Standing."""
    return b"s" + address


def profile(address: bytes) -> bytes:
    """State key of a Profile."""
    return b"p" + address


def job(job_id: int) -> bytes:
    """State key of a Job."""
    return b"j" + u64(job_id)


def round_(job_id: int, number: int) -> bytes:
    """State key of a Round."""
    return b"r" + u64(job_id) + u64(number)


def validator(consensus_key: bytes) -> bytes:
    """State key of a Validator."""
    return b"v" + consensus_key


def checker_table(epoch: int) -> bytes:
    """State key of a CheckerTable."""
    return b"ct" + u64(epoch)


def index_public_key(public_key: bytes) -> bytes:
    """Index key from a public key to its account."""
    return b"k" + public_key


def index_bond(bond: int, address: bytes) -> bytes:
    """Index key that orders possible checkers by descending bond, then ascending address."""
    return b"b" + u64(2**64 - 1 - bond) + address


def split_bond(key: bytes) -> tuple[int, bytes]:
    """Return bond and address of an `index_bond` key."""
    return 2**64 - 1 - int.from_bytes(key[1:9], "big"), key[9:]


def index_unbonding(release_ms: int, release_height: int, number: int) -> bytes:
    """Index key that orders unbonding entries by (time, height, number)."""
    return b"u" + u64(release_ms) + u64(release_height) + u64(number)


def split_unbonding(key: bytes) -> tuple[int, int, int]:
    """Return release time in ms, release height and number of an `index_unbonding` key."""
    return int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:17], "big"), int.from_bytes(key[17:25], "big")


def index_deadline(time_ms: int, kind: int, job_id: int) -> bytes:
    """Index key that orders job deadlines by (time, kind, id)."""
    return b"d" + u64(time_ms) + bytes((kind,)) + u64(job_id)


def index_prune(time_ms: int, job_id: int) -> bytes:
    """Index key that orders settled jobs by the time of their pruning."""
    return b"x" + u64(time_ms) + u64(job_id)


def index_candidacy(address: bytes, job_id: int) -> bytes:
    """Index key of one candidacy of an account."""
    return b"n" + address + u64(job_id)


def index_table_use(epoch: int, job_id: int) -> bytes:
    """Index key of an unsettled job that refers to the checker table of an epoch."""
    return TABLE_USE + u64(epoch) + u64(job_id)


def split_table_use(key: bytes) -> int:
    """Return the epoch of an `index_table_use` key."""
    return int.from_bytes(key[1:9], "big")


def index_consensus_address(consensus_address: bytes) -> bytes:
    """Index key from CometBFT's validator address to its consensus key."""
    return b"m" + consensus_address
