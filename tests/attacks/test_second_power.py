"""Second review, R1 to R9: juries of one, picked committees, vetoes, and who gets a victim's credits.

| finding | tests test_r… |
|---|---|
| R1 no defence with deposit 0, no bound on a ban | r1_a_deposit_is_nothing_or_at_least_the_verify_fee, |
| | r1_nobody_stands_in_more_than_64_jobs, r1_a_secured_candidacy_cannot_be_used_…, first review's f9_… |
| R2 image bombs | sandbox, see test_findings.py |
| R3 one account is the whole jury | r3_a_class_of_one_small_checker_takes_no_jobs, r3_the_last_drawable_…, |
| | r3_a_committee_of_nobody_halts_nothing |
| R4 later rounds can be ground | r4_the_block_that_ends_a_round_does_not_draw_the_next_… |
| R5 registration gets harder for ever | r5_the_difficulty_falls_although_somebody_always_registers |
| R6 keys without proof | r6_nobody_takes_a_strangers_key, r6_a_key_that_was_removed_replays_nothing, |
| | r6_keys_are_few, r6_an_account_cannot_lock_itself_out |
| R7 honest checkers jailed | r7_who_is_outvoted_keeps_its_place_in_the_table |
| R8 the contractor collects the deposit | r8_nothing_of_a_deposit_reaches_the_contractor |
| R9 a portability fault bans | r9_an_image_that_does_not_run_blames_nobody |
"""

from itertools import pairwise

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from tests.attacks.scenes import HONEST, LIE, LOWEST, START, UNEQUAL, enter, outcome, refusal, split, state
from tests.support.chain import Holding, search_solution
from tests.support.market import CHECKERS, TERMS, UNAVAILABLE, UNRUNNABLE, Market, measured
from tests.support.wallets import Wallet

FEE, BOUNTY = TERMS["verify_fee"], TERMS["bounty"]
NETWORK_FEE = BOUNTY // 50
OWNER, WORK, REMOVED = tx_pb2.KEY_SCOPE_OWNER, tx_pb2.KEY_SCOPE_WORK, tx_pb2.KEY_SCOPE_REMOVED


def test_r1_a_deposit_is_nothing_or_at_least_the_verify_fee() -> None:
    market = Market()
    assert refusal(market.send("carl", market.terms(deposit=1))) == "bad_deposit"
    assert refusal(market.send("carl", market.terms(deposit=FEE - 1))) == "bad_deposit"
    assert refusal(market.send("carl", market.terms(deposit=FEE))) == "ok"


def test_r1_nobody_stands_in_more_than_64_jobs() -> None:
    market = Market(overrides={"max_open_jobs": 100, "tx_burst": 1_000}, audited=False)
    terms = market.terms(bounty=2 * UCREDIT, deposit=FEE, free_places=0, expiry_ms=market.time_ms + 80_000)
    market.block([("carl", terms) for _ in range(65)])
    entries = [("worker0", market.announcement("worker0", job, 0, secured=True)) for job in range(1, 66)]
    answers = [refusal(tx) for tx in market.block(entries).tx_results]
    assert answers == ["ok"] * 64 + ["too_many_candidacies"]


def test_r1_a_secured_candidacy_cannot_be_used_to_flush_the_list() -> None:
    market = Market()
    job_id = market.submit(runner_ups=1, free_places=1, deposit=FEE)
    assert enter(market, "worker0", job_id, 500_000) == "ok"
    assert enter(market, "worker1", job_id, 600_000, secured=True) == "ok"
    assert enter(market, "worker2", job_id, 100_000, secured=True) == "ok"  # worker1 leaves
    assert enter(market, "worker2", job_id, 90_000) == "secured_stays"
    accounts = [candidate.account for candidate in market.job(job_id).candidates]
    assert accounts == [market.address("worker2"), market.address("worker0")]


