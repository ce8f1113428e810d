"""The client for plain code: the same questions without `await`, on an event loop in a thread of its own."""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.client.errors import ClientClosed, NothingSent
from learningchain.client.interface import (
    MOST_PAGES,
    SHORTEST_LOOK_S,
    AccountView,
    BlockEvents,
    ChainClient,
    ChainInfo,
    JobPage,
    JobView,
    Relay,
    Status,
    TxCheck,
    TxResult,
    ValidatorView,
)
from learningchain.client.journal import Journal, Pending
from learningchain.client.sender import Sender, Settled, register
from learningchain.wallet import SecretKey

T = TypeVar("T")


class Patience:
    """How long a node is waited for in all; what people and other programs take in between does not count."""

    def __init__(self, seconds: float) -> None:
        """Begin with all of it; one look is always possible."""
        self.seconds = seconds
        self._left_s = max(seconds, SHORTEST_LOOK_S)

    @contextlib.contextmanager
    def spend(self) -> Iterator[float]:
        """Give what is left, and take off what the block takes."""
        begin = time.monotonic()
        try:
            yield self._left_s
        finally:
            self._left_s = max(0.0, self._left_s - (time.monotonic() - begin))


class _Errand(Generic[T]):
    """A coroutine on its way to the loop. An interrupt may come between any two steps: it can be given up at each."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Start it, on the loop."""
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._finish)

    def give_up(self) -> None:
        """Stop it, on the loop, unless it is done; what was run there before is not touched."""
        if self._task is None:
            self._work.close()
        else:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.cancel()
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())


class SyncClient:
    """Wraps any `ChainClient`; see there for what the methods do. Use from any thread, close at the end."""

    def __init__(self, client: ChainClient) -> None:
        """Take over `client`: it is closed with this object."""
        self.inner = client
        self.patience: Patience | None = None
        """What questions may still take; each alone takes as long as the client lets it if this is None."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chain-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the client's loop and return its result; an interrupt cancels it."""
        if self._loop.is_closed():
            work.close()
            raise ClientClosed
        errand = _Errand(work)
        try:
            self._loop.call_soon_threadsafe(errand.begin)
            return errand.answer.result()
        except BaseException:
            if self._loop.is_closed():
                work.close()
            else:
                self._loop.call_soon_threadsafe(errand.give_up)
            raise

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Run a question within the patience that is left. Raises NothingSent when that is over."""
        if self.patience is None:
            return self.run(question)
        with self.patience.spend() as left_s:
            return self.run(_give_up(question, left_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self.inner.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get_status(self) -> Status:
        """Return where the node stands."""
        return self.ask(self.inner.get_status())

    def get_chain(self) -> ChainInfo:
        """Return chain id, chain tag and parameters."""
        return self.ask(self.inner.get_chain())

    def get_supply(self) -> pb.Supply:
        """Return the running totals of all credits."""
        return self.ask(self.inner.get_supply())

    def get_account(self, address: bytes) -> AccountView | None:
        """Return an account."""
        return self.ask(self.inner.get_account(address))

    def find_account(self, public_key: bytes) -> bytes | None:
        """Return the address of the account that has a public key."""
        return self.ask(self.inner.find_account(public_key))

    def get_job(self, job_id: int) -> JobView | None:
        """Return a job and its rounds."""
        return self.ask(self.inner.get_job(job_id))

    def get_round(self, job_id: int, number: int) -> pb.Round | None:
        """Return one round of a job."""
        return self.ask(self.inner.get_round(job_id, number))

    def list_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[pb.Job]:
        """Return jobs in id order."""
        return self.ask(self.inner.list_jobs(states, contractor, after_id, limit, newest_first))

    def page_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
        questions: int = MOST_PAGES,
    ) -> JobPage:
        """Return jobs in id order, as far as so many questions get."""
        return self.ask(self.inner.page_jobs(states, contractor, after_id, limit, newest_first, questions))

    def list_candidacies(self, address: bytes) -> list[int]:
        """Return the ids of the unsettled jobs an account stands in."""
        return self.ask(self.inner.list_candidacies(address))

    def get_checker_table(self) -> pb.CheckerTable:
        """Return the checker table of the present epoch."""
        return self.ask(self.inner.get_checker_table())

    def list_relays(self) -> list[Relay]:
        """Return the relays known to the chain."""
        return self.ask(self.inner.list_relays())

    def list_validators(self) -> list[ValidatorView]:
        """Return the validators, strongest first."""
        return self.ask(self.inner.list_validators())

    def get_required_bits(self) -> int:
        """Return how many leading zero bits the work of a Register needs now."""
        return self.ask(self.inner.get_required_bits())

    def check_tx(self, tx: bytes) -> TxCheck:
        """Dry run on top of the last committed state."""
        return self.ask(self.inner.check_tx(tx))

    def get_view(self, path: str) -> Mapping[str, object] | None:
        """Return the JSON object of a query view."""
        return self.ask(self.inner.get_view(path))

    def get_record(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key, with its proof checked."""
        return self.ask(self.inner.get_record(key))

    def broadcast(self, tx: bytes) -> bytes:
        """Put a transaction into the node's mempool and return its hash."""
        return self.ask(self.inner.broadcast(tx))

    def find_tx(self, tx_hash: bytes, from_height: int, to_height: int) -> TxResult | None:
        """Search committed blocks for a transaction."""
        return self.ask(self.inner.find_tx(tx_hash, from_height, to_height))

    def list_filled_blocks(self, from_height: int, to_height: int) -> list[int]:
        """Return the heights of committed blocks that hold transactions."""
        return self.ask(self.inner.list_filled_blocks(from_height, to_height))

    def wait_for_block(self, after_height: int, timeout_s: float) -> int:
        """Wait until a block above `after_height` is committed and return the last height."""
        return self.ask(self.inner.wait_for_block(after_height, timeout_s))

    def get_block_events(self, height: int) -> BlockEvents:
        """Return the events of a block."""
        return self.ask(self.inner.get_block_events(height))

    def register(self, key: SecretKey, timeout_s: float = 600.0) -> bytes:
        """Make the account of a key and return its address."""
        return self.run(register(self.inner, key, timeout_s))

    def sender(self, key: SecretKey, account: bytes | None = None, journal: Journal | None = None) -> "SyncSender":
        """Return a sender of transactions signed with `key`."""
        return SyncSender(self, Sender(self.inner, key, account, journal))


