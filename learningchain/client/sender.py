"""Sending transactions of one key through one node: nonces, resending, waiting for the block."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from abci_app.protocol import errors as reasons
from learningchain.client.errors import (
    ClientError,
    NothingSent,
    TxExpired,
    TxFailed,
    TxPending,
    TxRefused,
    WaitTimeout,
)
from learningchain.client.interface import SHORTEST_LOOK_S, ChainClient, TxResult
from learningchain.client.journal import Journal, JournalBusy, JournalError, MemoryJournal, Pending
from learningchain.client.transactions import (
    SearchStopped,
    TransactionTooLong,
    build_register,
    build_transaction,
    search_work,
)
from learningchain.wallet import SecretKey

LIFETIME_BLOCKS: Final = 100
"""How long a transaction may wait for its block: short, so that its fate is known soon."""
SPARE_BITS: Final = 1
"""Work is searched for one bit more than asked, so that it survives a busy block."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a transaction that was left behind: its result, or None if it expired unused."""

    pending: Pending
    result: TxResult | None


class Sender:
    """Sends transactions signed with one key for one account. Calls are serialised."""

    def __init__(
        self, client: ChainClient, key: SecretKey, account: bytes | None = None, journal: Journal | None = None
    ) -> None:
        """`account` is the key's own unless the key was added to another one. Without journal nothing is kept."""
        self.client = client
        self.account = account or key.address
        self._key = key
        self._journal = journal or MemoryJournal()

    async def send(self, message: Message, timeout_s: float = 60.0, intent: str | None = None) -> TxResult:
        """Sign with the next nonce, send, and wait for the block: all of it within `timeout_s`.

        Raises TxRefused, TxFailed, TxPending (it may still land), NothingSent, TxExpired, NodeUnreachable and
        JournalError.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        pending = await self.submit(message, intent, timeout_s)
        return await self.wait(pending, end - loop.time())

    async def submit(self, message: Message, intent: str | None = None, timeout_s: float | None = None) -> Pending:
        """Sign with the next nonce and send; the bytes are in the journal before.

        While an earlier submission with the same `intent` (default: the message itself) is undecided, that one is
        sent again instead. Raises TxRefused, NodeUnreachable, JournalError, and when `timeout_s` are over TxPending if
        it may have been sent, else NothingSent.
        """
        intent = intent or get_default_intent(message)
        async with self._holding_journal(intent, timeout_s):
            return await self._submit_locked(message, intent)

    async def wait(self, pending: Pending, timeout_s: float = 60.0, keep: bool = False) -> TxResult:
        """Wait until a sent transaction is in a block.

        Raises TxFailed, TxPending, TxExpired, NodeUnreachable, JournalError.
        With `keep` a success stays in the journal until `forget`: for a caller that has yet to pass it on.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        seen = pending.sent_height
        while True:
            try:
                height = await self.client.wait_for_block(seen, end - loop.time())
                async with asyncio.timeout_at(max(end, loop.time() + SHORTEST_LOOK_S)):
                    found = await self.client.find_tx(pending.tx_hash, seen + 1, min(height, pending.expires_at_height))
            except (WaitTimeout, TimeoutError):
                raise TxPending(pending.tx_hash, timeout_s, seen, pending.expires_at_height) from None
            if found is not None or height >= pending.expires_at_height:
                return await self._conclude(pending, found, keep, end - loop.time())
            seen = height

    async def _conclude(self, pending: Pending, found: TxResult | None, keep: bool, timeout_s: float) -> TxResult:
        try:
            result = _require_success(pending, found)
        except ClientError as error:
            with _telling_what_stays(error):
                await self.forget([pending], timeout_s)
            raise
        if not keep:
            await self.forget([pending], timeout_s)
        return result

    async def settle(
        self, keep_intent: str | None = None, keep: bool = False, timeout_s: float | None = None
    ) -> list[Settled]:
        """Find out what became of everything left behind; what may still land is sent again and stays.

        Entries with `keep_intent` are left as they are: a submission with that intent takes them up. With `keep` what
        is settled stays in the journal until `forget`. Raises as `submit` does.
        """
        async with self._holding_journal(keep_intent, timeout_s):
            settled = await self._settle_locked(keep_intent)
            if not keep:
                self._forget([item.pending for item in settled])
            return settled

    async def forget(self, settled: Sequence[Pending], timeout_s: float | None = None) -> None:
        """Take transactions whose fate is known out of the journal. Raises JournalError."""
        async with self._journal.locked(None if timeout_s is None else max(timeout_s, SHORTEST_LOOK_S)):
            self._forget(settled)

    def list_pending(self) -> list[Pending]:
        """Return the transactions whose fate is not known."""
        return self._journal.read()

    async def prepare(self, message: Message, nonce: int | None = None) -> Pending:
        """Sign without sending. With `nonce` None the account's next one is asked for."""
        status = await self.client.get_status()
        if nonce is None:
            nonce = await self._get_accepted_nonce() + 1
        return await self._sign(message, nonce, status.height, "")

    @contextlib.asynccontextmanager
    async def _holding_journal(self, intent: str | None, timeout_s: float | None) -> AsyncIterator[None]:
        """Keep others out of the journal. What is done meanwhile is cut off when `timeout_s` are over.

        A cut changes nothing that was signed: it is in the journal before it is sent, and stays there.
        """
        if timeout_s is None:
            async with self._journal.locked():
                yield
            return
        given = max(timeout_s, SHORTEST_LOOK_S)
        end = asyncio.get_running_loop().time() + given
        async with self._locking_journal(given):
            limit = asyncio.timeout_at(end)
            try:
                async with limit:
                    yield
            except TimeoutError:
                if not limit.expired():
                    raise
                raise self._tell_cut(intent, timeout_s) from None

    @contextlib.asynccontextmanager
    async def _locking_journal(self, timeout_s: float) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._journal.locked(timeout_s))
            except JournalBusy as error:
                raise JournalBusy(f"nothing was sent: {error.message}", error.hint) from None
            yield

    def _tell_cut(self, intent: str | None, waited_s: float) -> WaitTimeout:
        for entry in self._journal.read():
            if entry.intent == intent:
                return TxPending(entry.tx_hash, waited_s, entry.sent_height, entry.expires_at_height)
        return NothingSent()

    async def _submit_locked(self, message: Message, intent: str) -> Pending:
        status = await self.client.get_status()
        for entry in self._journal.read():
            if entry.intent == intent and await self._may_count(entry, status.height):
                return entry
            if status.height >= entry.expires_at_height:
                self._forget([entry])
        try:
            return await self._sign_and_send(message, intent, status.height)
        except TxRefused as error:
            if error.code != reasons.WrongNonce.code:
                raise
        # Another program uses the key, or an earlier transaction was lost: look again, once.
        self._forget([item.pending for item in await self._settle_locked()])
        return await self._sign_and_send(message, intent, status.height)

    async def _sign_and_send(self, message: Message, intent: str, height: int) -> Pending:
        entries = self._journal.read()
        accepted = await self._get_accepted_nonce()
        taken = {entry.nonce for entry in entries}
        nonce = next(number for number in range(accepted + 1, accepted + 2 + len(taken)) if number not in taken)
        pending = await self._sign(message, nonce, height, intent)
        try:
            self._journal.write([*entries, pending])
        except JournalError as error:
            raise JournalError(f"nothing was sent: {error.message}", error.hint) from error
        try:
            await self.client.broadcast(pending.tx)
        except TxRefused as error:
            with _telling_what_stays(error):
                self._forget([pending])
            raise
        return pending

    async def _sign(self, message: Message, nonce: int, height: int, intent: str) -> Pending:
        chain = await self.client.get_chain()
        expires = height + min(LIFETIME_BLOCKS, chain.params.max_tx_lifetime)
        try:
            signed = build_transaction(self._key, chain.chain_tag, self.account, nonce, expires, message)
        except TransactionTooLong as error:
            raise TxRefused(reasons.TooLarge.code, b"") from error
        return Pending(signed.tx, signed.tx_hash, nonce, height, expires, intent)

    async def _may_count(self, entry: Pending, height: int) -> bool:
        """Tell whether an earlier transaction was carried out or, sent again, still can be."""
        if height < entry.expires_at_height:
            await self._resend(entry)
            return True
        return await self._find_result(entry, height) is not None

    async def _resend(self, entry: Pending) -> None:
        """Offer the same bytes again.

        A refusal for its nonce means that it may be in a block already. So may another one, of which that block is the
        cause: it was the last block that the transaction could be in, or the one that removed the key.
        """
        try:
            await self.client.broadcast(entry.tx)
        except TxRefused as error:
            if error.code == reasons.WrongNonce.code:
                return
            height = (await self.client.get_status()).height
            if await self._find_result(entry, height) is None:
                with _telling_what_stays(error):
                    self._forget([entry])
                raise

    async def _settle_locked(self, keep_intent: str | None = None) -> list[Settled]:
        entries = [entry for entry in self._journal.read() if keep_intent is None or entry.intent != keep_intent]
        if not entries:
            return []
        height = (await self.client.get_status()).height
        accepted = await self._get_accepted_nonce()
        settled: list[Settled] = []
        for entry in entries:
            if entry.nonce > accepted and height < entry.expires_at_height:
                await self._resend_quietly(entry)
            else:
                settled.append(Settled(entry, await self._find_result(entry, height)))
        return settled

    async def _find_result(self, entry: Pending, height: int) -> TxResult | None:
        last = min(height, entry.expires_at_height)
        return await self.client.find_tx(entry.tx_hash, entry.sent_height + 1, last)

    async def _resend_quietly(self, entry: Pending) -> None:
        try:
            await self._resend(entry)
        except TxRefused:
            return  # it is forgotten: refused bytes are in no mempool, their nonce is free again

    async def _get_accepted_nonce(self) -> int:
        view = await self.client.get_account(self.account)
        if view is None:
            raise TxRefused(reasons.UnknownAccount.code, b"")
        nonce = view.get_nonce(self._key.public_key)
        if nonce is None:
            raise TxRefused(reasons.UnknownKey.code, b"")
        return nonce

    def _forget(self, gone: Sequence[Pending]) -> None:
        hashes = {entry.tx_hash for entry in gone}
        entries = self._journal.read()
        kept = [entry for entry in entries if entry.tx_hash not in hashes]
        if len(kept) != len(entries):
            self._journal.write(kept)


