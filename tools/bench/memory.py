"""The memory of an application that serves: many accounts and jobs, a full mempool, full blocks.

The state is built by one process and served by another, `python -m abci_app` as a validator starts it, which is then
driven over its socket as CometBFT drives it.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.frames import FrameReader, encode_frame
from abci_app.store.lmdb_store import LmdbStore
from learningchain.processes import start_process, stop_process
from tools.bench.deadlines import ACCOUNTS, BLOCK_MS, START_MS, build_state
from tools.bench.load import LoadError
from tools.bench.transactions import iterate_transfers, make_senders

JOBS: Final = 100_000
MEMPOOL: Final = 20_000
"""Waiting transactions, each of another account."""
BLOCK_BYTES: Final = 1_000_000
BLOCKS: Final = 16
"""Enough for the memory of parsed transactions to be full and for nothing to grow any more."""
READY_SECONDS: Final = 60.0


class Driver:
    """CometBFT's part of the socket protocol: requests in order, answers in order."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connection."""
        self._socket = connection
        self._reader = FrameReader()
        self._answers: deque[bytes] = deque()

    def call(self, name: str, requests: Sequence[Any]) -> list[Any]:
        """Return the responses to requests of one kind. Raises LoadError if the application stops answering."""
        return [self._call(name, request) for request in requests]

    def _call(self, name: str, request: Any) -> Any:
        self._socket.sendall(encode_frame(abci.Request(**{name: request}).SerializeToString()))
        while not self._answers:
            data = self._socket.recv(1 << 20)
            if not data:
                raise LoadError("the application went away: see its log")
            self._answers.extend(self._reader.feed(data))
        response = abci.Response.FromString(self._answers.popleft())
        if response.WhichOneof("value") != name:
            raise LoadError(f"{name} was answered with {response}")
        return getattr(response, name)


def measure_memory() -> dict[str, float]:
    """Return the largest RssAnon in MiB that was seen after any step."""
    sys.stderr.write(f"memory with {ACCOUNTS} accounts, {JOBS} jobs and {MEMPOOL} waiting transactions …\n")
    with tempfile.TemporaryDirectory(prefix="lc-bench-") as folder:
        home = Path(folder)
        senders = make_senders(MEMPOOL)
        store = LmdbStore(home / "state")
        tag = build_state(store, JOBS, [key.public_key for key in senders])
        store.close()
        with _serving(home) as (driver, pid):
            return {"app_rss_mib": round(max(_drive(driver, pid, iterate_transfers(senders, tag))), 1)}


def _drive(driver: Driver, pid: int, transfers: Iterator[bytes]) -> Iterator[float]:
    """Fill the mempool, then make blocks that are filled up again, yielding the memory after each step."""
    [info] = driver.call("info", [abci.RequestInfo()])
    waiting = list(islice(transfers, MEMPOOL))
    yield _get_anonymous_mib(pid)
    _check(driver, waiting, abci.NEW)
    yield _get_anonymous_mib(pid)
    for number in range(BLOCKS):
        request = abci.RequestPrepareProposal(
            txs=waiting, max_tx_bytes=BLOCK_BYTES, height=info.last_block_height + 1 + number
        )
        request.time.FromMilliseconds(START_MS + (number + 1) * BLOCK_MS)
        [proposal] = driver.call("prepare_proposal", [request])
        _make_block(driver, request, proposal.txs)
        yield _get_anonymous_mib(pid)
        chosen = set(proposal.txs)
        waiting = [tx for tx in waiting if tx not in chosen]
        _check(driver, waiting, abci.RECHECK)
        new = list(islice(transfers, len(chosen)))
        _check(driver, new, abci.NEW)
        waiting += new
        yield _get_anonymous_mib(pid)


def _make_block(driver: Driver, proposal: abci.RequestPrepareProposal, txs: Sequence[bytes]) -> None:
    process = abci.RequestProcessProposal(height=proposal.height, time=proposal.time, txs=txs)
    [verdict] = driver.call("process_proposal", [process])
    finalize = abci.RequestFinalizeBlock(height=proposal.height, time=proposal.time, txs=txs, hash=b"h" * 32)
    [result] = driver.call("finalize_block", [finalize])
    if verdict.status != abci.ResponseProcessProposal.ACCEPT or any(entry.code for entry in result.tx_results):
        raise LoadError(f"block {proposal.height} was refused or a transfer in it failed")
    driver.call("commit", [abci.RequestCommit()])


def _check(driver: Driver, txs: Sequence[bytes], kind: abci.CheckTxType) -> None:
    for answer in driver.call("check_tx", [abci.RequestCheckTx(tx=tx, type=kind) for tx in txs]):
        if answer.code:
            raise LoadError(f"a transfer was refused: {answer.log}")


@contextmanager
def _serving(home: Path) -> Iterator[tuple[Driver, int]]:
    address = home / "abci.sock"
    command = [sys.executable, "-m", "abci_app", "--home", str(home), "--address", f"unix://{address}"]
    app = start_process(command, home / "log")
    try:
        with _connect(app, address) as connection:
            yield Driver(connection), app.pid
    finally:
        stop_process(app)


def _connect(app: subprocess.Popen[bytes], address: Path) -> socket.socket:
    end = time.monotonic() + READY_SECONDS
    while app.poll() is None and time.monotonic() < end:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(address))
        except OSError:
            connection.close()
            time.sleep(0.1)
        else:
            return connection
    raise LoadError(f"the application does not serve: {(address.parent / 'log').read_text()}")


def _get_anonymous_mib(pid: int) -> float:
    """Return the private memory of a process: mapped database pages do not count."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024
