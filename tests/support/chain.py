"""A chain in memory over the real core, for tests: blocks on demand, time under control, audited after every block."""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.accounts import find_key
from abci_app.protocol.audit import audit
from abci_app.protocol.block import Block, BlockResult, Misbehavior, TxResult, process_block
from abci_app.protocol.genesis import build_genesis_state, check_genesis, compute_genesis_tag
from abci_app.protocol.hashing import (
    compute_consensus_address,
    compute_work,
    count_leading_zero_bits,
    get_tx_sign_bytes,
)
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from abci_app.protocol.registration import get_required_bits
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache
from tests.support.wallets import Wallet

R = TypeVar("R", bound=Message)

CHAIN_ID: Final = "test-chain"
GENESIS_MS: Final = 1_700_000_000_000
BLOCK_MS: Final = 1_000
KINDS: Final = {field.message_type.name: field.name for field in tx_pb2.TxBody.DESCRIPTOR.fields if field.message_type}
"""Message type to its field in TxBody."""


@dataclass(frozen=True)
class Holding:
    """What an account holds at genesis, in ucredit; `checker` is 0 or its highest class plus 1."""

    balance: int = 1_000 * UCREDIT
    bond: int = 0
    checker: int = 0


class DictState:
    """Committed state in dictionaries."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.index: dict[bytes, bytes] = {}
        self._ordered: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        return self.records.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in self._ordered[bisect_left(self._ordered, start) : bisect_left(self._ordered, end)]:
            yield key, self.index[key]

    def commit(self, state: BlockState) -> None:
        """Take over what a block changed."""
        for key, value in state.get_changed_records().items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        for key, value in state.get_changed_index().items():
            self._put_index(key, value)

    def _put_index(self, key: bytes, value: bytes | None) -> None:
        if value is not None:
            if key not in self.index:
                insort(self._ordered, key)
            self.index[key] = value
        elif self.index.pop(key, None) is not None:
            del self._ordered[bisect_left(self._ordered, key)]

    def compute_hash(self) -> bytes:
        """Return a digest of all records: equal states have equal digests."""
        parts = (key.hex() + ":" + self.records[key].hex() for key in sorted(self.records))
        return hashlib.sha256("\n".join(parts).encode()).digest()


class Chain:
    """A chain of its own. Accounts are wallets by name; validators are accounts that also sign blocks."""

    def __init__(
        self,
        params: str | pb.Params = "minimal",
        accounts: Mapping[str, Holding] | Iterable[str] = ("alice", "bob", "carol"),
        validators: Mapping[str, int] | None = None,
        overrides: Mapping[str, int] | None = None,
        audited: bool = True,
    ) -> None:
        """Build and check the genesis; `validators` maps operators to bonds in ucredit (default: one, `val0`)."""
        self.params = get_params(params) if isinstance(params, str) else params
        for name, value in (overrides or {}).items():
            setattr(self.params, name, value)
        self.genesis = self._build_genesis(accounts, validators or {"val0": 1_000 * UCREDIT})
        check_genesis(self.genesis)
        self.tag = compute_genesis_tag(CHAIN_ID, self.genesis)
        self.committed = DictState()
        self.committed.commit(build_genesis_state(self.genesis, GENESIS_MS))
        self.cache = TxCache()
        self.height, self.time_ms = 0, GENESIS_MS
        self.block_hash = b""
        self.last: BlockResult = BlockResult()
        self.audited = audited
        self._pending: dict[bytes, int] = {}

    def _build_genesis(
        self, accounts: Mapping[str, Holding] | Iterable[str], validators: Mapping[str, int]
    ) -> pb.Genesis:
        holdings = dict(accounts) if isinstance(accounts, Mapping) else {name: Holding() for name in accounts}
        genesis = pb.Genesis(params=self.params)
        for name, bond in validators.items():
            held = holdings.pop(name, Holding())
            holdings[name] = Holding(held.balance, bond, held.checker)
        self.wallets = {name: Wallet(name) for name in holdings}
        for name, held in holdings.items():
            public_key = self.wallets[name].public_key
            genesis.accounts.add(public_key=public_key, balance=held.balance, bond=held.bond, checker=held.checker)
        for name, bond in validators.items():
            operator, power = self.wallets[name].address, bond // self.params.power_unit
            genesis.validators.add(consensus_key=consensus_key(name), operator=operator, power=power)
        return genesis

    # --- transactions ---------------------------------------------------------------------------------------------

    def wallet(self, name: str) -> Wallet:
        """Return a wallet by name, registered or not."""
        return self.wallets.setdefault(name, Wallet(name))

    def sign(
        self,
        wallet: Wallet | str,
        message: Message,
        nonce: int | None = None,
        expires: int | None = None,
        tag: bytes | None = None,
    ) -> bytes:
        """Return a signed transaction. Nonces follow on from the committed state and what was signed since."""
        wallet = self.wallet(wallet) if isinstance(wallet, str) else wallet
        if nonce is None:
            nonce = self._take_nonce(wallet)
        tag = self.tag if tag is None else tag
        body = tx_pb2.TxBody(
            chain_tag=tag,
            account=wallet.address,
            nonce=nonce,
            expires_at_height=self.height + 50 if expires is None else expires,
            **{KINDS[message.DESCRIPTOR.name]: message},  # type: ignore[arg-type]
        ).SerializeToString(deterministic=True)
        signature = wallet.sign(get_tx_sign_bytes(tag, body))
        signed = tx_pb2.SignedTx(body_bytes=body, public_key=wallet.public_key, signature=signature)
        return signed.SerializeToString(deterministic=True)

    def _take_nonce(self, wallet: Wallet) -> int:
        account = self.get(keys.account(wallet.address), pb.Account)
        key = find_key(account, wallet.public_key) if account else None
        pending = self._pending.get(wallet.public_key, 0) + 1
        self._pending[wallet.public_key] = pending
        return (key.nonce if key else 0) + pending

    def sign_register(self, name: str, solution: bytes | None = None) -> bytes:
        """Return a signed Register of a new wallet, with enough work unless `solution` is given."""
        wallet = self.wallet(name)
        if solution is None:
            solution = search_solution(self.tag, wallet.public_key, self.required_bits())
        return self.sign(wallet, tx_pb2.Register(solution=solution), nonce=0)

    def required_bits(self) -> int:
        """Return the zero bits a Register needs in the next block."""
        return get_required_bits(self.state(), self.params, self.time_ms + BLOCK_MS)

    def register(self, name: str) -> Wallet:
        """Register a new account in a block of its own."""
        result = self.block([self.sign_register(name)]).tx_results[0]
        assert result.code == 0, result
        return self.wallet(name)

    def send(self, wallet: Wallet | str, message: Message, **envelope: Any) -> TxResult:
        """Make a block with this one transaction and return its result."""
        return self.block([self.sign(wallet, message, **envelope)]).tx_results[0]

    def must(self, wallet: Wallet | str, message: Message, **envelope: Any) -> TxResult:
        """Do the same and require success."""
        result = self.send(wallet, message, **envelope)
        assert result.code == 0, result
        return result

    # --- blocks ---------------------------------------------------------------------------------------------------

    def block(
        self,
        txs: Sequence[bytes | tuple[Wallet | str, Message]] = (),
        dt_ms: int = BLOCK_MS,
        proposer: str = "val0",
        misbehavior: Sequence[tuple[int, str]] = (),
        missed: Sequence[str] = (),
        block_hash: bytes | None = None,
    ) -> BlockResult:
        """Make and commit a block `dt_ms` after the last; `misbehavior` are (ABCI kind, validator name)."""
        encoded = [tx if isinstance(tx, bytes) else self.sign(*tx) for tx in txs]
        self.height += 1
        previous_ms = self.time_ms if self.height > 1 else 0
        self.time_ms += dt_ms
        self.block_hash = hashlib.sha256(b"block %d" % self.height).digest() if block_hash is None else block_hash
        block = Block(
            height=self.height,
            time_ms=self.time_ms,
            block_hash=self.block_hash,
            proposer_address=consensus_address(proposer),
            txs=encoded,
            previous_time_ms=previous_ms,
            misbehavior=[Misbehavior(kind, consensus_address(name), self.height - 1) for kind, name in misbehavior],
            signed=self._get_signers(missed),
            missed=[consensus_address(name) for name in missed],
        )
        return self.process(block)

    def process(self, block: Block) -> BlockResult:
        """Compute and commit a block as it is."""
        state = BlockState(self.committed)
        self.last = process_block(state, self.tag, block, self.cache)
        self.committed.commit(state)
        self._pending.clear()
        if self.audited:
            self.audit()
        return self.last

    def _get_signers(self, missed: Sequence[str]) -> list[bytes]:
        """Everybody in the set signed the last block, but for those who missed it; nobody signed before the first."""
        gone = [consensus_address(name) for name in missed]
        known = self.committed.scan(b"m", b"n") if self.height > 1 else iter(())
        powers = ((address[1:], self.validator_power(key)) for address, key in known)
        return [address for address, power in powers if power and address not in gone]

    def skip(self, ms: int) -> BlockResult:
        """Make empty blocks, at most 4 s apart (no outage), until `ms` have passed; return the last block's result."""
        while ms > 0:
            self.block(dt_ms=min(ms, 4 * BLOCK_MS))
            ms -= 4 * BLOCK_MS
        return self.last

    def skip_to(self, time_ms: int) -> BlockResult:
        """Make empty blocks until block time is `time_ms`."""
        return self.skip(time_ms - self.time_ms)

    def audit(self) -> None:
        """Audit the committed state in full."""
        audit(self.committed.records.items(), self.committed.index.items())

    # --- reading --------------------------------------------------------------------------------------------------

    def state(self) -> BlockState:
        """Return a fresh overlay over the committed state."""
        return BlockState(self.committed)

    def get(self, key: bytes, kind: type[R]) -> R | None:
        """Return a committed record."""
        data = self.committed.get(key)
        return None if data is None else kind.FromString(data)

    def account(self, name: Wallet | str) -> pb.Account:
        """Return an account, which must exist."""
        account = self.get(keys.account(self.address(name)), pb.Account)
        assert account is not None
        return account

    def address(self, name: Wallet | str) -> bytes:
        """Return the address of a wallet."""
        return self.wallet(name).address if isinstance(name, str) else name.address

    def balance(self, name: Wallet | str) -> int:
        """Return a balance in ucredit."""
        return self.account(name).balance

    def standing(self, name: Wallet | str) -> pb.Standing:
        """Return a standing, all zero if there is none."""
        return self.get(keys.standing(self.address(name)), pb.Standing) or pb.Standing()

    def supply(self) -> pb.Supply:
        """Return the running totals."""
        return self.get(keys.SUPPLY, pb.Supply) or pb.Supply()

    def job(self, job_id: int) -> pb.Job:
        """Return a job, which must exist."""
        job = self.get(keys.job(job_id), pb.Job)
        assert job is not None
        return job

    def round(self, job_id: int, number: int = 0) -> pb.Round:
        """Return a round, which must exist."""
        record = self.get(keys.round_(job_id, number), pb.Round)
        assert record is not None
        return record

    def table(self) -> pb.CheckerTable:
        """Return the current checker table."""
        current = self.get(keys.CURRENT_EPOCH, pb.CurrentEpoch)
        assert current is not None
        return self.get(keys.checker_table(current.table_epoch), pb.CheckerTable) or pb.CheckerTable()

    def validator_power(self, name: str | bytes) -> int:
        """Return the tracked power of a validator by name or consensus key, 0 outside the set."""
        key = consensus_key(name) if isinstance(name, str) else name
        validator = self.get(keys.validator(key), pb.Validator)
        return 0 if validator is None else validator.power

    def hash(self) -> bytes:
        """Return a digest of the committed records."""
        return self.committed.compute_hash()


def consensus_key(name: str) -> bytes:
    """Return the consensus public key of a validator."""
    return Wallet(f"consensus {name}").public_key


def consensus_address(name: str) -> bytes:
    """Return the consensus address of a validator."""
    return compute_consensus_address(consensus_key(name))


def search_solution(tag: bytes, public_key: bytes, bits: int) -> bytes:
    """Return a solution of a Register with at least `bits` zero bits."""
    number = 0
    while True:
        solution = number.to_bytes(8, "big")
        if count_leading_zero_bits(compute_work(tag, public_key, solution)) >= bits:
            return solution
        number += 1
