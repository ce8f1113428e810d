"""FinalizeBlock with ten due jobs among few and many open ones, and the memory of an application with many of both.

Run as a module it measures one size in a process of its own and prints JSON.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.accounts import edit_standing
from abci_app.protocol.block import Block, process_block
from abci_app.protocol.credits import escrow
from abci_app.protocol.genesis import build_genesis_state, compute_genesis_tag
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from abci_app.protocol.state import BlockState, StateDelta
from abci_app.protocol.transaction import TxCache
from abci_app.server.application import ChainApplication
from abci_app.store.interface import stage
from abci_app.store.lmdb_store import LmdbStore
from learningchain.wallet import SecretKey

ACCOUNTS: Final = 100_000
DUE: Final = 10
BLOCKS: Final = 30
WARM_UP: Final = 5
START_MS: Final = 1_767_225_600_000
BLOCK_MS: Final = 1_000
MEMPOOL: Final = 20_000
CHAIN_ID: Final = "bench"
IMAGE: Final = "registry.example/job@sha256:" + "0123456789abcdef" * 4
_REPEATS: Final = 3


def measure_sizes() -> dict[str, Any]:
    """Measure 1 000 and 100 000 open jobs in turn, each in processes of its own; return ratio and memory."""
    runs: dict[int, list[dict[str, float]]] = {1_000: [], 100_000: []}
    for _ in range(_REPEATS):
        for jobs, results in runs.items():
            done = subprocess.run(
                [sys.executable, "-m", "tools.bench.deadlines", str(jobs)], capture_output=True, text=True, check=True
            )
            results.append(json.loads(done.stdout))
            sys.stderr.write(f"{jobs} open jobs: {results[-1]}\n")
    ratios = [many["ms"] / few["ms"] for few, many in zip(runs[1_000], runs[100_000], strict=True)]
    return {
        "finalize_ratio_100k_1k": round(statistics.median(ratios), 2),
        "app_rss_mib": round(max(run["rss_mib"] for run in runs[100_000]), 1),
    }


def build_state(store: LmdbStore, jobs: int) -> bytes:
    """Commit a chain with `ACCOUNTS` accounts and `jobs` open jobs, ten of which end in each block; return its tag."""
    operator, contractor = SecretKey(b"o" * 32), SecretKey(b"c" * 32)
    accounts = [
        pb.GenesisAccount(public_key=operator.public_key, bond=1_000 * UCREDIT, checker=1),
        pb.GenesisAccount(public_key=contractor.public_key, balance=10**9 * UCREDIT),
    ]
    accounts += [
        pb.GenesisAccount(public_key=hashlib.sha256(b"account %d" % i).digest(), balance=UCREDIT)
        for i in range(ACCOUNTS - 2)
    ]
    validator = pb.GenesisValidator(consensus_key=b"v" * 32, operator=operator.address, power=1_000)
    genesis = pb.Genesis(params=get_params("bench"), accounts=accounts, validators=[validator])
    tag = compute_genesis_tag(CHAIN_ID, genesis)
    state = build_genesis_state(genesis, START_MS)
    delta = StateDelta(state)
    for number in range(1, jobs + 1):
        _add_job(delta, number, contractor.address)
    edit_standing(delta, contractor.address).open_jobs = jobs
    delta.edit(keys.COUNTERS, pb.Counters).next_job_id = jobs + 1
    delta.apply()
    store.commit(
        stage(
            store, state.get_changed_records(), state.get_changed_index(),
            height=1, time_ms=START_MS, chain_id=CHAIN_ID, chain_tag=tag,
        )
    )  # fmt: skip
    return tag


def _add_job(delta: StateDelta, number: int, contractor: bytes) -> None:
    terms = tx_pb2.SubmitJob(image=IMAGE, title="bench", bounty=UCREDIT, verify_fee=UCREDIT // 10, free_places=1)
    job = delta.edit(keys.job(number), pb.Job)
    job.id = number
    job.contractor = contractor
    job.terms.CopyFrom(terms)
    job.state = pb.JOB_STATE_OPEN
    job.bounty = terms.bounty
    job.deadline_ms = START_MS + BLOCK_MS * (1 + (number - 1) // DUE)
    escrow(delta, contractor, job, terms.bounty + terms.verify_fee)


def run_block(store: LmdbStore, tag: bytes, cache: TxCache) -> float:
    """Run and commit the next block; return the seconds of FinalizeBlock, without Commit."""
    meta = store.meta
    block = Block(meta.height + 1, meta.time_ms + BLOCK_MS, b"h" * 32, b"", (), meta.time_ms)
    begin = time.perf_counter()
    state = BlockState(store)
    result = process_block(state, tag, block, cache)
    staged = stage(
        store, state.get_changed_records(), state.get_changed_index(),
        height=block.height, time_ms=block.time_ms, chain_id=CHAIN_ID, chain_tag=tag,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    if sum(event.type == "job.settled" for event in result.events) != DUE:
        raise RuntimeError("the block did not settle ten jobs")
    store.commit(staged)
    return seconds


def get_anonymous_mib() -> float:
    """Return the private memory of this process: mapped database pages do not count."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def prepare(folder: Path, jobs: int) -> None:
    """Build the state in a process of its own, so that its memory is not counted."""
    store = LmdbStore(folder)
    build_state(store, jobs)
    store.close()


def measure(folder: Path) -> dict[str, float]:
    """Open the state with the application and run blocks on it."""
    store = LmdbStore(folder)
    application = ChainApplication(store, MEMPOOL)
    cache = TxCache()
    seconds = [run_block(store, store.meta.chain_tag, cache) for _ in range(BLOCKS)][WARM_UP:]
    result = {"ms": 1000 * statistics.median(seconds), "rss_mib": get_anonymous_mib()}
    del application
    store.close()
    return result


def main() -> None:
    """JOBS: measure one size. JOBS FOLDER: only build it."""
    jobs = int(sys.argv[1])
    if len(sys.argv) > 2:
        prepare(Path(sys.argv[2]), jobs)
        return
    with tempfile.TemporaryDirectory(prefix="lc-bench-") as folder:
        subprocess.run([sys.executable, "-m", "tools.bench.deadlines", str(jobs), folder], check=True)
        sys.stdout.write(json.dumps(measure(Path(folder))))


if __name__ == "__main__":
    main()
