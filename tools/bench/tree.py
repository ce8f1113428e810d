"""Measure blocks on a large state: 5 000 changed records, from their new values to the finished Commit.

Prints JSON, times in microseconds of wall clock per changed key, each the median of some blocks:

- `tree_us_per_key_…`: the whole block: tree, then a Commit of records and pages together;
- `stage_us`: of that, the tree in memory with all hashes; `stage_cpu_us` and `block_cpu_us`: CPU time;
- `without_records_us`: the tree alone, the Commit writing its pages but no records;
- SHA-256 calls and pages written per changed key, and the size of the file.

Each size is built in a fresh folder; 10 million keys need about 5 GB of disk, 2 GB of memory and some minutes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from abci_app.protocol import tree, tree_page
from abci_app.store.interface import Writes, stage
from abci_app.store.lmdb_store import LmdbStore

CHANGES = 5_000
BLOCKS = 11
WARM_UP_BLOCKS = 4
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
    """Fill a store with `count` records in the order of their paths, so that the file is as compact as it can be and
    building takes minutes, not hours."""
    value = bytes(RECORD_BYTES)
    paths = sorted(sha256(make_key(number)).digest()[:8] + number.to_bytes(8, "big") for number in range(count))
    for chunk in split(count):
        if chunk.start % (10 * CHUNK) == 0:
            sys.stderr.write(f"tree of {count} keys: {chunk.start} built …\n")
        numbers = (int.from_bytes(paths[at][8:], "big") for at in chunk)
        height = store.meta.height + 1
        records = {make_key(number): value for number in numbers}
        store.commit(stage(store, records, {}, height=height, time_ms=height, chain_id="bench", chain_tag=b""))


def reopen(store: LmdbStore, folder: Path) -> LmdbStore:
    """Open a store again and touch the whole file once, as a node that has run for a while has.

    What is cached of a file that was written in long runs is kept in large pieces, in which the kernel finds a page
    more slowly than in what a node caches. So all of it is dropped first.
    """
    store.close()
    file = os.open(folder / "data.mdb", os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    store = LmdbStore(folder)
    for _ in store.records():
        pass
    return store


@dataclass(frozen=True, slots=True)
class Timing:
    """One block, in microseconds per changed key."""

    stage: float
    stage_cpu: float
    block: float
    block_cpu: float
    pages: float
    """Written, per changed key."""


def run_block(store: LmdbStore, changes: Writes, with_records: bool = True) -> Timing:
    """Stage and commit one block."""
    height = store.meta.height + 1
    clocks = [(time.perf_counter(), time.process_time())]
    block = stage(store, changes, {}, height=height, time_ms=height, chain_id="bench", chain_tag=b"")
    clocks.append((time.perf_counter(), time.process_time()))
    store.commit(block if with_records else replace(block, records={}))
    clocks.append((time.perf_counter(), time.process_time()))
    (start, start_cpu), (staged, staged_cpu), (end, end_cpu) = ((w * 1e6, c * 1e6) for w, c in clocks)
    times = (staged - start, staged_cpu - start_cpu, end - start, end_cpu - start_cpu, len(block.pages))
    return Timing(*(value / len(changes) for value in times))


def run_blocks(store: LmdbStore, count: int, random: Random, with_records: bool = True) -> dict[str, float]:
    """Return the medians of some blocks of random changes, after some that are not counted."""
    timings = []
    for number in range(WARM_UP_BLOCKS + BLOCKS):
        changes = {make_key(n): random.randbytes(RECORD_BYTES) for n in random.sample(range(count), CHANGES)}
        timing = run_block(store, changes, with_records)
        if number >= WARM_UP_BLOCKS:
            timings.append(asdict(timing))
    return {name: round(median(timing[name] for timing in timings), 2) for name in timings[0]}


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
    store = reopen(store, folder)
    sys.stderr.write(f"tree of {count} keys: built in {time.perf_counter() - started:.0f} s\n")
    blocks = run_blocks(store, count, random)
    alone = run_blocks(store, count, random, with_records=False)
    changes = {make_key(n): random.randbytes(RECORD_BYTES) for n in random.sample(range(count), CHANGES)}
    hashes = count_hashes(lambda: run_block(store, changes))
    store.close()
    return {
        "block_us": blocks["block"],
        "block_cpu_us": blocks["block_cpu"],
        "stage_us": blocks["stage"],
        "stage_cpu_us": blocks["stage_cpu"],
        "without_records_us": alone["block"],
        "hashes": round(hashes / CHANGES, 2),
        "pages": blocks["pages"],
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
        results[f"tree_us_per_key_{name}"] = details["block_us"]
        results[f"tree_{name}"] = details
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
