"""The small interface between the network and everything that uses it: CLI, worker, devnet, tests.

`Client` implements it over a transport: CometBFT's RPC, or in tests the protocol driven in memory. Records are the
protobuf messages of `abci_app.pb.learningchain.v1.state_pb2` and must not be changed.
Units as there: amounts in ucredit, times in ms of block time, losses in 1e-9. Addresses are 20 bytes.

Every method may raise `NodeUnreachable` or `BadAnswer` (see `errors.py`), `WrongChain` if a chain was named,
`ClientClosed` after `aclose`, and ValueError for an argument that no chain has. What is absent is None, never an error.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.events import Event

MOST_PAGES: Final = 20
"""Views of jobs that are asked for one after the other; a node looks at 2,000 jobs for each."""
SHORTEST_LOOK_S: Final = 1.0
"""For asking the node once when there is no time left to wait."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a node stands. `height` and `time_ms` are those of the last committed block."""

    chain_id: str
    height: int
    time_ms: int
    catching_up: bool


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """What never changes on a chain: asked once, then remembered by the client."""

    chain_id: str
    chain_tag: bytes
    params: pb.Params


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account with what it has done and where it serves models, as of `height`."""

    address: bytes
    account: pb.Account
    standing: pb.Standing
    profile: pb.Profile
    height: int

    def get_nonce(self, public_key: bytes) -> int | None:
        """Return the nonce of the key's last accepted transaction, None if the account does not have the key."""
        for key in self.account.keys:
            if key.public_key == public_key:
                return key.nonce
        return None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with its rounds so far in order, as of `height`."""

    job: pb.Job
    rounds: Sequence[pb.Round]
    height: int

    @property
    def round(self) -> pb.Round | None:
        """The present or last round, None before the first."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True, slots=True)
class Relay:
    """A node that takes uploads of revealed models: a validator or a checker with an endpoint in its profile."""

    account: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """A validator in the set: its consensus key and the account that operates it."""

    consensus_key: bytes
    operator: bytes
    power: int


@dataclass(frozen=True, slots=True)
class TxCheck:
    """The answer of a dry run: `code` 0 would be accepted now; `stage` is `bytes`, `envelope` or `message`."""

    code: int
    stage: str
    name: str
    hint: str


@dataclass(frozen=True, slots=True)
class JobPage:
    """A part of a list of jobs. `next_id` is the next page's `after_id`, None if nothing is left to look at."""

    jobs: Sequence[pb.Job]
    next_id: int | None


@dataclass(frozen=True, slots=True)
class TxResult:
    """A transaction in a block. `code` 0 is success, else a number of `abci_app.protocol.errors.REASONS`."""

    tx_hash: bytes
    height: int
    index: int
    code: int
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class BlockEvents:
    """The events of one block: those of its transitions, then those of its transactions in order."""

    height: int
    time_ms: int
    events: Sequence[Event]


class ChainClient(Protocol):
    """A view of one chain through one node. Asynchronous; `SyncClient` wraps any of them for plain code."""

    async def get_status(self) -> Status:
        """Return where the node stands."""

    async def get_chain(self) -> ChainInfo:
        """Return chain id, chain tag and parameters; asks the node at most once."""

    async def get_supply(self) -> pb.Supply:
        """Return the running totals of all credits."""

    async def get_account(self, address: bytes) -> AccountView | None:
        """Return an account."""

    async def find_account(self, public_key: bytes) -> bytes | None:
        """Return the address of the account that has a public key, removed keys included."""

    async def get_job(self, job_id: int) -> JobView | None:
        """Return a job and its rounds; None if it never existed or is pruned."""

    async def get_round(self, job_id: int, number: int) -> pb.Round | None:
        """Return one round of a job, the first is 0."""

    async def list_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[pb.Job]:
        """Return up to `limit` jobs in id order, of the given JobStates (empty: all) and contractor.

        Only ids above `after_id`; with `newest_first` ids below `after_id` (0: all), highest first.
        """

    async def page_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
        questions: int = MOST_PAGES,
    ) -> JobPage:
        """Return jobs as `list_jobs` does, as far as so many questions get: with filters it may be none at all."""

    async def list_candidacies(self, address: bytes) -> list[int]:
        """Return the ids of the unsettled jobs an account stands in, ascending."""

    async def get_checker_table(self) -> pb.CheckerTable:
        """Return the checker table of the present epoch, empty if there is none yet."""

    async def list_relays(self) -> list[Relay]:
        """Return the relays known to the chain."""

    async def list_validators(self) -> list[ValidatorView]:
        """Return the validators in the set, strongest first."""

    async def get_required_bits(self) -> int:
        """Return how many leading zero bits the work of a Register needs now."""

    async def check_tx(self, tx: bytes) -> TxCheck:
        """Dry run on top of the last committed state. Sends nothing."""

    async def get_view(self, path: str) -> Mapping[str, object] | None:
        """Return the JSON object of a query view as it is, for showing; None if there is no such thing."""

    async def get_record(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key (see `protocol/keys.py`), with its proof checked.

        The proof ties it to the app hash of a block header of the same node. Raises BadAnswer when it does not hold.
        """

    async def broadcast(self, tx: bytes) -> bytes:
        """Put a transaction into the node's mempool and return its hash. Raises TxRefused with CheckTx's code.

        Sending the same bytes again is harmless: a transaction already in the mempool is no error.
        """

    async def find_tx(self, tx_hash: bytes, from_height: int, to_height: int) -> TxResult | None:
        """Search the committed blocks from_height … to_height (both included) for a transaction."""

    async def list_filled_blocks(self, from_height: int, to_height: int) -> list[int]:
        """Return the heights of the committed blocks from_height … to_height that hold transactions, ascending."""

    async def wait_for_block(self, after_height: int, timeout_s: float) -> int:
        """Wait until a block above `after_height` is committed and return the last height. Raises WaitTimeout."""

    async def get_block_events(self, height: int) -> BlockEvents:
        """Return the events of a block. They are hints; the state is the truth. Raises BadAnswer when pruned."""

    async def aclose(self) -> None:
        """Close all connections."""
