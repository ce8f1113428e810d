"""Measure blocks on a large state: 5 000 changed records, from their new values to the finished Commit.

Prints JSON, times in microseconds of wall clock per changed key, each the median of some blocks:

- `tree_us_per_key_…`: the whole block: tree, then a Commit of records and pages together;
- `stage_us`: of that, the tree in memory with all hashes; `stage_cpu_us` and `block_cpu_us`: CPU time;
- `without_records_us`: the tree alone, the Commit writing its pages but no records;
- SHA-256 calls and pages written per changed key, and the size of the file;
- `tree_ratio_…`: the whole block against that of the first size, the median over the rounds.

All sizes are built first, each in a fresh folder; then one block of each is measured in turns, since these machines may
be half as fast a minute later. 10 million keys need about 6 GB of disk, 2 GB of memory and some minutes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
BLOCKS = 21
WARM_UP_BLOCKS = 40
"""So many until the store has made the room in its file that a store in use has, and writes into it."""
CHUNK = 100_000
RECORD_BYTES = 120
DEFAULT_KEYS = (1_000_000, 10_000_000)
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


@dataclass(frozen=True, slots=True)
class Built:
    """A state that is measured."""

    count: int
    """Keys."""
    store: LmdbStore
    random: Random

    def run_block(self, with_records: bool = True) -> Timing:
        """Stage and commit a block of random changes."""
        return run_block(self.store, self.make_changes(), with_records)

    def make_changes(self) -> dict[bytes, bytes]:
        """Return new values of random keys."""
        numbers = self.random.sample(range(self.count), CHANGES)
        return {make_key(number): self.random.randbytes(RECORD_BYTES) for number in numbers}


def run_rounds(states: Sequence[Built], with_records: bool = True) -> list[list[Timing]]:
    """Return the timings of each state's blocks, one block of each state in turns."""
    rounds = [[state.run_block(with_records) for state in states] for _ in range(BLOCKS)]
    return [list(timings) for timings in zip(*rounds, strict=True)]


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


def build_all(stack: ExitStack, folder: Path, counts: Sequence[int]) -> list[Built]:
    """Build a state of each size in a folder of its own."""
    states = []
    for count in counts:
        path = folder / str(count)
        started = time.perf_counter()
        store = LmdbStore(path)
        build(store, count)
        store = reopen(store, path)
        stack.callback(store.close)
        sys.stderr.write(f"tree of {count} keys: built in {time.perf_counter() - started:.0f} s\n")
        states.append(Built(count, store, Random(count)))
    return states


def describe(state: Built, whole: Sequence[Timing], alone: Sequence[Timing], folder: Path) -> dict[str, Any]:
    """Return the figures of one size."""
    changes = state.make_changes()
    hashes = count_hashes(lambda: run_block(state.store, changes))
    return {
        "block_us": compute_median(timing.block for timing in whole),
        "block_cpu_us": compute_median(timing.block_cpu for timing in whole),
        "stage_us": compute_median(timing.stage for timing in whole),
        "stage_cpu_us": compute_median(timing.stage_cpu for timing in whole),
        "without_records_us": compute_median(timing.block for timing in alone),
        "hashes": round(hashes / CHANGES, 2),
        "pages": compute_median(timing.pages for timing in whole),
        "file_mib": (folder / str(state.count) / "data.mdb").stat().st_size >> 20,
    }


def compute_median(values: Iterable[float]) -> float:
    """Return the median to two digits."""
    return round(median(values), 2)


def measure(folder: Path, counts: Sequence[int]) -> dict[str, Any]:
    """Build states of these sizes, measure blocks on all of them in turns, and compare each size with the first."""
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        states = build_all(stack, folder, counts)
        for _ in range(WARM_UP_BLOCKS):
            for state in states:
                state.run_block()
        whole, alone = run_rounds(states), run_rounds(states, with_records=False)
        for state, timings, others in zip(states, whole, alone, strict=True):
            details = describe(state, timings, others, folder)
            name = NAMES.get(state.count, str(state.count))
            results[f"tree_us_per_key_{name}"] = details["block_us"]
            results[f"tree_{name}"] = details
            if state is not states[0]:
                ratios = (one.block / first.block for one, first in zip(timings, whole[0], strict=True))
                results[f"tree_ratio_{name}_{NAMES.get(counts[0], str(counts[0]))}"] = compute_median(ratios)
    return results


def main() -> int:
    """Measure the sizes asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, action="append", help="size of the state, repeatable (1 and 10 million)")
    parser.add_argument("--folder", type=Path, help="where to build (the system's temporary folder)")
    args = parser.parse_args()
    counts = args.keys or DEFAULT_KEYS
    if min(counts) < CHANGES:
        parser.error(f"--keys must be at least {CHANGES}, the changes of one block")
    with TemporaryDirectory(dir=args.folder) as folder:
        results = measure(Path(folder), counts)
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