def test_r3_a_class_of_one_small_checker_takes_no_jobs() -> None:
    small = {name: Holding(held.balance, held.bond, checker=1) for name, held in CHECKERS.items()}
    market = Market(checkers={**small, "mallory": Holding(bond=UCREDIT, checker=2)})
    assert refusal(market.send("carl", market.terms(job_class=1))) == "too_few_checkers"
    assert refusal(market.send("carl", market.terms(job_class=0))) == "ok"


def test_r3_the_last_drawable_checker_cannot_ban() -> None:
    market = Market(checkers={**CHECKERS, "mallory": Holding(bond=100 * UCREDIT, checker=2)})
    job_id = market.submit(runner_ups=4)
    for number in range(5):
        market.announce(f"checker{number}", job_id, number * 10_000)
    market.expire(job_id)
    for number in range(5):
        market.reveal(f"checker{number}", job_id)
        assert market.seats(job_id) == {"mallory": 15}
        market.decide_all(job_id, LIE)
        assert outcome(market, job_id, number) == "REJECTED"
        assert not market.account(f"checker{number}").banned


def test_r3_a_committee_of_nobody_halts_nothing() -> None:
    market = Market(checkers=dict(list(CHECKERS.items())[:2]))
    job_id = market.submit()
    market.announce("checker0", job_id, 0)
    market.must("checker1", tx_pb2.SetChecker(enabled=False))
    market.expire(job_id)
    market.reveal("checker0", job_id)
    record = market.round(job_id)
    assert (record.drawable_bond, record.empty_seats, len(record.votes)) == (0, 15, 0)
    assert (outcome(market, job_id), state(market, job_id)) == ("UNVERIFIED", "PAID")


def second_committee(block_hash: bytes, wait_ms: int) -> dict[str, int]:
    """Let the last vote of round 0 fall into a block of this hash and return the seats of round 1."""
    market = Market(checkers=UNEQUAL)
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, 0)
    market.announce("worker1", job_id, 10_000)
    market.expire(job_id)
    market.reveal("worker0", job_id)
    *early, last = market.seats(job_id)
    market.commit_votes(job_id, dict.fromkeys([*early, last], UNAVAILABLE))
    market.reveal_votes(job_id, dict.fromkeys(early, UNAVAILABLE))
    market.block([(last, market.vote(job_id, UNAVAILABLE))], block_hash=block_hash, dt_ms=wait_ms)
    market.reveal("worker1", job_id)
    return market.seats(job_id)


def test_r4_the_block_that_ends_a_round_does_not_draw_the_next_committee() -> None:
    seats = [second_committee(bytes((number,)) * 32, 1_000 + number) for number in range(4)]
    assert all(drawn == seats[0] for drawn in seats)


def test_r5_the_difficulty_falls_although_somebody_always_registers() -> None:
    market = Market(overrides={"registration_bits": 0, "max_registrations_per_block": 1_000}, audited=False)
    rush = [market.wallet(f"rush{number}") for number in range(600)]
    work = [search_solution(market.tag, wallet.public_key, 2) for wallet in rush]
    market.block([market.sign_register(wallet.name, done) for wallet, done in zip(rush, work, strict=True)])
    assert market.required_bits() == 2
    for number in range(3):
        market.block(dt_ms=540_000)
        market.register(f"patient{number}")
    assert market.required_bits() == 0


def set_key(market: Market, key: Wallet, scope: int, account: bytes, **more: int) -> tx_pb2.SetKey:
    """Return a SetKey for `account` with a proof that is valid for it."""
    proof = b"" if scope == REMOVED else key.prove_for(market.tag, account)
    return tx_pb2.SetKey(public_key=key.public_key, proof=proof, scope=tx_pb2.KeyScope.Name(scope), **more)


def test_r6_nobody_takes_a_strangers_key() -> None:
    market = Market()
    victim = Wallet("victim")
    seen = victim.prove_for(market.tag, victim.address)  # whatever the victim ever signed for itself
    for proof in (b"", bytes(64), seen):
        theft = tx_pb2.SetKey(public_key=victim.public_key, proof=proof, scope=WORK)
        assert refusal(market.send("worker0", theft)) == "bad_key_proof"
    market.register("victim")