class SyncSender:
    """Wraps a `Sender`; see there for what the methods do and raise."""

    def __init__(self, client: SyncClient, sender: Sender) -> None:
        """Use the loop of `client`."""
        self._client = client
        self._sender = sender
        self.account = sender.account

    def send(self, message: Message, timeout_s: float = 60.0, intent: str | None = None) -> TxResult:
        """Sign with the next nonce, send, and wait for the block."""
        return self._client.run(self._sender.send(message, timeout_s, intent))

    def submit(self, message: Message, intent: str | None = None, timeout_s: float | None = None) -> Pending:
        """Sign with the next nonce and send."""
        return self._client.run(self._sender.submit(message, intent, timeout_s))

    def wait(self, pending: Pending, timeout_s: float = 60.0, keep: bool = False) -> TxResult:
        """Wait until a sent transaction is in a block."""
        return self._client.run(self._sender.wait(pending, timeout_s, keep))

    def settle(
        self, keep_intent: str | None = None, keep: bool = False, timeout_s: float | None = None
    ) -> list[Settled]:
        """Find out what became of everything left behind."""
        return self._client.run(self._sender.settle(keep_intent, keep, timeout_s))

    def forget(self, settled: Sequence[Pending], timeout_s: float | None = None) -> None:
        """Take transactions whose fate is known out of the journal."""
        self._client.run(self._sender.forget(settled, timeout_s))

    def prepare(self, message: Message, nonce: int | None = None) -> Pending:
        """Sign without sending."""
        return self._client.ask(self._sender.prepare(message, nonce))

    def list_pending(self) -> list[Pending]:
        """Return the transactions whose fate is not known."""

        async def read() -> list[Pending]:  # on the loop: behind what an interrupt has just cancelled there
            return self._sender.list_pending()

        return self._client.run(read())


async def _give_up(question: Coroutine[Any, Any, T], left_s: float) -> T:
    limit = asyncio.timeout(left_s)
    try:
        async with limit:
            return await question
    except TimeoutError:
        if not limit.expired():
            raise
        raise NothingSent() from None
