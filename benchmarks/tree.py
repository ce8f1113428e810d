"""Measure blocks on a large state: 5 000 changed records, from their new values to the finished Commit.

Prints JSON. Per size: the median block in microseconds per changed key (wall clock), its CPU part, the slowest block,
SHA-256 calls and tree pages written per changed key, and the size of the file. Each size is built in a fresh folder;
10 million keys need about 5 GB of disk, 2 GB of memory and some minutes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from abci_app.protocol import tree, tree_page
from abci_app.protocol.tree import update_state
from abci_app.store.interface import Meta, StagedBlock, Writes, stage
from abci_app.store.lmdb_store import LmdbStore

CHANGES = 5_000
BLOCKS = 15
WARM_UP_BLOCKS = 5
CHUNK = 100_000
RECORD_BYTES = 120
NAMES = {10_000: "10k", 1_000_000: "1m", 10_000_000: "10m"}


def make_key(number: int) -> bytes:
    """Return a state key as long as an account's."""
    return b"a%020d" % number


def split(count: int) -> Iterator[range]:
    """Yield 0 … count-1 in chunks."""
    for start in range(0, count, CHUNK):
        yield range(start, min(start + CHUNK, count))


def build(store: LmdbStore, count: int) -> None:
    """Fill a store with `count` records. Records are written in the order of their keys and the tree in the order of
    its paths, so that the file is as compact as it can be and building takes minutes, not hours."""
    value = bytes(RECORD_BYTES)
    for chunk in split(count):
        write(store, {make_key(number): value for number in chunk}, {}, b"")
    paths = sorted(sha256(make_key(number)).digest()[:8] + number.to_bytes(8, "big") for number in range(count))
    for chunk in split(count):
        numbers = (int.from_bytes(paths[at][8:], "big") for at in chunk)
        with store.pages() as pages:
            update = update_state(pages, {make_key(number): value for number in numbers})
        write(store, {}, update.page_writes, update.app_hash)


def write(store: LmdbStore, records: Writes, pages: Writes, app_hash: bytes) -> None:
    """Commit part of the state."""
    height = store.meta.height + 1
    store.commit(StagedBlock(height - 1, Meta("bench", b"", height, app_hash, height), records, {}, pages))


def run_block(store: LmdbStore, changes: Writes) -> StagedBlock:
    """Stage and commit one block."""
    height = store.meta.height + 1
    block = stage(store, changes, {}, height=height, time_ms=height, chain_id="bench", chain_tag=b"")
    store.commit(block)
    return block


def count_hashes(work: Callable[[], object]) -> int:
    """Return how often `work` calls SHA-256 in the tree."""
    calls = 0

    def counted(data: bytes) -> object:
        nonlocal calls
        calls += 1
        return sha256(data)

    for module in (tree, tree_page):
        vars(module)["sha256"] = counted
    work()
    for module in (tree, tree_page):
        vars(module)["sha256"] = sha256
    return calls


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Build a state of `count` keys and measure blocks on it."""
    random = Random(count)
    store = LmdbStore(folder)
    started = time.perf_counter()
    build(store, count)
    sys.stderr.write(f"{count} keys built in {time.perf_counter() - started:.0f} s\n")
    wall, cpu, written = [], [], 0
    for number in range(WARM_UP_BLOCKS + BLOCKS):
        changes = {make_key(n): random.randbytes(RECORD_BYTES) for n in random.sample(range(count), CHANGES)}
        begin, begin_cpu = time.perf_counter(), time.process_time()
        block = run_block(store, changes)
        if number >= WARM_UP_BLOCKS:
            wall.append((time.perf_counter() - begin) / CHANGES * 1e6)
            cpu.append((time.process_time() - begin_cpu) / CHANGES * 1e6)
            written += len(block.pages)
    hashes = count_hashes(lambda: run_block(store, changes))
    store.close()
    return {
        "us_per_key": round(median(wall), 1),
        "cpu_us_per_key": round(median(cpu), 1),
        "slowest_us_per_key": round(max(wall), 1),
        "hashes_per_key": round(hashes / CHANGES, 1),
        "pages_per_key": round(written / BLOCKS / CHANGES, 2),
        "file_mib": (folder / "data.mdb").stat().st_size >> 20,
    }


def main() -> int:
    """Measure the sizes asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, action="append", help="size of the state, repeatable (1 and 10 million)")
    parser.add_argument("--folder", type=Path, help="where to build (the system's temporary folder)")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for count in args.keys or (1_000_000, 10_000_000):
        if count < CHANGES:
            parser.error(f"--keys must be at least {CHANGES}, the changes of one block")
        with TemporaryDirectory(dir=args.folder) as folder:
            details = measure(Path(folder), count)
        name = NAMES.get(count, str(count))
        results[f"tree_us_per_key_{name}"] = details["us_per_key"]
        results[f"tree_{name}"] = details
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
