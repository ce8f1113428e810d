"""First review, F13 to F23: money of the banned, censorship, halts, spam and small griefing.

| finding | tests test_f… |
|---|---|
| F13 credits owed to the banned | f13_what_is_owed_to_a_banned_contractor_is_burned, f13_a_voter_banned_…, |
| | f13_a_winner_banned_in_another_way_is_not_paid, f13_the_void_leader_leaves_at_once |
| F14 a fee for censoring the last vote | f14_the_fee_belongs_to_the_opening_block, f14_a_raised_bounty_pays_its_fee |
| F15 declaring a stranger's key | f15_nobody_can_declare_a_validator_by_transaction |
| F16 strikes overflow | f16_a_suspension_never_exceeds_128_times_the_first |
| F17 registration is no rate limit | f17_many_registrations_make_the_next_one_dearer, f17_a_block_takes_only_so_many, |
| | f17_an_account_without_a_credit_sends_little |
| F18 equal models punish the honest | f18_two_candidates_may_reveal_the_same_model |
| F19 photo finish | f19_limit_who_orders_the_block_wins_inside_the_noise_only |
| F20 a list of everybody | f20_the_last_eligible_checker_cannot_become_a_candidate |
| F21 free queue spam | f21_a_contractor_has_only_so_many_open_jobs, f21_a_late_deadline_shortens_no_window |
| F22 Sybil candidates draw many committees | f22_the_list_is_short_and_all_of_it_stays_out_of_committees |
| F23 workers behind NAT | f23_a_reveal_needs_no_address_of_its_own |
"""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from tests.attacks.scenes import HONEST, LIE, LOWEST, START, ban, enter, open_reveal, outcome, refusal, state
from tests.support.chain import Holding, consensus_key
from tests.support.market import CHECKERS, TERMS, UNAVAILABLE, Market, measured

FEE, BOUNTY = TERMS["verify_fee"], TERMS["bounty"]
NETWORK_FEE = BOUNTY // 50
VICTIM = "val0"
"""A validator: evidence bans it at a moment of the test's choice."""


@pytest.fixture
def market() -> Market:
    return Market(checkers={**CHECKERS, VICTIM: Holding()})


def test_f13_what_is_owed_to_a_banned_contractor_is_burned(market: Market) -> None:
    job_id = market.submit(VICTIM)
    escrow = market.job(job_id).escrow
    ban(market, VICTIM)
    burned = market.supply().burned
    market.expire(job_id)
    assert state(market, job_id) == "EXPIRED"
    assert market.supply().burned == burned + escrow


def test_f13_a_voter_banned_before_the_decision_still_counts_but_its_pay_is_burned() -> None:
    market = Market(checkers={**CHECKERS, VICTIM: Holding(bond=1_000 * UCREDIT, checker=2)})
    job_id = market.open_vote()
    votes = dict.fromkeys(market.seats(job_id), HONEST)
    market.commit_votes(job_id, votes)
    market.must(VICTIM, market.vote(job_id, HONEST))
    ban(market, VICTIM)
    burned = market.supply().burned
    del votes[VICTIM]
    market.reveal_votes(job_id, votes)
    assert outcome(market, job_id) == "ACCEPTED"
    assert market.supply().burned > burned
    assert market.balance(VICTIM) == 0


def test_f13_a_winner_banned_in_another_way_is_not_paid(market: Market) -> None:
    job_id = market.submit()
    market.announce(VICTIM, job_id, 0)
    market.expire(job_id)
    market.reveal(VICTIM, job_id)
    ban(market, VICTIM)
    market.decide_all(job_id, HONEST)
    assert (outcome(market, job_id), state(market, job_id)) == ("BANNED", "REFUNDED")
    assert market.balance("carl") == START - NETWORK_FEE - 15 * (FEE // 15)
    assert market.standing(VICTIM).wins == 0


def test_f13_the_void_leader_leaves_at_once(market: Market) -> None:
    job_id = market.submit()
    market.announce(VICTIM, job_id, LOWEST)
    ban(market, VICTIM)
    assert enter(market, "worker0", job_id, 10**6) == "ok"
    assert refusal(market.send("carl", tx_pb2.CancelJob(job_id=job_id))) == "job_has_announcements"


@pytest.mark.parametrize(("opener", "others", "earned"), [("val0", "nobody", NETWORK_FEE), ("nobody", "val0", 0)])
def test_f14_the_fee_belongs_to_the_opening_block(opener: str, others: str, earned: int) -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id, proposer=opener)
    assert market.balance("val0") == START + earned
    market.block([("worker0", market.revelation("worker0", job_id))], proposer=others)
    votes = list(market.seats(job_id))
    market.block([(name, market.commitment(name, job_id, HONEST)) for name in votes], proposer=others)
    for name in votes:
        market.block([(name, market.vote(job_id, HONEST))], proposer=others)
    assert state(market, job_id) == "PAID"
    assert market.balance("val0") == START + earned


