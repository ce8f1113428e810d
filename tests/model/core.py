"""The real core behind the comparison's interface: blocks on committed state in dictionaries, audited every time."""

from collections.abc import Iterator, Sequence

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.audit import audit
from abci_app.protocol.block import Block, Misbehavior, get_params, process_block
from abci_app.protocol.context import BlockContext
from abci_app.protocol.errors import REASONS
from abci_app.protocol.genesis import build_genesis_state, check_genesis, compute_genesis_tag
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.proposal import find_fault, prepare_proposal
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache
from tests.model.compare import (
    Facts,
    describe_account_record,
    describe_job_record,
    describe_round_record,
)
from tests.support.chain import DictState

DUPLICATE_VOTE = 1
"""ABCI's MisbehaviorType of a double vote."""
ROOM = 2_000
"""Bytes for transactions in a proposal: not for all that are offered."""


class RealCore:
    """The chain as a validator computes it."""

    def __init__(self, genesis: pb.Genesis, time_ms: int) -> None:
        check_genesis(genesis)
        self.chain_tag = compute_genesis_tag("twin-chain", genesis)
        self.committed = DictState()
        self.committed.commit(build_genesis_state(genesis, time_ms))
        self.previous_ms = 0
        self.cache = TxCache()

    def run_block(
        self, height: int, time_ms: int, block_hash: bytes, proposer: bytes | None, evidence: Sequence[bytes],
        missed: Sequence[bytes], txs: Sequence[bytes],
    ) -> list[str]:  # fmt: skip
        """Compute, commit and audit a block; everybody in the set but `missed` has signed the last one."""
        self.propose(height, time_ms, txs)
        validators = {v.operator: compute_consensus_address(key) for key, v in self.validators()}
        signed = [compute_consensus_address(key) for key, v in self.validators() if v.power and key not in missed]
        block = Block(
            height=height,
            time_ms=time_ms,
            block_hash=block_hash,
            proposer_address=validators[proposer] if proposer else bytes(20),
            txs=txs,
            previous_time_ms=self.previous_ms,
            misbehavior=[Misbehavior(DUPLICATE_VOTE, validators[account], height - 1) for account in evidence],
            signed=signed if height > 1 else [],
            missed=[compute_consensus_address(key) for key in missed] if height > 1 else [],
        )
        state = BlockState(self.committed)
        result = process_block(state, self.chain_tag, block, self.cache)
        self.committed.commit(state)
        self.previous_ms = time_ms
        audit(self.committed.records.items(), self.committed.index.items())
        return [REASONS[r.code].name if r.code else "" for r in result.tx_results]

    def propose(self, height: int, time_ms: int, txs: Sequence[bytes]) -> None:
        """Let a proposer whose mempool holds these transactions, all of them twice, make a proposal; others take it."""
        context = BlockContext(self.chain_tag, get_params(BlockState(self.committed)), height, time_ms)
        chosen = prepare_proposal(BlockState(self.committed), context, self.cache, [*txs, *txs], ROOM)
        assert find_fault(context, self.cache, chosen) is None

    def records(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the committed records whose key starts with `prefix`, without it."""
        found = [(key[len(prefix) :], value) for key, value in self.committed.records.items() if key.startswith(prefix)]
        return iter(found)

    def validators(self) -> Iterator[tuple[bytes, pb.Validator]]:
        """Yield consensus keys and validators."""
        return ((key, pb.Validator.FromString(value)) for key, value in self.records(b"v"))

    def describe(self, expected: Facts) -> Facts:
        """Return the core's facts in the form and with the fields of the model's."""
        jobs = {int.from_bytes(key, "big"): pb.Job.FromString(value) for key, value in self.records(b"j")}
        rounds = {
            (int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")): pb.Round.FromString(value)
            for key, value in self.records(b"r")
        }
        return {
            "chain": self.describe_chain(),
            "accounts": {key: self.describe_account(key, value) for key, value in self.records(b"a")},
            "jobs": {i: describe_job_record(job, expected["jobs"].get(i, {"state": None})) for i, job in jobs.items()},
            "rounds": {key: describe_round_record(r) for key, r in rounds.items()},
            "validators": {key: (v.operator, v.power, list(v.missed_heights)) for key, v in self.validators()},
        }

    def describe_account(self, address: bytes, value: bytes) -> Facts:
        """Return an account with its standing and profile."""
        standing = pb.Standing.FromString(self.committed.get(keys.standing(address)) or b"")
        profile = pb.Profile.FromString(self.committed.get(keys.profile(address)) or b"")
        return describe_account_record(pb.Account.FromString(value), standing, profile)

    def describe_chain(self) -> Facts:
        """Return totals, counters and checker tables."""
        get = self.committed.get
        supply, counters = (
            pb.Supply.FromString(get(keys.SUPPLY) or b""),
            pb.Counters.FromString(get(keys.COUNTERS) or b""),
        )
        current = pb.CurrentEpoch.FromString(get(keys.CURRENT_EPOCH) or b"")
        tables = [pb.CheckerTable.FromString(value) for _, value in self.records(b"ct")]
        return {
            "supply": {field.name: getattr(supply, field.name) for field in pb.Supply.DESCRIPTOR.fields},
            "next_job_id": counters.next_job_id,
            "next_unbonding": counters.next_unbonding,
            "outage": pb.Outage.FromString(get(keys.OUTAGE) or b"").end_ms,
            "table_epoch": current.table_epoch,
            "tables": {t.epoch: [(e.account, e.bond, e.highest_class) for e in t.entries] for t in tables},
        }


def make_core(genesis: pb.Genesis, time_ms: int) -> RealCore:
    """Return a chain at its genesis."""
    return RealCore(genesis, time_ms)