def get_default_intent(message: Message) -> str:
    """Return what two submissions have in common that are meant as one: the message itself."""
    return f"{message.DESCRIPTOR.name} {message.SerializeToString(deterministic=True).hex()}"


async def register(client: ChainClient, key: SecretKey, timeout_s: float = 600.0) -> bytes:
    """Make the account of a key and return its address, at once if it exists already.

    Searches the work in a thread, which is stopped when this is cancelled. Raises TxRefused, TxFailed, TxPending,
    TxExpired, NodeUnreachable.
    """
    if await client.get_account(key.address) is not None:
        return key.address
    chain = await client.get_chain()
    bits = await client.get_required_bits() + SPARE_BITS
    solution = await search_registration(chain.chain_tag, key.public_key, bits)
    pending = await sign_register(client, key, solution)
    try:
        await client.broadcast(pending.tx)
    except TxRefused as error:
        if error.code == reasons.AlreadyRegistered.code:
            return key.address
        raise
    await Sender(client, key).wait(pending, timeout_s)
    return key.address


async def sign_register(client: ChainClient, key: SecretKey, solution: bytes) -> Pending:
    """Sign the Register of a key's own account without sending it; `solution` is what `search_registration` found."""
    chain = await client.get_chain()
    height = (await client.get_status()).height
    signed = build_register(key, chain.chain_tag, height + min(LIFETIME_BLOCKS, chain.params.max_tx_lifetime), solution)
    return Pending(signed.tx, signed.tx_hash, 0, height, signed.expires_at_height, "Register")


async def search_registration(chain_tag: bytes, public_key: bytes, bits: int) -> bytes:
    """Return a solution whose work has `bits` leading zero bits, searched in a thread that ends with this call."""
    stopped = threading.Event()
    try:
        return await asyncio.to_thread(search_work, chain_tag, public_key, bits, stopped.is_set)
    except SearchStopped as error:
        raise ClientError("the search for the registration's work was stopped", "run it again") from error
    finally:
        stopped.set()


@contextlib.contextmanager
def _telling_what_stays(outcome: ClientError) -> Iterator[None]:
    """Add to what became of a transaction that it could not be taken out of the journal: it must not be hidden."""
    try:
        yield
    except JournalError as error:
        outcome.hint = f"{outcome.hint}; the next command sends it again if it can still land: {error.message}"


def _require_success(pending: Pending, found: TxResult | None) -> TxResult:
    if found is None:
        raise TxExpired(pending.tx_hash, pending.expires_at_height)
    if found.code != 0:
        raise TxFailed(found.code, found.tx_hash, found.height)
    return found