def test_f14_a_raised_bounty_pays_its_fee(market: Market) -> None:
    job_id = market.submit(bounty=UCREDIT)
    market.must("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=99 * UCREDIT))
    assert market.job(job_id).network_fee == 2 * UCREDIT
    assert market.balance("carl") == START - 102 * UCREDIT - FEE


def test_f15_nobody_can_declare_a_validator_by_transaction(market: Market) -> None:
    theft = tx_pb2.DeclareValidator(consensus_key=consensus_key(VICTIM), proof=bytes(64))
    powers = market.validator_power(VICTIM)
    assert refusal(market.send("worker0", theft)) == "not_supported"
    assert market.validator_power(VICTIM) == powers


def test_f16_a_suspension_never_exceeds_128_times_the_first() -> None:
    market = Market(overrides={"suspension_ms": 1_000}, audited=False)
    for number in range(10):
        job_id = market.submit(expiry_ms=market.time_ms + 6_000)
        market.announce("worker0", job_id, 0)
        market.expire(job_id)
        market.expire(job_id)
        standing = market.standing("worker0")
        assert standing.strikes == number + 1
        assert standing.suspended_until_ms - market.time_ms == 1_000 * 2 ** min(number, 7)
        market.skip_to(standing.suspended_until_ms)


def test_f17_many_registrations_make_the_next_one_dearer() -> None:
    market = Market(overrides={"registration_bits": 0, "max_registrations_per_block": 1_000}, audited=False)
    market.block([market.sign_register(f"sybil{number}") for number in range(256)])
    assert market.required_bits() == 1
    market.skip(600_000)
    assert market.required_bits() == 0


def test_f17_a_block_takes_only_so_many(market: Market) -> None:
    most = market.params.max_registrations_per_block
    result = market.block([market.sign_register(f"sybil{number}") for number in range(most + 1)])
    assert [refusal(tx) for tx in result.tx_results] == ["ok"] * most + ["registrations_full"]


def test_f17_an_account_without_a_credit_sends_little(market: Market) -> None:
    market.register("sybil")
    result = market.block([("sybil", tx_pb2.SetProfile(name="spam")) for _ in range(market.params.poor_burst + 1)])
    assert [refusal(tx) for tx in result.tx_results] == ["ok"] * market.params.poor_burst + ["quota_exceeded"]


def test_f18_two_candidates_may_reveal_the_same_model(market: Market) -> None:
    job_id = market.submit(runner_ups=1)
    digest = b"\x42" * 32
    for number, worker in enumerate(("worker0", "worker1")):
        market.must(worker, market.announcement(worker, job_id, number * 10_000, digest=digest))
    market.expire(job_id)
    market.must("worker0", market.revelation("worker0", job_id, model_digest=digest))
    market.decide_all(job_id, UNAVAILABLE)
    market.must("worker1", market.revelation("worker1", job_id, model_digest=digest))
    market.decide_all(job_id, measured(10_000))
    assert market.job(job_id).winner == market.address("worker1")


@pytest.mark.parametrize(("gain", "answer"), [(1_999, "not_leading"), (2_000, "ok")])
def test_f19_limit_who_orders_the_block_wins_inside_the_noise_only(market: Market, gain: int, answer: str) -> None:
    job_id = market.submit()
    first = ("worker0", market.announcement("worker0", job_id, 50_000))
    rival = ("worker1", market.announcement("worker1", job_id, 50_000 - gain))
    assert [refusal(tx) for tx in market.block([first, rival]).tx_results] == ["ok", answer]


def test_f20_the_last_eligible_checker_cannot_become_a_candidate(market: Market) -> None:
    job_id = market.submit(runner_ups=4)
    answers = [enter(market, f"checker{number}", job_id, number * 10_000) for number in range(5)]
    assert answers == ["ok"] * 4 + ["no_checkers_left"]


def test_f21_a_contractor_has_only_so_many_open_jobs(market: Market) -> None:
    for _ in range(market.params.max_open_jobs):
        market.submit(bounty=UCREDIT)
    assert refusal(market.send("carl", market.terms())) == "too_many_open_jobs"


def test_f21_a_late_deadline_shortens_no_window(market: Market) -> None:
    expiry = market.time_ms + 40_000
    for _ in range(market.params.max_open_jobs):
        market.submit(expiry_ms=expiry, bounty=UCREDIT)
    job_id = market.submit("worker5", expiry_ms=expiry)
    market.announce("worker0", job_id, 0)
    market.skip_to(expiry)
    assert state(market, job_id) == "OPEN"  # ten others come first, five in a block
    assert enter(market, "worker1", job_id, -10_000) == "job_expired"
    market.block()
    assert state(market, job_id) == "REVEAL"
    assert market.job(job_id).deadline_ms == market.time_ms + TERMS["reveal_window_ms"]


def test_f22_the_list_is_short_and_all_of_it_stays_out_of_committees(market: Market) -> None:
    assert refusal(market.send("carl", market.terms(runner_ups=5, free_places=6))) == "bad_runner_ups"
    job_id = market.submit(runner_ups=3)
    for number in range(4):
        market.announce(f"checker{number}", job_id, number * 10_000)
    market.expire(job_id)
    market.reveal("checker0", job_id)
    assert set(market.seats(job_id)) == {"checker4"}
    market.decide_all(job_id, UNAVAILABLE)
    market.reveal("checker1", job_id)
    assert set(market.seats(job_id)) == {"checker4"}


def test_f23_a_reveal_needs_no_address_of_its_own(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    assert refusal(market.send("worker0", market.revelation("worker0", job_id, locations=[]))) == "ok"
    market.decide_all(job_id, LIE)
    assert market.account("worker0").banned  # and it is judged like any other