def test_r6_a_key_that_was_removed_replays_nothing() -> None:
    market = Market()
    account = market.address("worker0")
    phone = Wallet("phone", owner=account)
    market.must("worker0", set_key(market, phone, OWNER, account))
    pay = market.sign(phone, tx_pb2.Transfer(to=market.address("carl"), amount=UCREDIT))
    assert refusal(market.block([pay]).tx_results[0]) == "ok"
    market.must("worker0", set_key(market, phone, REMOVED, account))
    assert refusal(market.block([pay]).tx_results[0]) == "key_removed"
    market.must("worker0", set_key(market, phone, OWNER, account))
    assert refusal(market.block([pay]).tx_results[0]) == "wrong_nonce"


def test_r6_keys_are_few() -> None:
    market = Market(overrides={"tx_burst": 1_000}, audited=False)
    account = market.address("worker0")
    keys = [Wallet(f"key{number}", owner=account) for number in range(64)]
    for key in keys[:15]:
        market.must("worker0", set_key(market, key, WORK, account))
    assert refusal(market.send("worker0", set_key(market, keys[15], WORK, account))) == "too_many_keys"
    for old, new in pairwise(keys[14:63]):
        market.must("worker0", set_key(market, old, REMOVED, account))
        market.must("worker0", set_key(market, new, WORK, account))
    market.must("worker0", set_key(market, keys[0], REMOVED, account))
    assert refusal(market.send("worker0", set_key(market, keys[63], WORK, account))) == "too_many_keys"


def test_r6_an_account_cannot_lock_itself_out() -> None:
    market = Market()
    own = market.wallet("worker0")
    for scope, expiry in ((WORK, 0), (REMOVED, 0), (OWNER, market.time_ms + 60_000)):
        change = set_key(market, own, scope, own.address, expires_at_ms=expiry)
        assert refusal(market.send("worker0", change)) == "last_owner_key"


def test_r7_who_is_outvoted_keeps_its_place_in_the_table() -> None:
    market = Market()
    job_id = market.open_vote()
    votes = split(market, job_id, LIE, HONEST, 12)
    market.decide(job_id, votes)
    assert outcome(market, job_id) == "CONVICTED"
    (single,) = [name for name, found in votes.items() if found is HONEST]
    market.skip(2 * market.params.epoch_ms)
    assert market.standing(single).votes_outvoted == 1
    assert market.account(single).checker_jailed_ms == 0
    assert market.address(single) in [entry.account for entry in market.table().entries]


@pytest.mark.parametrize(("step", "expected"), [(0, "CONVICTED"), (50_000, "REJECTED")])
def test_r8_nothing_of_a_deposit_reaches_the_contractor(step: int, expected: str) -> None:
    market = Market()
    job_id = market.open_vote(deposit=BOUNTY, verify_fee=BOUNTY, free_places=0)
    scatter = [measured(500_000 + step * number) for number in range(5)]
    market.decide(job_id, dict(zip(market.seats(job_id), scatter, strict=True)))
    assert outcome(market, job_id) == expected
    assert market.balance("carl") == START - NETWORK_FEE
    paid = sum(market.balance(name) - START for name in CHECKERS)
    assert 0 < paid <= BOUNTY
    burned_balance = START - BOUNTY if expected == "CONVICTED" else 0
    assert market.supply().burned == BOUNTY - paid + burned_balance


def test_r9_an_image_that_does_not_run_blames_nobody() -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide(job_id, split(market, job_id, UNRUNNABLE, LIE, 8))
    assert (outcome(market, job_id), state(market, job_id)) == ("FAULTY_JOB", "PAID")
    assert market.standing("carl").jobs_faulty == 1
    assert not market.account("worker0").banned


def test_r9_and_its_price_the_lowest_possible_claim_is_paid_too() -> None:
    """A contractor answers for its image: whoever leads is paid when the image does not run."""
    market = Market()
    job_id = market.open_vote(loss=LOWEST)
    market.decide_all(job_id, UNRUNNABLE)
    assert market.balance("worker0") == START + BOUNTY
