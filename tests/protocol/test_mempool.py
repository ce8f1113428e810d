"""CheckTx and recheck: several pending transactions of an account, caps between two commits, no signature twice."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import crypto, errors, keys, mempool, transaction
from abci_app.protocol.context import BlockContext
from abci_app.protocol.errors import TxError
from abci_app.protocol.limits import BUCKET_UNIT, UCREDIT
from abci_app.protocol.mempool import CheckState, check_tx, recheck_tx
from abci_app.protocol.transaction import TxCache
from tests.support.chain import Chain, Holding
from tests.support.market import TERMS, Market, measured

PROFILE = tx_pb2.SetProfile(name="x")


@pytest.fixture
def chain() -> Chain:
    chain = Chain(accounts={"alice": Holding(10 * UCREDIT), "poor": Holding(5), "broke": Holding(0)})
    chain.block()
    return chain


def begin(chain: Chain, size: int = 20_000) -> CheckState:
    """Return the check state that a Commit of the chain's last block begins."""
    context = BlockContext(chain.tag, chain.params, chain.height + 1, chain.time_ms)
    return CheckState(chain.committed, context, size)


def refuse(check: CheckState, chain: Chain, tx: bytes, error: type[TxError]) -> None:
    with pytest.raises(error):
        check_tx(check, chain.cache, tx)


def test_several_pending_transactions_of_an_account_follow_each_other(chain: Chain) -> None:
    check = begin(chain)
    txs = [chain.sign("alice", PROFILE) for _ in range(20)]
    refuse(check, chain, txs[1], errors.WrongNonce)
    for tx in txs:
        check_tx(check, chain.cache, tx)
    refuse(check, chain, txs[19], errors.WrongNonce)


def test_the_message_is_checked_on_the_last_committed_state(chain: Chain) -> None:
    """Pending transfers are not added up: the block decides, in its order."""
    check = begin(chain)
    send = tx_pb2.Transfer(to=chain.address("poor"), amount=8 * UCREDIT)
    check_tx(check, chain.cache, chain.sign("alice", send))
    check_tx(check, chain.cache, chain.sign("alice", send))
    too_much = tx_pb2.Transfer(to=chain.address("poor"), amount=11 * UCREDIT)
    refuse(check, chain, chain.sign("alice", too_much), errors.InsufficientBalance)


def test_a_refused_transaction_changes_neither_nonce_nor_quota_nor_places(chain: Chain) -> None:
    check = begin(chain)
    for _ in range(10):
        refuse(check, chain, chain.sign("poor", tx_pb2.Unjail(), nonce=1), errors.NotJailed)
    for nonce in range(1, 6):
        check_tx(check, chain.cache, chain.sign("poor", PROFILE, nonce=nonce))
    refuse(check, chain, chain.sign("poor", PROFILE, nonce=6), errors.QuotaExceeded)


def test_the_check_state_never_touches_the_committed_one(chain: Chain) -> None:
    before = chain.hash()
    check = begin(chain)
    check_tx(check, chain.cache, chain.sign("alice", PROFILE))
    assert chain.hash() == before


def test_the_register_cap_holds_between_two_commits(chain: Chain) -> None:
    check = begin(chain)
    for number in range(chain.params.max_registrations_per_block):
        check_tx(check, chain.cache, chain.sign_register(f"new{number}"))
    late = chain.sign_register("late")
    refuse(check, chain, late, errors.RegistrationsFull)
    chain.block()
    check_tx(begin(chain), chain.cache, late)


def test_an_account_registers_once_between_two_commits_and_acts_after_the_next(chain: Chain) -> None:
    check = begin(chain)
    check_tx(check, chain.cache, chain.sign_register("dave"))
    refuse(check, chain, chain.sign_register("dave", None), errors.AlreadyRegistered)
    refuse(check, chain, chain.sign("dave", PROFILE, nonce=1), errors.UnknownAccount)


