"""A chain's life with something of everything, told as digests: the same in every process on every machine."""

import hashlib
import sys
from collections.abc import Iterator

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.block import BlockResult
from abci_app.protocol.limits import UCREDIT
from tests.support.market import Market, measured
from tests.support.wallets import Wallet


def tell() -> Iterator[str]:
    """Yield one digest per stage, over all records, the index and the last block's result."""
    market = Market()
    yield summarize(market)
    market.register("dave")
    second = Wallet("second", owner=market.address("carl"))
    proof = second.prove_for(market.tag, second.address)
    market.must("carl", tx_pb2.SetKey(public_key=second.public_key, proof=proof, scope=tx_pb2.KEY_SCOPE_WORK))
    market.must(second, tx_pb2.SetProfile(name="Ćarl ⌊x⌋", endpoint="https://carl.example"))
    yield summarize(market)
    market.must("carl", tx_pb2.Bond(amount=5 * UCREDIT))
    market.must("carl", tx_pb2.Unbond(amount=2 * UCREDIT))
    market.must("checker0", tx_pb2.SetChecker(enabled=True, highest_class=0))
    market.block([b"junk", market.sign("nobody", tx_pb2.Unjail(), nonce=1)], missed=["val0"])
    yield summarize(market)
    good = market.open_vote(deposit=2 * UCREDIT)
    market.decide_all(good, measured(-5))
    yield summarize(market)
    lie = market.open_vote("worker1", loss=-(10**6), runner_ups=1)
    market.decide_all(lie, measured(10**9))
    yield summarize(market)
    market.block(misbehavior=[(1, "val0")])
    market.block(dt_ms=10 * market.params.outage_ms)
    market.skip(2 * market.params.job_retention_ms)
    yield summarize(market)


def summarize(market: Market) -> str:
    """Return a digest of the committed state and the last result."""
    index = sorted(market.committed.index.items())
    return hashlib.sha256(repr((market.hash(), index, spell(market.last))).encode("utf-8")).hexdigest()


def spell(result: BlockResult) -> tuple[object, ...]:
    """Return a block's result in plain values."""
    return ([tuple(r) for r in result.tx_results], list(result.events), list(result.validator_updates))


if __name__ == "__main__":
    sys.stdout.write("\n".join(tell()))
