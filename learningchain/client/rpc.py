"""CometBFT's RPC over a loopback or remote HTTP address or a Unix socket."""

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from abci_app.protocol.events import Event
from learningchain.client import decode
from learningchain.client.errors import BadAnswer, ClientClosed, NodeUnreachable, describe
from learningchain.client.follow import BlockFollower
from learningchain.client.transport import BlockData, ProofOp, QueryAnswer

TIMEOUT_S: Final = 10.0
"""For one call: longer than CometBFT's own limit of a query, shorter than people's patience."""
SLOWEST_BYTES_PER_S: Final = 256 << 10
"""A large answer has more time than TIMEOUT_S, by what it takes at this rate: its bytes are not late, they are many."""
MAX_ANSWER_BYTES: Final = 64 << 20
MAX_HEADERS: Final = 20
"""Blocks whose headers one call may ask for (CometBFT's limit)."""
_IN_CACHE: Final = "already exists in cache"
_MEMPOOL_FULL: Final = "mempool is full"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RpcError(BadAnswer):
    """The node refused a call; `data` is its reason."""

    def __init__(self, method: str, message: str, data: str) -> None:
        super().__init__(f"the node refused {method}: {data or message}")
        self.data = data


class CometTransport:
    """A node reached through its RPC address: `http://HOST:PORT`, `https://…` or `unix:///PATH`."""

    def __init__(self, node: str) -> None:
        """Use the node at this address. Raises ValueError for another form; connects at the first call."""
        self.node = node
        self._base, uds = split_address(node)
        # The environment's proxies are not used: a node is near, and a proxy would see every transaction.
        transport = httpx2.AsyncHTTPTransport(uds=uds, retries=1, trust_env=False)
        self._http = httpx2.AsyncClient(transport=transport, trust_env=False)
        self._follower = BlockFollower(self._base, uds)
        self._calls = 0

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Make one JSON-RPC call and return its result object."""
        if self._http.is_closed:
            raise ClientClosed
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        try:
            return _unwrap(method, await fetch(self._http, "POST", self._base, TIMEOUT_S, json=request))
        except TimeoutError:
            raise NodeUnreachable(f"the node at {self.node} did not answer within {TIMEOUT_S:.0f} s") from None
        except OSError as error:
            raise NodeUnreachable(f"the node at {self.node} cannot be reached: {error}") from error

    async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
        """Ask the application."""
        result = await self.call("abci_query", path=path, data=data.hex(), prove=prove)
        response = _object(result, "response")
        proof = _object(response, "proofOps") if response.get("proofOps") else {}
        return QueryAnswer(
            code=_int(response, "code"),
            log=str(response.get("log") or ""),
            value=_unbase64(response.get("value")),
            height=_int(response, "height"),
            proof=tuple(
                ProofOp(str(op.get("type")), _unbase64(op.get("key")), _unbase64(op.get("data")))
                for op in _objects(proof, "ops")
            ),
        )

    async def broadcast(self, tx: bytes) -> int:
        """Offer a transaction to the mempool and return CheckTx's code; one that is there already is accepted."""
        try:
            result = await self.call("broadcast_tx_sync", tx=base64.b64encode(tx).decode("ascii"))
        except RpcError as error:
            if _IN_CACHE in error.data:
                return 0
            if _MEMPOOL_FULL in error.data:
                error.hint = "the node's mempool is full: wait a little and run the same command again"
            raise
        return _int(result, "code")

    async def is_catching_up(self) -> bool:
        """Tell whether the node says that it does not have all blocks yet."""
        return bool(_object(await self.call("status"), "sync_info").get("catching_up"))

    async def get_block(self, height: int) -> BlockData:
        """Return a committed block with its results."""
        block = _object(await self.call("block", height=str(height)), "block")
        results = await self.call("block_results", height=str(height))
        txs = [_unbase64(tx) for tx in _list(_object(block, "data"), "txs")]
        outcomes = _objects(results, "txs_results")
        if len(outcomes) != len(txs):
            raise BadAnswer(f"block {height} has {len(txs)} transactions but {len(outcomes)} results")
        return BlockData(
            time_ms=parse_time_ms(str(_object(block, "header").get("time"))),
            txs=txs,
            codes=[_int(outcome, "code") for outcome in outcomes],
            tx_events=[_events(outcome, "events") for outcome in outcomes],
            events=_events(results, "finalize_block_events"),
        )

    async def count_txs(self, from_height: int, to_height: int) -> dict[int, int]:
        """Return the number of transactions of each block of the range, at most 20 blocks from its end."""
        low = max(from_height, to_height - MAX_HEADERS + 1)
        result = await self.call("blockchain", minHeight=str(low), maxHeight=str(to_height))
        metas = _objects(result, "block_metas")
        return {_int(_object(meta, "header"), "height"): _int(meta, "num_txs") for meta in metas}

    async def get_app_hash(self, height: int) -> bytes:
        """Return the app hash in the header of `height`: that of the state after the block before it."""
        header = _object(await self.call("header", height=str(height)), "header")
        return decode.get_bytes(header, "app_hash")

    async def wait_for_news(self, timeout_s: float) -> None:
        """Return when a block may have been committed since the last call, or when the time is over."""
        if self._http.is_closed:
            raise ClientClosed
        await self._follower.wait(timeout_s)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._follower.aclose()
        await self._http.aclose()