def test_poor_accounts_and_registrations_fill_at_most_a_quarter(chain: Chain) -> None:
    check = begin(chain, size=16)
    for _ in range(3):
        check_tx(check, chain.cache, chain.sign("poor", PROFILE))
    check_tx(check, chain.cache, chain.sign_register("dave"))
    refuse(check, chain, chain.sign("broke", PROFILE, nonce=1), errors.PoorPlacesTaken)
    refuse(check, chain, chain.sign_register("erin"), errors.PoorPlacesTaken)
    for _ in range(8):
        check_tx(check, chain.cache, chain.sign("alice", PROFILE))


def test_invalid_poor_places_taken(chain: Chain) -> None:
    check = begin(chain, size=7)  # a quarter, rounded down: one place
    waiting, late = chain.sign("poor", PROFILE), chain.sign("broke", PROFILE)
    check_tx(check, chain.cache, waiting)
    refuse(check, chain, late, errors.PoorPlacesTaken)
    after = begin(chain, size=7)
    recheck_tx(after, chain.cache, late)
    with pytest.raises(errors.PoorPlacesTaken):
        recheck_tx(after, chain.cache, waiting)


def test_a_poor_candidate_can_reveal_although_poor_accounts_fill_their_quarter() -> None:
    """A flood of accounts that hold nothing must not make an honest winner default."""
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    rest = market.balance("worker0")
    market.must("worker0", tx_pb2.Transfer(to=market.address("carl"), amount=rest))
    market.expire(job_id)
    check = begin(market, size=4)
    check_tx(check, market.cache, market.sign_register("flood"))
    refuse(check, market, market.sign_register("flood2"), errors.PoorPlacesTaken)
    reveal = market.sign("worker0", market.revelation("worker0", job_id))
    check_tx(check, market.cache, reveal)
    again = begin(market, size=0)
    recheck_tx(again, market.cache, reveal)


def test_an_owed_vote_is_free_once_between_two_commits() -> None:
    """A pending vote has no effect yet, so each further one would pass its own checks: an account with one seat could
    fill every mempool and every block for nothing."""
    market = Market(overrides={"tx_burst": 5, "tx_per_minute": 1})
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    votes = [market.sign(name, market.commitment(name, job_id, measured(number))) for number in range(8)]
    spent = market.account(name).bucket_units // BUCKET_UNIT
    check, again = begin(market), begin(market)
    for vote in votes[: 1 + spent]:
        check_tx(check, market.cache, vote)
        recheck_tx(again, market.cache, vote)
    refuse(check, market, votes[1 + spent], errors.QuotaExceeded)
    with pytest.raises(errors.QuotaExceeded):
        recheck_tx(again, market.cache, votes[1 + spent])


def test_votes_owed_in_two_jobs_are_both_free() -> None:
    market = Market(overrides={"tx_burst": 5, "tx_per_minute": 1})
    jobs = [market.submit(expiry_ms=market.time_ms + 20_000) for _ in range(2)]
    for worker, job_id in zip(("worker0", "worker1"), jobs, strict=True):
        market.announce(worker, job_id, 0)
    market.expire(jobs[0])
    for worker, job_id in zip(("worker0", "worker1"), jobs, strict=True):
        market.reveal(worker, job_id)
    name = next(name for name in market.seats(jobs[0]) if name in market.seats(jobs[1]))
    market.block([(name, PROFILE)] * 6)
    check = begin(market)
    for job_id in jobs:
        check_tx(check, market.cache, market.sign(name, market.commitment(name, job_id, measured(0))))
    refuse(check, market, market.sign(name, PROFILE), errors.QuotaExceeded)


def test_before_the_first_block_a_job_is_refused_since_there_are_no_checkers_yet() -> None:
    """Anybody could otherwise stop all nodes of a chain that is about to begin."""
    chain = Chain(accounts={"alice": Holding(100 * UCREDIT)})
    terms = tx_pb2.SubmitJob(**{**TERMS, "expiry_ms": chain.time_ms + 20_000})
    refuse(begin(chain), chain, chain.sign("alice", terms), errors.TooFewCheckers)


