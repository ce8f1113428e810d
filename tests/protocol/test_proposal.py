"""PrepareProposal and ProcessProposal as pure functions."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import errors
from abci_app.protocol.context import BlockContext
from abci_app.protocol.limits import BUCKET_UNIT, MAX_TX_BYTES, UCREDIT
from abci_app.protocol.proposal import compute_proto_size, find_fault, prepare_proposal
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache
from tests.support.chain import Chain, Holding
from tests.support.market import Market, measured

PROFILE = tx_pb2.SetProfile(name="x")
ROOM = 2**20


@pytest.fixture
def chain() -> Chain:
    chain = Chain(accounts={"alice": Holding(10 * UCREDIT), "bob": Holding(), "poor": Holding(5), "broke": Holding(0)})
    chain.block()
    return chain


def context(chain: Chain) -> BlockContext:
    return BlockContext(chain.tag, chain.params, chain.height + 1, chain.time_ms + 1_000)


def prepare(chain: Chain, txs: list[bytes], max_bytes: int = ROOM) -> list[bytes]:
    return prepare_proposal(BlockState(chain.committed), context(chain), TxCache(), txs, max_bytes)


def fault(chain: Chain, txs: list[bytes]) -> type[errors.TxError] | None:
    found = find_fault(context(chain), TxCache(), txs)
    return None if found is None else type(found)


# --- prepare ---


def test_accounts_with_a_credit_come_before_those_without(chain: Chain) -> None:
    poor, alice = chain.sign("poor", PROFILE), chain.sign("alice", PROFILE)
    register, bob = chain.sign_register("dave"), chain.sign("bob", PROFILE)
    assert prepare(chain, [poor, alice, register, bob]) == [alice, bob, poor, register]


def test_reveals_and_votes_that_would_succeed_come_first() -> None:
    market = Market()
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    vote = market.sign(name, market.commitment(name, job_id, measured(0)))
    junk = market.sign("worker1", market.commitment("worker1", job_id, measured(0)))
    stale = market.sign("worker0", market.revelation("worker0", job_id))
    other = market.sign("worker2", PROFILE)
    assert prepare(market, [other, junk, stale, vote]) == [vote, other, junk, stale]


def test_only_one_vote_of_an_account_in_a_round_comes_first_and_is_free() -> None:
    """The others pass their own checks too as long as the first one has no effect, but would fail in the block."""
    market = Market(overrides={"tx_burst": 5, "tx_per_minute": 1})
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    votes = [market.sign(name, market.commitment(name, job_id, measured(number))) for number in range(8)]
    spent = market.account(name).bucket_units // BUCKET_UNIT
    other = market.sign("worker2", PROFILE)
    assert prepare(market, [*votes, other]) == [votes[0], *votes[1 : 1 + spent], other]
    assert prepare(market, [votes[0], other, *votes[1:]]) == [votes[0], other, *votes[1 : 1 + spent]]


def test_only_one_reveal_of_a_turn_comes_first() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    first, second = (market.sign("worker0", market.revelation("worker0", job_id, size=size)) for size in (1, 2))
    other = market.sign("worker2", PROFILE)
    assert prepare(market, [other, first, second]) == [first, other, second]


def test_one_keys_order_is_kept_even_if_a_later_one_could_come_first() -> None:
    market = Market()
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    first = market.sign(name, PROFILE)
    vote = market.sign(name, market.commitment(name, job_id, measured(0)))
    other = market.sign("worker2", PROFILE)
    assert prepare(market, [other, first, vote]) == [other, first, vote]


def test_only_envelopes_that_hold_one_after_the_other_are_kept(chain: Chain) -> None:
    good = [chain.sign("alice", PROFILE, nonce=1), chain.sign("alice", PROFILE, nonce=2)]
    forged = tx_pb2.SignedTx.FromString(good[0])
    forged.signature = bytes(64)
    bad = [
        b"junk",
        forged.SerializeToString(deterministic=True),
        chain.sign("alice", PROFILE, nonce=9),
        chain.sign("alice", PROFILE, nonce=1, tag=b"12345678"),
        chain.sign("bob", PROFILE, nonce=1, expires=chain.height),
        chain.sign("nobody", PROFILE, nonce=1),
        good[0],
    ]
    assert prepare(chain, [good[0], *bad, good[1]]) == good


def test_a_message_that_would_fail_is_kept_since_only_the_block_can_tell(chain: Chain) -> None:
    tx = chain.sign("alice", tx_pb2.Transfer(to=chain.address("bob"), amount=2**62))
    assert prepare(chain, [tx]) == [tx]


def test_quota_and_the_register_cap_hold_within_the_proposal(chain: Chain) -> None:
    profiles = [chain.sign("poor", PROFILE) for _ in range(7)]
    registers = [chain.sign_register(f"new{number}") for number in range(5)]
    chosen = prepare(chain, [*profiles, *registers])
    assert chosen == profiles[: chain.params.poor_burst] + registers[: chain.params.max_registrations_per_block]


def test_a_new_accounts_next_transaction_waits(chain: Chain) -> None:
    register = chain.sign_register("dave")
    assert prepare(chain, [register, register, chain.sign("dave", PROFILE, nonce=1)]) == [register]


def test_the_state_given_is_all_that_changes(chain: Chain) -> None:
    before = chain.hash()
    prepare(chain, [chain.sign("alice", PROFILE)])
    assert chain.hash() == before


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384])
def test_size_counts_what_protobuf_adds(length: int) -> None:
    tx = bytes(length)
    assert compute_proto_size(tx) == abci.RequestPrepareProposal(txs=[tx]).ByteSize()


def test_the_proposal_fits_as_cometbft_counts_it(chain: Chain) -> None:
    txs = [chain.sign("bob", tx_pb2.SetProfile(name="x" * 60)) for _ in range(10)]
    size = compute_proto_size(txs[0])
    assert prepare(chain, txs, 4 * size) == txs[:4]
    assert prepare(chain, txs, 4 * size - 1) == txs[:3]
    assert prepare(chain, txs, 0) == []


def test_one_that_does_not_fit_leaves_room_for_smaller_ones_of_others(chain: Chain) -> None:
    big = chain.sign("alice", tx_pb2.SetProfile(name="x" * 64, endpoint="y" * 256))
    after = chain.sign("alice", PROFILE)
    small = chain.sign("bob", PROFILE)
    assert prepare(chain, [big, after, small], 2 * compute_proto_size(small)) == [small]


def test_what_prepare_builds_process_accepts_and_the_block_runs(chain: Chain) -> None:
    txs = [chain.sign("alice", PROFILE) for _ in range(5)] + [chain.sign_register("dave")]
    chosen = prepare(chain, [*txs, b"junk", *txs])
    assert fault(chain, chosen) is None
    assert [result.code for result in chain.block(chosen).tx_results] == [0] * 6


# --- process ---


def test_an_empty_proposal_is_accepted(chain: Chain) -> None:
    assert fault(chain, []) is None


def test_refused_is_what_no_honest_proposer_can_build(chain: Chain) -> None:
    good = chain.sign("alice", PROFILE, nonce=1)
    forged = tx_pb2.SignedTx.FromString(good)
    forged.signature = bytes(64)
    too_far = chain.height + 2 + chain.params.max_tx_lifetime
    cases = [
        (bytes(MAX_TX_BYTES + 1), errors.TooLarge),
        (b"junk", errors.Undecodable),
        (good + b"\x20\x01", errors.NotCanonical),
        (chain.sign("alice", PROFILE, nonce=1, tag=b"12345678"), errors.WrongChain),
        (chain.sign("alice", PROFILE, nonce=1, expires=chain.height), errors.Expired),
        (chain.sign("alice", PROFILE, nonce=1, expires=too_far), errors.ExpiryTooFar),
        (forged.SerializeToString(deterministic=True), errors.BadSignature),
        (good, errors.DuplicateTx),
    ]
    for tx, error in cases:
        assert fault(chain, [good, tx]) is error


def test_invalid_duplicate_tx(chain: Chain) -> None:
    """The same bytes twice; a second signature of the same body would be other bytes, and fails by its nonce."""
    first, second = (chain.sign("alice", PROFILE, nonce=1, expires=chain.height + at) for at in (2, 3))
    assert fault(chain, [first, second, first]) is errors.DuplicateTx
    assert fault(chain, [first, second]) is None


def test_envelopes_that_fail_by_state_are_accepted_and_fail_with_a_code(chain: Chain) -> None:
    """Proposers may know another state than we do; refusing would let a fork of opinions halt the chain."""
    txs = [
        chain.sign("nobody", PROFILE, nonce=1),
        chain.sign("alice", PROFILE, nonce=7),
        chain.sign_register("dave", b"no work"),
        *[chain.sign("poor", PROFILE) for _ in range(9)],
    ]
    assert fault(chain, txs) is None
    codes = [result.code for result in chain.block(txs).tx_results]
    assert codes[:3] == [errors.UnknownAccount.code, errors.WrongNonce.code, errors.WorkTooSmall.code]
    assert codes[3 + chain.params.poor_burst] == errors.QuotaExceeded.code


def test_the_bounds_of_the_expiry_are_those_of_the_block(chain: Chain) -> None:
    height = chain.height + 1
    last = height + chain.params.max_tx_lifetime
    assert fault(chain, [chain.sign("alice", PROFILE, expires=at) for at in (height, last)]) is None
