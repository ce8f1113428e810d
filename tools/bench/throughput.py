"""Committed transactions per second: four kinds of node under the same load, in interleaved rounds."""

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from abci_app.protocol.genesis import compute_genesis_tag
from learningchain.node_home import NodeHome, find_cometbft, get_identity
from tools.bench.load import LoadError, Offer, compute_full_share, compute_rate
from tools.bench.nodes import CHAIN_ID, KINDS, prepare_home, running_node, write_chain
from tools.bench.transactions import Load, make_genesis, make_kvstore_load, make_operator, make_senders, sign_transfers

ROUNDS: Final = 3
EACH: Final = {"socket": 8, "signature": 12, "grpc": 4, "kvstore": 12}
"""Transfers of each sender in a round: about ten seconds of each kind."""
MIN_FULL_SHARE: Final = 0.8
"""Of the kvstore's blocks: with fewer full ones the makers of the load were what limited it, and ratios flatter us."""


@dataclass(slots=True)
class Series:
    """The rounds of one kind of node."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    full_shares: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median of the rounds, in transactions per second."""
        return statistics.median(self.rates)

    def compute_ratio(self, other: "Series") -> float:
        """Return the median over the rounds of this rate by that of the other kind, measured right after it."""
        return statistics.median(own / theirs for own, theirs in zip(self.rates, other.rates, strict=True))


def measure_throughput(rounds: int = ROUNDS) -> tuple[dict[str, Series], int]:
    """Return the series by kind, and the size of a transaction in bytes."""
    with tempfile.TemporaryDirectory(prefix="lc-bench-") as folder:
        root = Path(folder)
        template = prepare_home(root / "t")
        senders = make_senders()
        genesis = make_genesis(senders, make_operator(), get_identity(template, find_cometbft()).consensus_key)
        write_chain(template, genesis)
        _say(f"signing {max(EACH.values()) * len(senders)} transfers …")
        load = sign_transfers(senders, compute_genesis_tag(CHAIN_ID, genesis), max(EACH.values()))
        loads = dict.fromkeys(KINDS, load) | {"kvstore": make_kvstore_load(load)}
        series = {kind: Series() for kind in KINDS}
        for number in range(rounds):
            for kind in KINDS:
                txs = loads[kind].txs[: EACH[kind] * len(senders)]
                _run_round(kind, Load(txs), template.root, root / f"{kind}{number}", series[kind])
                _say(f"round {number + 1} of {rounds}, {kind}: {series[kind].rates[-1]:.0f} transactions/s")
    return series, load.size


def _run_round(kind: str, load: Load, template: Path, folder: Path, series: Series) -> None:
    with running_node(kind, NodeHome(template), folder) as node:
        offer = Offer(node.rpc_port, load.txs)
        before = node.get_cpu_seconds()
        blocks = offer.run()
        cpu = node.get_cpu_seconds() - before
    series.rates.append(compute_rate(blocks))
    series.full_shares.append(compute_full_share(blocks))
    if kind == "kvstore" and series.full_shares[-1] < MIN_FULL_SHARE:
        raise LoadError("the kvstore committed faster than transactions were offered: the machine is too busy")
    if node.app is not None:
        series.cpu_us.append(1e6 * cpu / len(load.txs))
        counts = json.loads(node.counter.read_text(encoding="utf-8"))
        if counts["succeeded"] != len(load.txs):
            raise LoadError(f"of {len(load.txs)} committed transfers {counts['failed']} failed")
        series.checks.append(counts["checks"] / len(load.txs))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