async def fetch(http: httpx2.AsyncClient, method: str, url: str, timeout_s: float, **body: Any) -> bytes:
    """Make a request and return the answer's body, whole and in time whatever the other side does.

    httpx's own limits are per read and come after the body was kept: a byte a second, or an endless body, pass them.
    Raises TimeoutError, ConnectionError if there is no connection, BadAnswer for more than MAX_ANSWER_BYTES.
    """
    begin = asyncio.get_running_loop().time()
    content = bytearray()
    # A compressed body could grow past the limit in one step; none is asked for, and none is unpacked.
    headers = {"Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(timeout_s) as limit,
            http.stream(method, url, headers=headers, timeout=timeout_s, **body) as answer,
        ):
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise BadAnswer(f"the node's answer has more than {MAX_ANSWER_BYTES} bytes")
                limit.reschedule(begin + timeout_s + len(content) / SLOWEST_BYTES_PER_S)
    except httpx2.TimeoutException as error:
        raise TimeoutError(str(error)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ExceptionGroup) as error:
        # A group is what failed, for each address of a host, in a way that httpx does not know.
        raise ConnectionError(describe(error)) from error
    return bytes(content)


def split_address(node: str) -> tuple[str, str | None]:
    """Return the base URL and, for `unix:///PATH`, the socket's path. Raises ValueError with a reason."""
    if node.startswith("unix://"):
        path = node.removeprefix("unix://")
        if not path.startswith("/"):
            raise ValueError(f"{node} is not a node address: a socket is given as unix:///absolute/path")
        return "http://localhost", path
    if node.startswith("tcp://"):
        node = "http://" + node.removeprefix("tcp://")
    if not node.startswith(("http://", "https://")):
        raise ValueError(f"{node} is not a node address: write http://127.0.0.1:26657 or unix:///path/rpc.sock")
    _check_url(node)
    return node.rstrip("/"), None


def _check_url(node: str) -> None:
    """Raise ValueError unless the address has a host and a port that can exist."""
    try:
        url = httpx2.URL(node)
        port = urlsplit(node).port
    except (httpx2.InvalidURL, ValueError) as error:
        raise ValueError(f"{node!r} is not a node address: {error}") from None
    if not url.host or port == 0:
        raise ValueError(f"{node!r} is not a node address: it needs a host and a port from 1 to 65535")


def parse_time_ms(text: str) -> int:
    """Return ms since 1970 of CometBFT's RFC 3339 time, rounded down. Raises BadAnswer."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    try:
        seconds = (datetime.fromisoformat(whole).replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
        return seconds * 1000 + int(fraction.ljust(3, "0")[:3] if fraction else "0")
    except ValueError:
        raise BadAnswer(f"the node gave {text!r} as a time") from None


def _unwrap(method: str, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise BadAnswer(f"the node's answer to {method} is not JSON") from None
    if not isinstance(answer, dict):
        raise BadAnswer(f"the node's answer to {method} is not an object")
    error = answer.get("error")
    if isinstance(error, dict):
        raise RpcError(method, str(error.get("message")), str(error.get("data") or ""))
    return _object(answer, "result")


def _object(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise BadAnswer(f"the node's answer has no {name}")
    return value


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list, which is null where it is empty."""
    value = holder.get(name) or []
    if not isinstance(value, list):
        raise BadAnswer(f"the node's answer has no list of {name}")
    return value


def _objects(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return decode.get_list({name: _list(holder, name)}, name)


def _int(holder: Mapping[str, Any], name: str) -> int:
    """Return a whole number, which may be left out where it is 0."""
    return decode.get_int(holder, name) if holder.get(name) else 0


def _unbase64(value: object) -> bytes:
    try:
        return base64.b64decode(str(value or ""), validate=True)
    except ValueError:
        raise BadAnswer("the node's answer holds broken base64") from None


def _events(holder: Mapping[str, Any], name: str) -> list[Event]:
    return [
        Event(
            str(entry.get("type")),
            tuple((str(item.get("key")), str(item.get("value") or "")) for item in _objects(entry, "attributes")),
        )
        for entry in _objects(holder, name)
    ]