def test_recheck_rebuilds_the_state_in_order_without_checking_a_signature(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    txs = [chain.sign("alice", PROFILE) for _ in range(5)]
    check = begin(chain)
    for tx in txs:
        check_tx(check, chain.cache, tx)
    chain.block(txs[:2])
    calls: list[bytes] = []
    monkeypatch.setattr(transaction, "is_valid_signature", lambda *args: calls.append(args[0]))
    after = begin(chain)
    for tx in txs[:2]:
        with pytest.raises(errors.WrongNonce):
            recheck_tx(after, TxCache(), tx)
    for tx in txs[2:]:
        recheck_tx(after, TxCache(), tx)
    assert calls == []
    with pytest.raises(errors.WrongNonce):
        recheck_tx(after, TxCache(), txs[2])


def test_recheck_throws_out_what_expired_or_lost_its_quota(chain: Chain) -> None:
    short = chain.sign("alice", PROFILE, expires=chain.height + 1)
    pending = [chain.sign("poor", PROFILE) for _ in range(5)]
    chain.block(pending)
    waiting = chain.sign("poor", PROFILE)
    check = begin(chain)
    with pytest.raises(errors.Expired):
        recheck_tx(check, chain.cache, short)
    with pytest.raises(errors.QuotaExceeded):
        recheck_tx(check, chain.cache, waiting)


def test_a_signature_is_checked_once_in_the_life_of_a_transaction(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []

    def count(key: bytes, message: bytes, signature: bytes) -> bool:
        calls.append(key)
        return crypto.is_valid_signature(key, message, signature)

    monkeypatch.setattr(transaction, "is_valid_signature", count)
    tx = chain.sign("alice", PROFILE)
    check_tx(begin(chain), chain.cache, tx)
    recheck_tx(begin(chain), chain.cache, tx)
    assert chain.block([tx]).tx_results[0].code == 0
    assert len(calls) == 1


def test_the_memo_of_transactions_is_bounded_in_number_and_bytes(chain: Chain) -> None:
    txs = [chain.sign("alice", tx_pb2.SetProfile(name=f"{n:02}")) for n in range(10)]
    for cache, kept in ((TxCache(limit=4), 4), (TxCache(max_bytes=3 * len(txs[0])), 3)):
        first = cache.parse(txs[0])
        assert cache.parse(txs[0]) is first
        parsed = [cache.parse(tx) for tx in txs]
        again = [cache.parse(tx) for tx in txs[-kept:]]
        assert all(a is b for a, b in zip(parsed[-kept:], again, strict=True))
        assert cache.parse(txs[0]) is not first


def test_accounts_that_junk_names_are_not_remembered_without_bound(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no block comes, unsigned junk could else fill the memory of a node."""
    monkeypatch.setattr(mempool, "MAX_READ_RECORDS", 50)
    check = begin(chain)
    check_tx(check, chain.cache, chain.sign("alice", PROFILE))
    names = [f"unknown{number}" for number in range(200)]
    for name in names:
        refuse(check, chain, chain.sign(name, PROFILE, nonce=1), errors.UnknownAccount)
    again, following = chain.sign(names[0], PROFILE, nonce=1), chain.sign("alice", PROFILE)
    read: list[bytes] = []
    committed_get = chain.committed.get

    def get(key: bytes) -> bytes | None:
        read.append(key)
        return committed_get(key)

    monkeypatch.setattr(chain.committed, "get", get)
    refuse(check, chain, again, errors.UnknownAccount)
    check_tx(check, chain.cache, following)
    assert keys.account(chain.address(names[0])) in read  # forgotten, so looked up again
    assert keys.account(chain.address("alice")) not in read  # one of its own waits: its nonce stays known
