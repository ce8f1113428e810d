"""The client: typed questions and answers over a transport."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.hashing import compute_tx_hash
from abci_app.protocol.jsonform import enum_to_json
from abci_app.protocol.limits import ADDRESS_BYTES, KEY_BYTES, MAX_INT64, TAG_BYTES
from learningchain.client import decode
from learningchain.client.errors import BadAnswer, QueryRefused, TxRefused, WaitTimeout, WrongChain
from learningchain.client.interface import (
    MOST_PAGES,
    SHORTEST_LOOK_S,
    AccountView,
    BlockEvents,
    ChainInfo,
    JobPage,
    JobView,
    Relay,
    Status,
    TxCheck,
    TxResult,
    ValidatorView,
)
from learningchain.client.proofs import check_record_proof
from learningchain.client.rpc import CometTransport
from learningchain.client.transactions import MAX_BITS
from learningchain.client.transport import QueryAnswer, Transport

UNKNOWN_PATH, BAD_ARGUMENT, NOT_FOUND = 1, 2, 3
"""Codes of a query: there is no such path, its arguments are wrong, what it is about does not exist."""
PAGE: Final = 100
"""Jobs that one view shows at most."""
_MAX_UINT64: Final = 2**64 - 1
_STATE_KEYS: Final = {
    (key[:1], len(key))
    for key in (
        keys.account(bytes(ADDRESS_BYTES)),
        keys.standing(bytes(ADDRESS_BYTES)),
        keys.profile(bytes(ADDRESS_BYTES)),
        keys.job(0),
        keys.round_(0, 0),
        keys.validator(bytes(KEY_BYTES)),
        keys.PARAMS,
        keys.checker_table(0),
    )
}
"""First byte and length of the keys that the state has."""


class Client:
    """A `ChainClient` over any transport. One event loop at a time."""

    def __init__(self, transport: Transport, chain_tag: bytes | None = None) -> None:
        """With `chain_tag` the client refuses nodes of any other chain (WrongChain). Raises ValueError for no tag."""
        if chain_tag is not None and len(chain_tag) != TAG_BYTES:
            raise ValueError(f"a chain tag has {TAG_BYTES} bytes, not {len(chain_tag)}")
        self._transport = transport
        self._expected_tag = chain_tag
        self._chain: ChainInfo | None = None

    async def get_status(self) -> Status:
        """Return where the node stands."""
        catching_up = await (await self._reach()).is_catching_up()
        view = await self._require_view("/chain")
        return Status(
            decode.get_text(view, "chain_id"),
            decode.get_int(view, "height"),
            decode.get_int(view, "time_ms"),
            catching_up,
        )

    async def get_chain(self) -> ChainInfo:
        """Return chain id, chain tag and parameters; asks the node at most once."""
        if self._chain is None:
            view = await self._ask_unchecked("/chain")
            params = decode.get_record(await self._ask_unchecked("/params"), "params", pb.Params)
            chain = ChainInfo(decode.get_text(view, "chain_id"), decode.get_bytes(view, "chain_tag"), params)
            if self._expected_tag is not None and chain.chain_tag != self._expected_tag:
                raise WrongChain(f"the node belongs to the chain {chain.chain_id} ({chain.chain_tag.hex()})")
            self._chain = chain
        return self._chain

    async def get_supply(self) -> pb.Supply:
        """Return the running totals of all credits."""
        return decode.get_record(await self._require_view("/supply"), "supply", pb.Supply)

    async def get_account(self, address: bytes) -> AccountView | None:
        """Return an account."""
        view = await self.get_view(f"/account/{encode_address(address)}")
        if view is None:
            return None
        return AccountView(
            address,
            decode.get_record(view, "account", pb.Account),
            decode.get_record(view, "standing", pb.Standing),
            decode.get_record(view, "profile", pb.Profile),
            decode.get_int(view, "height"),
        )

    async def find_account(self, public_key: bytes) -> bytes | None:
        """Return the address of the account that has a public key, removed keys included."""
        if len(public_key) != KEY_BYTES:
            raise ValueError(f"a public key has {KEY_BYTES} bytes, not {len(public_key)}")
        view = await self.get_view(f"/key/{public_key.hex()}")
        return None if view is None else decode.get_bytes(view, "address")

    async def get_job(self, job_id: int) -> JobView | None:
        """Return a job and its rounds; None if it never existed or is pruned."""
        view = await self._find_numbered("job", job_id)
        if view is None:
            return None
        rounds = decode.get_records(view, "rounds", pb.Round)
        return JobView(decode.get_record(view, "job", pb.Job), rounds, decode.get_int(view, "height"))

    async def get_round(self, job_id: int, number: int) -> pb.Round | None:
        """Return one round of a job, the first is 0."""
        view = await self._find_numbered("round", job_id, number)
        return None if view is None else decode.get_record(view, "round", pb.Round)

    async def list_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = PAGE,
        newest_first: bool = False,
    ) -> list[pb.Job]:
        """Return up to `limit` jobs in id order, of the given JobStates (empty: all) and contractor.

        Only ids above `after_id`; with `newest_first` ids below `after_id` (0: all), highest first.
        """
        _check_number(limit)
        jobs: list[pb.Job] = []
        following: int | None = after_id
        while following is not None and len(jobs) < limit:
            page = await self.page_jobs(states, contractor, following, limit - len(jobs), newest_first)
            jobs.extend(page.jobs)
            following = page.next_id
        return jobs

    async def page_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = PAGE,
        newest_first: bool = False,
        questions: int = MOST_PAGES,
    ) -> JobPage:
        """Return jobs as `list_jobs` does, as far as so many questions get."""
        _check_number(after_id)
        _check_number(limit)
        filters = _get_job_filters(states, contractor, newest_first)
        at = min(after_id, MAX_INT64)  # no job has a higher number, and no node takes one
        jobs: list[pb.Job] = []
        for _ in range(questions):
            if len(jobs) >= limit:
                break
            after = "" if newest_first and not at else f"&after={at}"
            view = await self._require_view(f"/jobs?{filters}&limit={min(PAGE, limit - len(jobs))}{after}")
            jobs.extend(decode.get_records(view, "jobs", pb.Job))
            if not decode.get_text(view, "next"):
                return JobPage(jobs[:limit], None)
            at = _follow_page(view, at, newest_first)
        return JobPage(jobs[:limit], at)

    async def list_candidacies(self, address: bytes) -> list[int]:
        """Return the ids of the unsettled jobs an account stands in, ascending."""
        view = await self._require_view(f"/candidacies/{encode_address(address)}")
        return [decode.get_int(item, "job_id") for item in decode.get_list(view, "candidacies")]

    async def get_checker_table(self) -> pb.CheckerTable:
        """Return the checker table of the present epoch, empty if there is none yet."""
        return decode.get_record(await self._require_view("/checkers"), "table", pb.CheckerTable)

    async def list_relays(self) -> list[Relay]:
        """Return the relays known to the chain."""
        entries = decode.get_list(await self._require_view("/relays"), "relays")
        return [Relay(decode.get_bytes(item, "account"), decode.get_text(item, "endpoint")) for item in entries]

    async def list_validators(self) -> list[ValidatorView]:
        """Return the validators in the set, strongest first."""
        found = []
        for item in decode.get_list(await self._require_view("/validators"), "validators"):
            record = decode.get_record(item, "validator", pb.Validator)
            if record.power:
                found.append(ValidatorView(decode.get_bytes(item, "consensus_key"), record.operator, record.power))
        return sorted(found, key=lambda entry: (-entry.power, entry.consensus_key))

    async def get_required_bits(self) -> int:
        """Return how many leading zero bits the work of a Register needs now."""
        bits = decode.get_int(await self._require_view("/params"), "registration_bits_now")
        if not 0 <= bits < MAX_BITS:
            raise BadAnswer(f"the node asks for work of {bits} bits, which nobody can do")
        return bits

    async def check_tx(self, tx: bytes) -> TxCheck:
        """Dry run on top of the last committed state. Sends nothing."""
        view = _read_view("/check", await (await self._reach()).query("/check", tx)) or {}
        return TxCheck(
            decode.get_int(view, "code"),
            decode.get_text(view, "stage"),
            decode.get_text(view, "name"),
            decode.get_text(view, "hint"),
        )

    async def get_view(self, path: str) -> dict[str, Any] | None:
        """Return the JSON object of a query view as it is, for showing; None if there is no such thing."""
        return _read_view(path, await (await self._reach()).query(path))

    async def get_record(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key (see `protocol/keys.py`), with its proof checked.

        The proof ties it to the app hash of a block header of the same node. Raises BadAnswer when it does not hold.
        """
        if (key[:1], len(key)) not in _STATE_KEYS:
            raise ValueError(f"{key.hex() or 'nothing'} is not a state key")
        store = keys.STORE_OF[key[0]]
        answer = await (await self._reach()).query(f"/store/{store}/key", key, prove=True)
        if answer.code not in (0, NOT_FOUND):
            raise BadAnswer(f"the node refused a query of the store {store}: {answer.log}")
        app_hash = await (await self._reach()).get_app_hash(answer.height + 1)
        return check_record_proof(app_hash, store, key, answer)

    async def broadcast(self, tx: bytes) -> bytes:
        """Put a transaction into the node's mempool and return its hash. Raises TxRefused with CheckTx's code."""
        tx_hash = compute_tx_hash(tx)
        code = await (await self._reach()).broadcast(tx)
        if code != 0:
            raise TxRefused(code, tx_hash)
        return tx_hash

    async def find_tx(self, tx_hash: bytes, from_height: int, to_height: int) -> TxResult | None:
        """Search the committed blocks from_height … to_height (both included) for a transaction."""
        for height in await self.list_filled_blocks(from_height, to_height):
            found = await self._find_in_block(tx_hash, height)
            if found is not None:
                return found
        return None

    async def list_filled_blocks(self, from_height: int, to_height: int) -> list[int]:
        """Return the heights of the committed blocks from_height … to_height that hold transactions, ascending."""
        filled: list[int] = []
        high = to_height
        while high >= from_height:
            answer = await (await self._reach()).count_txs(from_height, high)
            counts = {height: count for height, count in answer.items() if from_height <= height <= high}
            if not counts:
                raise BadAnswer(f"the node has no block headers from {from_height} to {high}")
            filled.extend(height for height, count in counts.items() if count)
            high = min(counts) - 1
        return sorted(filled)

    async def wait_for_block(self, after_height: int, timeout_s: float) -> int:
        """Wait until a block above `after_height` is committed and return the last height. Raises WaitTimeout."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(max(end, loop.time() + SHORTEST_LOOK_S)):
                    height = decode.get_int(await self._require_view("/chain"), "height")
            except TimeoutError:
                raise WaitTimeout(f"no block after {after_height} within {timeout_s:g} s") from None
            if height > after_height:
                return height
            remaining = end - loop.time()
            if remaining <= 0:
                raise WaitTimeout(f"no block after {after_height} within {timeout_s:g} s")
            await (await self._reach()).wait_for_news(remaining)

    async def get_block_events(self, height: int) -> BlockEvents:
        """Return the events of a block. They are hints; the state is the truth. Raises BadAnswer when pruned."""
        block = await (await self._reach()).get_block(height)
        events = [*block.events, *(event for events in block.tx_events for event in events)]
        return BlockEvents(height, block.time_ms, events)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _find_in_block(self, tx_hash: bytes, height: int) -> TxResult | None:
        block = await (await self._reach()).get_block(height)
        for index, tx in enumerate(block.txs):
            if compute_tx_hash(tx) == tx_hash:
                return TxResult(tx_hash, height, index, block.codes[index], block.tx_events[index])
        return None

    async def _reach(self) -> Transport:
        """Return the node once it is known to be of the chain expected, if one is."""
        if self._expected_tag is not None:
            await self.get_chain()
        return self._transport

    async def _find_numbered(self, view: str, *numbers: int) -> Mapping[str, Any] | None:
        for number in numbers:
            _check_number(number)
        if max(numbers) > MAX_INT64:
            return None  # jobs and rounds are counted from the beginning, and no node takes such a number
        return await self.get_view("/".join(("", view, *map(str, numbers))))

    async def _require_view(self, path: str) -> Mapping[str, Any]:
        return _require(path, await self.get_view(path))

    async def _ask_unchecked(self, path: str) -> Mapping[str, Any]:
        return _require(path, _read_view(path, await self._transport.query(path)))


def connect(node: str, chain_tag: bytes | None = None) -> Client:
    """Return a client of the node at `http://HOST:PORT` or `unix:///PATH`.

    Raises ValueError for another form, and for a chain tag that is none.
    """
    return Client(CometTransport(node), chain_tag)


def _require(path: str, view: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if view is None:
        raise BadAnswer(f"the node does not know {path}")
    return view


def _read_view(path: str, answer: QueryAnswer) -> dict[str, Any] | None:
    if answer.code == NOT_FOUND:
        return None
    if answer.code in (UNKNOWN_PATH, BAD_ARGUMENT):
        raise QueryRefused(f"the node refused the query {path}: {answer.log}")
    if answer.code != 0:
        raise BadAnswer(f"the node refused the query {path}: {answer.log}")
    return decode.parse_object(answer.value)


def _check_number(number: int) -> None:
    if not 0 <= number <= _MAX_UINT64:
        raise ValueError(f"{number} is not a number from 0 to 2^64-1")


def _follow_page(view: Mapping[str, Any], after_id: int, newest_first: bool) -> int:
    """Return where the next page begins. Raises BadAnswer if that leads nowhere."""
    following = decode.get_int(view, "next")
    goes_on = 0 < following < (after_id or MAX_INT64) if newest_first else following > after_id
    if not goes_on:
        raise BadAnswer(f"after the job {after_id} the node says to go on with {following}")
    return following


def _get_job_filters(states: Collection[int], contractor: bytes | None, newest_first: bool) -> str:
    query = [f"order={'desc' if newest_first else 'asc'}"]
    if not set(states) <= set(pb.JobState.values()):
        raise ValueError(f"{sorted(states)} are not numbers of pb.JobState")
    if states:
        names = sorted(enum_to_json(pb.JobState.DESCRIPTOR, state) for state in states)
        query.append("state=" + ",".join(names))
    if contractor is not None:
        query.append(f"contractor={encode_address(contractor)}")
    return "&".join(query)
