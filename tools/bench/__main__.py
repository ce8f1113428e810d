"""`make bench`: measure everything, print it as JSON and write build/bench.json."""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, Final

from learningchain.node_home import NodeError
from tools.bench.deadlines import measure_sizes
from tools.bench.load import LoadError
from tools.bench.memory import measure_memory
from tools.bench.throughput import ROUNDS, measure_throughput

OUT: Final = Path("build/bench.json")
INTERRUPTED: Final = 130


def measure_all(rounds: int, tree_keys: list[int]) -> dict[str, Any]:
    """Return all figures. Raises LoadError, NodeError, OSError or CalledProcessError."""
    series, size = measure_throughput(rounds)
    finalize = measure_sizes()
    memory = measure_memory()
    tree = measure_tree(tree_keys)
    return {
        "socket_tps": round(series["socket"].rate),
        "grpc_tps": round(series["grpc"].rate),
        "kvstore_tps": round(series["kvstore"].rate),
        "signature_tps": round(series["signature"].rate),
        "socket_of_kvstore": round(series["socket"].compute_ratio(series["kvstore"]), 3),
        "socket_of_signature": round(series["socket"].compute_ratio(series["signature"]), 3),
        "signature_of_kvstore": round(series["signature"].compute_ratio(series["kvstore"]), 3),
        "socket_of_grpc": round(series["socket"].compute_ratio(series["grpc"]), 3),
        "verifies_per_tx": round(max(series["socket"].checks + series["grpc"].checks), 4),
        "cpu_us_per_tx": round(statistics.median(series["socket"].cpu_us), 1),
        **finalize,
        **memory,
        **tree,
        "tx_bytes": size,
        "full_blocks": {kind: round(min(found.full_shares), 2) for kind, found in series.items()},
        "rounds": {kind: [round(rate) for rate in found.rates] for kind, found in series.items()},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
    }


def measure_tree(key_counts: list[int]) -> dict[str, Any]:
    """Measure the state tree in a process of its own, since it takes much memory."""
    command = [sys.executable, "-m", "tools.bench.tree", *(f"--keys={count}" for count in key_counts)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main() -> int:
    """Measure and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each kind of node")
    parser.add_argument("--tree-keys", type=int, nargs="+", default=[1_000_000, 10_000_000], help="sizes of the tree")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # All temporary folders, those of child processes too, lie in this one: it goes even if a child was killed.
        with tempfile.TemporaryDirectory(prefix="lc-bench-") as folder:
            tempfile.tempdir = os.environ["TMPDIR"] = folder
            results = measure_all(options.rounds, options.tree_keys)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: everything that was started has been stopped, nothing was written\n")
        return INTERRUPTED
    except (LoadError, NodeError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"\nthe benchmark failed, nothing was written: {error}\n")
        return 1
    text = json.dumps(results, indent=2) + "\n"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
