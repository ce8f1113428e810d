"""`make bench`: measure everything and write build/bench.json."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.bench.deadlines import measure_sizes
from tools.bench.throughput import ROUNDS, measure_throughput

OUT = Path("build/bench.json")


def measure_all(rounds: int, tree_keys: list[int]) -> dict[str, Any]:
    """Return all figures."""
    series, size = measure_throughput(rounds)
    tree = subprocess.run(
        [sys.executable, "-m", "tools.bench.tree", *(f"--keys={count}" for count in tree_keys)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return {
        "socket_tps": round(series["socket"].rate),
        "grpc_tps": round(series["grpc"].rate),
        "kvstore_tps": round(series["kvstore"].rate),
        "socket_of_kvstore": round(series["socket"].compute_ratio(series["kvstore"]), 3),
        "socket_of_grpc": round(series["socket"].compute_ratio(series["grpc"]), 3),
        "verifies_per_tx": round(max(series["socket"].checks + series["grpc"].checks), 4),
        "cpu_us_per_tx": round(statistics.median(series["socket"].cpu_us), 1),
        "tx_bytes": size,
        "full_blocks": {kind: round(min(found.full_shares), 2) for kind, found in series.items()},
        "rounds": {kind: [round(rate) for rate in found.rates] for kind, found in series.items()},
        **measure_sizes(),
        **json.loads(tree.stdout),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each kind of node")
    parser.add_argument("--tree-keys", type=int, nargs="*", default=[1_000_000, 10_000_000], help="sizes of the tree")
    options = parser.parse_args()
    results = measure_all(options.rounds, options.tree_keys)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
