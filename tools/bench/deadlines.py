"""FinalizeBlock with ten due jobs among few and many open ones.

Run as a module it measures one size in a process of its own and prints the milliseconds.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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
from abci_app.store.interface import stage
from abci_app.store.lmdb_store import LmdbStore
from learningchain.wallet import SecretKey

ACCOUNTS: Final = 100_000
DUE: Final = 10
BLOCKS: Final = 30
WARM_UP: Final = 5
START_MS: Final = 1_767_225_600_000
BLOCK_MS: Final = 1_000
CHAIN_ID: Final = "bench"
IMAGE: Final = "registry.example/job@sha256:" + "0123456789abcdef" * 4
_REPEATS: Final = 3


def measure_sizes() -> dict[str, float]:
    """Measure 1 000 and 100 000 open jobs in turn, each in a process of its own; return times and their ratio."""
    runs: dict[int, list[float]] = {1_000: [], 100_000: []}
    for _ in range(_REPEATS):
        for jobs, results in runs.items():
            done = subprocess.run(
                [sys.executable, "-m", "tools.bench.deadlines", str(jobs)], stdout=subprocess.PIPE, check=True
            )
            results.append(json.loads(done.stdout))
            sys.stderr.write(f"FinalizeBlock with {DUE} of {jobs} open jobs due: {results[-1]:.2f} ms\n")
    ratios = [many / few for few, many in zip(runs[1_000], runs[100_000], strict=True)]
    return {
        "finalize_ratio_100k_1k": round(statistics.median(ratios), 2),
        "finalize_ms_1k": round(statistics.median(runs[1_000]), 2),
        "finalize_ms_100k": round(statistics.median(runs[100_000]), 2),
    }


def build_state(store: LmdbStore, jobs: int, senders: Sequence[bytes] = ()) -> bytes:
    """Commit a chain with `ACCOUNTS` accounts, those of the public keys `senders` among them, and `jobs` open jobs,
    ten of which end in each block; return its tag."""
    operator, contractor = SecretKey(b"o" * 32), SecretKey(b"c" * 32)
    accounts = [
        pb.GenesisAccount(public_key=operator.public_key, bond=1_000 * UCREDIT, checker=1),
        pb.GenesisAccount(public_key=contractor.public_key, balance=10**9 * UCREDIT),
    ]
    others = [hashlib.sha256(b"account %d" % i).digest() for i in range(ACCOUNTS - len(senders) - 2)]
    accounts += [pb.GenesisAccount(public_key=key, balance=10 * UCREDIT) for key in (*senders, *others)]
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


def measure(folder: Path, jobs: int) -> float:
    """Build a state and run blocks on it; return the median of FinalizeBlock in milliseconds."""
    store = LmdbStore(folder)
    tag = build_state(store, jobs)
    cache = TxCache()
    seconds = [run_block(store, tag, cache) for _ in range(BLOCKS)][WARM_UP:]
    store.close()
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Measure the size given as the argument."""
    with tempfile.TemporaryDirectory(prefix="lc-bench-") as folder:
        sys.stdout.write(json.dumps(measure(Path(folder), int(sys.argv[1]))))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
