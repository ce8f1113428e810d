"""A short life of a chain in which every message succeeds once and every envelope error happens once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.block import Block, BlockResult
from abci_app.protocol.hashing import compute_work, count_leading_zero_bits, join
from abci_app.protocol.limits import MAX_TX_BYTES, UCREDIT
from abci_app.protocol.tree import update_state
from tests.support.chain import Holding, consensus_key
from tests.support.market import Market, measured
from tests.support.wallets import Wallet

KEYS: Final = ("work key", "second owner key")
TOO_LARGE: Final = bytes(MAX_TX_BYTES + 1)


@dataclass(frozen=True)
class RecordedBlock:
    """A block as a vector: what goes in, the code of each transaction, and the app hash after it."""

    block: Block
    notes: Sequence[str]
    codes: Sequence[int]
    app_hash: bytes


class RecordedMarket(Market):
    """A market that remembers its blocks and keeps the real state tree beside its records."""

    def __init__(
        self, checkers: Mapping[str, Holding] | None = None, overrides: Mapping[str, int] | None = None
    ) -> None:
        self.recorded: list[RecordedBlock] = []
        self.notes: Sequence[str] = ()
        self._pages: dict[bytes, bytes] = {}
        self._seen: dict[bytes, bytes] = {}
        self.job_two, self.round_two, self.table_two = pb.Job(), pb.Round(), pb.CheckerTable()
        super().__init__(checkers, overrides)

    def process(self, block: Block) -> BlockResult:
        result = super().process(block)
        codes = [found.code for found in result.tx_results]
        self.recorded.append(RecordedBlock(block, self.notes or [""] * len(codes), codes, self._compute_app_hash()))
        self.notes = ()
        return result

    def find_seed(self, public_key: bytes) -> bytes:
        """Return the seed of a wallet of the scenario."""
        known = [*self.wallets.values(), *(Wallet(name) for name in KEYS)]
        return next(wallet.seed for wallet in known if wallet.public_key == public_key)

    def expect(self, entries: Sequence[tuple[str, bytes | tuple[Wallet | str, Any], int]], **options: Any) -> None:
        """Make a block of (note, transaction, expected code)."""
        self.notes = [note for note, _, _ in entries]
        results = self.block([tx for _, tx, _ in entries], **options).tx_results
        found = [result.code for result in results]
        assert found == [code for _, _, code in entries], (found, entries)

    def get_page(self, key: bytes) -> bytes | None:
        """Let the tree read its pages from here."""
        return self._pages.get(key)

    def _compute_app_hash(self) -> bytes:
        records = self.committed.records
        changes: dict[bytes, bytes | None] = {k: v for k, v in records.items() if self._seen.get(k) != v}
        changes |= dict.fromkeys(self._seen.keys() - records.keys())
        self._seen = dict(records)
        update = update_state(self, changes)
        for key, page in update.page_writes.items():
            if page is None:
                self._pages.pop(key, None)
            else:
                self._pages[key] = page
        return update.app_hash


def play() -> RecordedMarket:
    """Play the whole scenario."""
    market = RecordedMarket()
    _register_and_keys(market)
    _broken_bytes(market)
    _broken_envelopes(market)
    _registrations(market)
    _credits(market)
    _job(market)
    _ban(market)
    _jail(market)
    _quota(market)
    return market


def _register_and_keys(market: RecordedMarket) -> None:
    market.expect([("register", market.sign_register("dave"), 0)])
    worker = market.wallet("worker0")
    for name, scope in (("work key", tx_pb2.KEY_SCOPE_WORK), ("second owner key", tx_pb2.KEY_SCOPE_OWNER)):
        key = Wallet(name)
        proof = key.prove_for(market.tag, worker.address)
        expiry = market.time_ms + 3_000 if scope == tx_pb2.KEY_SCOPE_OWNER else 0
        message = tx_pb2.SetKey(public_key=key.public_key, proof=proof, scope=scope, expires_at_ms=expiry)
        market.expect([(f"set_key: {name}", (worker, message), 0)])


def _broken_bytes(market: RecordedMarket) -> None:
    body = tx_pb2.TxBody(
        chain_tag=market.tag, account=market.address("carl"), nonce=1, expires_at_height=90, unjail=tx_pb2.Unjail()
    )
    good = body.SerializeToString(deterministic=True)
    # tag 1 (10 bytes), account 2 (22 bytes), nonce 3 (2 bytes), expiry 4 (2 bytes), message 32 (3 bytes)
    tag, account, nonce, expiry, message = good[:10], good[10:32], good[32:34], good[34:36], good[36:]
    variants = {
        "not_canonical: fields out of order": account + tag + nonce + expiry + message,
        "not_canonical: a field given twice": tag + account + nonce + nonce + expiry + message,
        "not_canonical: an unknown field": good + b"\xf8\x06\x01",
        "not_canonical: a number with a needless byte": tag + account + b"\x18\x81\x00" + expiry + message,
        "not_canonical: a zero that is written": tag + account + b"\x18\x00" + expiry + message,
    }
    short = tx_pb2.TxBody(chain_tag=market.tag[:7], account=market.address("carl"), nonce=1, expires_at_height=90)
    short.unjail.SetInParent()
    empty = tx_pb2.TxBody(chain_tag=market.tag, account=market.address("carl"), nonce=1, expires_at_height=90)
    entries = [("too_large: 16 385 zero bytes", TOO_LARGE, 1), ("undecodable", b"\xff", 2)]
    entries.append(
        ("undecodable: no message", sign_raw(market, "carl", empty.SerializeToString(deterministic=True)), 2)
    )
    entries += [(note, sign_raw(market, "carl", variant), 3) for note, variant in variants.items()]
    entries.append(
        ("not_canonical: the outer layer has an unknown field", sign_raw(market, "carl", good) + b"\xf8\x06\x01", 3)
    )
    entries.append(
        ("bad_field_length: tag of 7 bytes", sign_raw(market, "carl", short.SerializeToString(deterministic=True)), 4)
    )
    market.expect(entries)


def _broken_envelopes(market: RecordedMarket) -> None:
    transfer = tx_pb2.Transfer(to=market.address("worker1"), amount=1)
    height = market.height + 1
    far = height + market.params.max_tx_lifetime + 1
    stolen = Wallet("stranger", owner=market.address("carl"))
    work = Wallet("work key", owner=market.address("worker0"))
    expired = Wallet("second owner key", owner=market.address("worker0"))
    good = market.sign("carl", transfer, nonce=1)
    market.expect(
        [
            ("wrong_chain", market.sign("carl", transfer, nonce=1, tag=b"elsewher"), 5),
            ("expired", market.sign("carl", transfer, nonce=1, expires=height - 1), 6),
            ("expiry_too_far", market.sign("carl", transfer, nonce=1, expires=far), 7),
            ("unknown_account", market.sign("nobody", transfer, nonce=1), 20),
            ("unknown_key", market.sign(stolen, transfer, nonce=1), 21),
            ("key_expired", market.sign(expired, transfer, nonce=1), 23),
            ("scope_too_small: a work key moves credits", market.sign(work, transfer, nonce=1), 24),
            ("wrong_nonce: 0 and 2 instead of 1", market.sign("carl", transfer, nonce=2), 26),
            ("bad_signature: one bit of it", good[:-1] + bytes([good[-1] ^ 1]), 28),
            (
                "set_profile by the work key",
                market.sign(work, tx_pb2.SetProfile(name="w", endpoint="http://w.example"), nonce=1),
                0,
            ),
        ]
    )
    removal = tx_pb2.SetKey(public_key=work.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED)
    market.expect([("set_key: remove the work key", ("worker0", removal), 0)])
    market.expect([("key_removed", market.sign(work, tx_pb2.SetProfile(), nonce=2), 22)])


def _registrations(market: RecordedMarket) -> None:
    weak = _find_weak_solution(market, "erin")
    other = market.sign_register("erin")
    signed = tx_pb2.SignedTx.FromString(other)
    body = tx_pb2.TxBody.FromString(signed.body_bytes)
    body.nonce = 1
    numbered = sign_raw(market, "erin", body.SerializeToString(deterministic=True))
    body.nonce, body.account = 0, bytes(20)
    misaddressed = sign_raw(market, "erin", body.SerializeToString(deterministic=True))
    market.expect(
        [
            ("work_too_small", market.sign_register("erin", weak), 40),
            ("already_registered", market.sign_register("dave"), 41),
            ("register_nonce", numbered, 43),
            ("register_address", misaddressed, 44),
            ("bad_solution: empty", market.sign_register("erin", b""), 45),
        ]
    )
    names = ("erin", "frank", "grace", "heidi")
    entries: list[tuple[str, Any, int]] = [("register", market.sign_register(name), 0) for name in names[:3]]
    entries.append(("registrations_full: the fourth of a block", market.sign_register(names[3]), 42))
    fresh = market.sign("erin", tx_pb2.SetProfile(name="e"), nonce=1)
    entries.append(("fresh_account: in the block of its Register", fresh, 29))
    market.expect(entries)


def _credits(market: RecordedMarket) -> None:
    carl, worker = "carl", "worker1"
    market.expect(
        [
            ("transfer", (carl, tx_pb2.Transfer(to=market.address(worker), amount=250_000, memo="thank you")), 0),
            ("insufficient_balance", (carl, tx_pb2.Transfer(to=market.address(worker), amount=2**40)), 102),
            ("bad_amount", (carl, tx_pb2.Transfer(to=market.address(worker))), 101),
            ("bad_recipient: nobody", (carl, tx_pb2.Transfer(to=bytes(20), amount=1)), 120),
            ("bond", (worker, tx_pb2.Bond(amount=200 * UCREDIT)), 0),
            ("set_checker", (worker, tx_pb2.SetChecker(enabled=True, highest_class=1)), 0),
        ]
    )
    market.expect([("unbond", (worker, tx_pb2.Unbond(amount=50 * UCREDIT)), 0)])


def _job(market: RecordedMarket) -> None:
    market.expect([("submit_job: to be cancelled", ("carl", market.terms(title="cancelled")), 0)])
    market.expect([("cancel_job", ("carl", tx_pb2.CancelJob(job_id=1)), 0)])
    needs = tx_pb2.TrainingNeeds(
        milli_cpus=2_000,
        memory_mib=4_096,
        disk_mib=1_024,
        gpus=1,
        gpu_memory_mib=8_192,
        accelerator="cuda>=12.4",
        seconds=600,
    )
    terms = market.terms(
        title="digits",
        about="ten digits, naïvely scanned",
        runner_ups=1,
        deposit=2 * UCREDIT,
        free_places=1,
        loss_ceiling=-1_000,
        needs=needs,
    )
    market.expect([("submit_job", ("carl", terms), 0)])
    market.expect([("raise_bounty", ("carl", tx_pb2.RaiseBounty(job_id=2, amount=UCREDIT)), 0)])
    first, second = market.announcement("worker0", 2, -1_000), market.announcement("worker2", 2, -9_000, secured=True)
    market.expect([("announce", ("worker0", first), 0), ("announce: secured", ("worker2", second), 0)])
    market.expire(2)
    market.expect([("reveal", ("worker2", market.revelation("worker2", 2)), 0)])
    market.job_two, market.round_two, market.table_two = market.job(2), market.round(2), market.table()
    found = measured(-9_000)
    seated = list(market.seats(2))
    market.expect([("commit_vote", (name, market.commitment(name, 2, found)), 0) for name in seated])
    market.expect([("reveal_vote", (name, market.vote(2, found)), 0) for name in seated])
    assert market.job(2).state == pb.JOB_STATE_PAID


def _ban(market: RecordedMarket) -> None:
    """A worker announces what it never reached; every seat measures the same, far worse loss."""
    market.expect([("submit_job", ("carl", market.terms()), 0)])
    market.expect([("announce: a lie", ("worker0", market.announcement("worker0", 3, 1)), 0)])
    market.expire(3)
    market.expect([("reveal", ("worker0", market.revelation("worker0", 3)), 0)])
    market.decide_all(3, measured(10**9))
    market.expect([("account_banned", ("worker0", tx_pb2.Unjail()), 25)])
    market.expect([("recipient_banned", ("carl", tx_pb2.Transfer(to=market.address("worker0"), amount=1)), 121)])


def _jail(market: RecordedMarket) -> None:
    """The only validator misses too many blocks, which jails it; it stays in the set, which is never emptied."""
    while not market.account("val0").validator_jailed_ms:
        market.block(missed=["val0"])
    market.skip(market.params.unjail_ms)
    market.expect([("unjail", ("val0", tx_pb2.Unjail()), 0)])
    declare = tx_pb2.DeclareValidator(consensus_key=consensus_key("val0"), proof=bytes(64))
    market.expect(
        [
            ("not_supported: declare_validator", ("checker0", declare), 299),
            ("not_supported: retire_validator", ("checker0", tx_pb2.RetireValidator()), 299),
        ]
    )


def _quota(market: RecordedMarket) -> None:
    """An account below 1 credit has a small burst, refilled slowly."""
    profile = tx_pb2.SetProfile(name="f")
    burst = market.params.poor_burst
    entries = [("set_profile", market.sign("frank", profile), 0) for _ in range(burst)]
    market.expect([*entries, ("quota_exceeded", market.sign("frank", profile), 27)])
    market.block()


def sign_raw(market: Market, name: str, body: bytes) -> bytes:
    """Return the outer layer around any body bytes, signed as its chain tag would want it."""
    wallet = market.wallet(name)
    signed = tx_pb2.SignedTx(
        body_bytes=body, public_key=wallet.public_key, signature=wallet.sign(join("tx", market.tag, body))
    )
    return signed.SerializeToString(deterministic=True)


def _find_weak_solution(market: Market, name: str) -> bytes:
    """Return a solution with too little work."""
    key, bits = market.wallet(name).public_key, market.required_bits()
    return next(
        solution
        for solution in (number.to_bytes(8, "big") for number in range(10_000))
        if count_leading_zero_bits(compute_work(market.tag, key, solution)) < bits
    )


def list_seats(turn: pb.Round) -> Mapping[str, int]:
    """Return the seats of a committee by address in hex."""
    return {vote.account.hex(): vote.seats for vote in turn.votes}
