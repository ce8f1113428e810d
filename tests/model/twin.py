"""Model and core side by side: every transaction goes to both, every block is compared in full."""

from collections.abc import Sequence
from typing import Any, Protocol

from nacl.signing import SigningKey

from abci_app.pb.learningchain.v1 import state_pb2
from tests.model.compare import Facts, describe_account, describe_chain, describe_job, describe_round
from tests.model.encode import encode, make_key
from tests.model.hashes import address_of, hashed
from tests.model.model import Model, Tx


class Core(Protocol):
    """What the comparison needs of the real chain."""

    chain_tag: bytes

    def run_block(
        self, height: int, time_ms: int, block_hash: bytes, proposer: bytes | None, evidence: Sequence[bytes],
        missed: Sequence[bytes], txs: Sequence[bytes],
    ) -> list[str]:  # fmt: skip
        """Compute and commit a block; return the reason of each transaction, "" for success."""

    def describe(self, expected: Facts) -> Facts:
        """Return the core's facts in the form and with the fields of the model's."""


class Twin:
    """A model, a core, and the transactions of the block under way."""

    def __init__(self, genesis: state_pb2.Genesis, core: Core, time_ms: int) -> None:
        self.model = Model(genesis, core.chain_tag, time_ms)
        self.s = self.model.state
        self.core = core
        self.keys: dict[bytes, SigningKey] = {}  # by public key
        self.txs: list[bytes] = []
        self.expected: list[frozenset[str]] = []
        self.kinds: list[str] = []  # of message, for each transaction
        self.evidence: tuple[bytes, ...] = ()
        self.missed: tuple[bytes, ...] = ()
        self.begin(time_ms, None)

    def add_key(self, number: int) -> bytes:
        """Return the public key of test key `number` and remember how to sign with it."""
        key = make_key(number)
        self.keys[key.verify_key.encode()] = key
        return key.verify_key.encode()

    def begin(
        self, time_ms: int, proposer: bytes | None, evidence: tuple[bytes, ...] = (), missed: tuple[bytes, ...] = ()
    ) -> None:
        """Begin the next block on the model; the core computes it as a whole in `finish`."""
        height = self.s.height + 1
        self.evidence, self.missed, self.under_way = evidence, missed, True
        self.txs, self.expected, self.kinds = [], [], []
        block_hash = hashed("test block", height, time_ms)
        self.model.begin_block(height, time_ms, block_hash, proposer, evidence, missed)
        assert self.s.total() == self.model.supply

    def send(self, sender: bytes, kind: str, message: dict[str, Any], **changes: Any) -> frozenset[str]:
        """Put a transaction of an account's first key into the block; `changes` replace parts of the envelope."""
        account = self.s.accounts.get(sender)
        public_key = changes.get("public_key", next(iter(account.keys)) if account else next(iter(self.keys)))
        nonce = account.keys[public_key].nonce + 1 if account and public_key in account.keys else 1
        tx: Tx = {
            "defect": None,
            "chain_tag": self.s.tag,
            "account": sender,
            "public_key": public_key,
            "nonce": nonce,
            "expires_at_height": self.s.height + 5,
            "signature_ok": True,
            "kind": kind,
            "message": message,
            **changes,
        }
        tx["nonce"] = max(0, tx["nonce"] + tx.pop("nonce_shift", 0))
        self.txs.append(encode(tx, self.keys[public_key]))
        self.expected.append(self.model.apply(tx))
        self.kinds.append(kind)
        assert self.s.total() == self.model.supply
        return self.expected[-1]

    def register(self, number: int, solution: bytes, **changes: Any) -> frozenset[str]:
        """Send a Register of test key `number`; a solution of 8 bytes is replaced by one that does the work."""
        public_key = self.add_key(number)
        bits = self.count_bits(public_key, solution)
        while len(solution) == 8 and bits < self.s.params.registration_bits:
            solution = (int.from_bytes(solution, "big") + 1).to_bytes(8, "big")
            bits = self.count_bits(public_key, solution)
        fields = {"public_key": public_key, "nonce": 0, **changes}
        return self.send(address_of(public_key), "register", {"solution": solution, "work_bits": bits}, **fields)

    def count_bits(self, public_key: bytes, solution: bytes) -> int:
        """Return the leading zero bits of a registration's work."""
        return 256 - int.from_bytes(hashed("register", self.s.tag, public_key, solution), "big").bit_length()

    def finish(self) -> None:
        """End the block on both sides and compare results and every record."""
        s = self.s
        self.under_way = False
        self.model.end_block()
        results = self.core.run_block(s.height, s.now, s.block_hash, s.proposer, self.evidence, self.missed, self.txs)
        for number, (reasons, result) in enumerate(zip(self.expected, results, strict=True)):
            assert result in (reasons or {""}), f"transaction {number}: model {sorted(reasons)}, core {result!r}"
            s.seen[result or f"{self.kinds[number]} succeeds"] += 1
        expected = self.describe()
        found = self.core.describe(expected)
        assert found == expected, explain(expected, found)
        assert s.total() == self.model.supply

    def describe(self) -> Facts:
        """Return everything the model knows that the core must know too."""
        s = self.s
        return {
            "chain": describe_chain(s, self.model.supply),
            "accounts": {address: describe_account(s, address) for address in s.accounts},
            "jobs": {job_id: describe_job(job) for job_id, job in s.jobs.items()},
            "rounds": {key: describe_round(r) for key, r in s.rounds.items()},
            "validators": {key: (v.operator, v.power, v.missed) for key, v in s.validators.items()},
        }


def explain(expected: Any, found: Any, path: str = "") -> str:
    """Return the first difference of two nested facts."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted({*expected, *found}, key=repr):
            if expected.get(key) != found.get(key):
                name = key.hex()[:8] if isinstance(key, bytes) else key
                return explain(expected.get(key), found.get(key), f"{path}/{name}")
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return explain(one, other, f"{path}[{place}]")
    return f"{path}: model {expected!r}, core {found!r}"
