"""First review, F1 to F11: cheap money, and honest people punished.

| finding | tests test_f… |
|---|---|
| F1 doubt about the model pays the cheater | f1_scattered_bad_losses_reject_the_candidate_instead_of_paying_it |
| F2 a proposer picks the committee | f2_neither_the_reveals_block_nor_later_bonds_change_the_committee, |
| | f2_the_candidates_salt_decides_and_is_older_than_the_opening_block, f2_limit_… |
| F3 slow checkers ban an honest winner | f3_a_run_that_was_stopped_never_bans |
| F4 unbounded evaluation | f4_what_training_needs_does_not_lengthen_the_vote |
| F5 all honest checkers are jailed | f5_a_flood_of_jobs_jails_no_checker_that_still_votes |
| F6 pay without work | f6_findings_without_a_receipt_are_never_paid, f6_silence_of_others_raises_nobodys_pay |
| F7 few revealed seats convict | f7_a_low_turnout_of_liars_does_not_ban, f7_one_broken_checker_of_three_… |
| F8 an outage pays every winner | f8_an_outage_renews_the_window_once, f8_a_second_outage_…, f8_a_job_without_… |
| F9 a free key stops everything | f9_a_secured_worker_is_not_locked_out_by_fresh_keys, f9_limit_… |
| F10 no tolerance: bans by noise | f10_margins_below_the_noise_are_refused, f10_a_gain_inside_the_noise_is_no_lead |
| F11 a bistable score takes model and bounty | f11_a_score_that_differs_between_checkers_does_not_ban, f11_own_… |
| F12 labels in a public image | f12_limit_who_reads_the_labels_out_of_the_image_is_paid_like_anybody |
"""

from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from tests.attacks.scenes import HONEST, LIE, LOWEST, START, UNEQUAL, enter, open_reveal, outcome, refusal, split, state
from tests.support.chain import Holding
from tests.support.market import OVERRUN, TERMS, UNAVAILABLE, UNRUNNABLE, Finding, Market, measured

FEE, BOUNTY = TERMS["verify_fee"], TERMS["bounty"]


def test_f1_scattered_bad_losses_reject_the_candidate_instead_of_paying_it() -> None:
    market = Market()
    job_id = market.open_vote()
    scatter = [measured(500_000 + 50_000 * number) for number in range(5)]
    market.decide(job_id, dict(zip(market.seats(job_id), scatter, strict=True)))
    assert (outcome(market, job_id), state(market, job_id)) == ("REJECTED", "REFUNDED")
    assert market.balance("worker0") == START
    assert market.standing("worker0").strikes == 1


def reveal_in(market: Market, block_hash: bytes, worker: str, other_txs: bool) -> dict[str, int]:
    """Let a job's model be revealed in a block of this hash, after bonds changed if `other_txs`, and return seats."""
    job_id = market.submit()
    market.announce(worker, job_id, 0)
    open_reveal(market, job_id, b"\x01" * 32)
    reveal = market.sign(worker, market.revelation(worker, job_id))
    before = [market.sign("checker0", tx_pb2.Bond(amount=50 * UCREDIT))] if other_txs else []
    before += [market.sign("checker1", tx_pb2.Unbond(amount=5 * UCREDIT))] if other_txs else []
    market.block([*before, reveal], block_hash=block_hash, dt_ms=1_000 + len(before))
    return market.seats(job_id)


def test_f2_neither_the_reveals_block_nor_later_bonds_change_the_committee() -> None:
    seats = [
        reveal_in(Market(checkers=UNEQUAL), bytes((number,)) * 32, "worker0", number % 2 == 0) for number in range(4)
    ]
    assert all(drawn == seats[0] for drawn in seats)


def test_f2_the_candidates_salt_decides_and_is_older_than_the_opening_block() -> None:
    market = Market(checkers=UNEQUAL)
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    other_salt = market.revelation("worker0", job_id, salt=b"t" * 32)
    assert refusal(market.send("worker0", other_salt)) == "commitment_mismatch"


def test_f2_limit_who_proposes_the_opening_block_can_try_committees() -> None:
    committees = set()
    for number in range(6):
        market = Market(checkers=UNEQUAL)
        job_id = market.submit()
        market.announce("worker0", job_id, 0)
        open_reveal(market, job_id, bytes((number,)) * 32)
        market.reveal("worker0", job_id)
        committees.add(tuple(sorted(market.seats(job_id).items())))
    assert len(committees) > 1


def test_f3_a_run_that_was_stopped_never_bans() -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide_all(job_id, OVERRUN)
    assert outcome(market, job_id) == "REJECTED"
    assert not market.account("worker0").banned


def test_f4_what_training_needs_does_not_lengthen_the_vote() -> None:
    market = Market()
    huge = tx_pb2.TrainingNeeds(seconds=2**25, gpus=2**10, memory_mib=2**24)
    job_id = market.open_vote(needs=huge)
    p, tiny = market.params, market.params.classes[0]
    window = p.vote_window_ms + 3_000 * tiny.seconds + p.vote_image_ms_per_mib * tiny.image_mib
    assert market.job(job_id).deadline_ms == market.time_ms + window + p.vote_model_ms_per_mib
    more = market.terms(needs=tx_pb2.TrainingNeeds(seconds=2**25 + 1))
    assert refusal(market.send("carl", more)) == "bad_needs"


def test_f5_a_flood_of_jobs_jails_no_checker_that_still_votes() -> None:
    market = Market(overrides={"silence_ms": 12 * 3_600_000}, audited=False)
    jobs = [market.submit(expiry_ms=market.time_ms + 40_000) for _ in range(6)]
    for number, job_id in enumerate(jobs):
        market.announce(f"worker{number}", job_id, 0)
    open_reveal(market, jobs[0])
    market.block()  # one block opens five jobs at most
    for number, job_id in enumerate(jobs):
        market.reveal(f"worker{number}", job_id)
    market.decide_all(jobs[0], HONEST)
    while state(market, jobs[-1]) != "PAID":
        market.skip(4_000)
    for name in ("checker0", "checker1", "checker4"):
        assert market.standing(name).votes_missed == 5 > market.params.max_missed_votes
        assert market.account(name).checker_jailed_ms == 0


@pytest.mark.parametrize("found", [UNRUNNABLE, UNAVAILABLE, OVERRUN, measured(0, receipt=b"")])
def test_f6_findings_without_a_receipt_are_never_paid(found: Finding) -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide_all(job_id, found)
    assert {market.balance(name) for name in market.seats(job_id)} == {START}


def test_f6_silence_of_others_raises_nobodys_pay() -> None:
    market = Market()
    job_id = market.open_vote()
    votes = dict.fromkeys(list(market.seats(job_id))[:2], HONEST)
    market.decide(job_id, votes)
    assert outcome(market, job_id) == "ACCEPTED"
    assert {market.balance(name) - START for name in votes} == {3 * (FEE // 15)}


def test_f7_a_low_turnout_of_liars_does_not_ban() -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide(job_id, dict.fromkeys(list(market.seats(job_id))[:2], LIE))  # 6 of 15 seats, all of those revealed
    assert outcome(market, job_id) == "REJECTED"
    assert not market.account("worker0").banned


def test_f7_one_broken_checker_of_three_decides_nothing() -> None:
    three = {f"checker{i}": Holding(bond=100 * UCREDIT, checker=1) for i in range(3)}
    market = Market(checkers=three)
    job_id = market.open_vote()
    assert set(market.seats(job_id).values()) == {5}
    market.decide(job_id, {"checker0": LIE, "checker1": HONEST, "checker2": HONEST})
    assert outcome(market, job_id) == "ACCEPTED"


def test_f8_an_outage_renews_the_window_once() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.block(dt_ms=60_000)  # the whole REVEAL window falls into it
    assert state(market, job_id) == "REVEAL"
    market.reveal("worker0", job_id)
    votes = dict.fromkeys(market.seats(job_id), HONEST)
    market.commit_votes(job_id, votes)
    market.block(dt_ms=60_000)
    assert state(market, job_id) == "TALLY"
    market.reveal_votes(job_id, votes)
    assert (outcome(market, job_id), state(market, job_id)) == ("ACCEPTED", "PAID")


def test_f8_a_second_outage_renews_nothing() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.block(dt_ms=60_000)
    market.block(dt_ms=60_000)
    assert (outcome(market, job_id), state(market, job_id)) == ("DEFAULTED", "REFUNDED")


def test_f8_a_job_without_checkers_is_refused() -> None:
    market = Market(checkers={})
    assert refusal(market.send("carl", market.terms())) == "too_few_checkers"


def test_f9_a_secured_worker_is_not_locked_out_by_fresh_keys() -> None:
    market = Market()
    job_id = market.submit(runner_ups=1, free_places=1, deposit=FEE)
    for name in ("fresh0", "fresh1"):
        market.register(name)
    assert enter(market, "fresh0", job_id, LOWEST) == "ok"
    assert enter(market, "fresh1", job_id, LOWEST) == "would_not_rank"
    assert enter(market, "worker0", job_id, 7_000, secured=True) == "ok"
    market.expire(job_id)
    market.expire(job_id)  # the fresh key never delivers
    market.reveal("worker0", job_id)
    market.decide_all(job_id, measured(7_000))
    assert market.balance("worker0") == START + BOUNTY


def test_f9_limit_a_fresh_key_stops_two_jobs_of_the_default_kind_and_no_more() -> None:
    market = Market()
    market.register("fresh")
    jobs = [market.submit() for _ in range(3)]
    assert [enter(market, "fresh", job_id, LOWEST) for job_id in jobs] == ["ok", "ok", "too_many_unsecured"]
    assert enter(market, "worker0", jobs[0], 0) == "not_leading"
    while state(market, jobs[1]) != "REFUNDED":
        market.skip(4_000)
    assert market.balance("carl") == START - 2 * (BOUNTY * market.params.network_fee_bps // 10_000)
    assert market.standing("fresh").strikes == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tolerance": 0}, "bad_tolerance"),
        ({"tolerance": 999}, "bad_tolerance"),
        ({"ban_margin": 0}, "bad_ban_margin"),
        ({"ban_margin": 9_999}, "bad_ban_margin"),
        ({"min_improvement": 1_000}, "bad_min_improvement"),
    ],
)
def test_f10_margins_below_the_noise_are_refused(change: dict[str, Any], reason: str) -> None:
    market = Market()
    assert refusal(market.send("carl", market.terms(**change))) == reason


def test_f10_a_gain_inside_the_noise_is_no_lead() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 10_000)
    assert enter(market, "worker1", job_id, 10_000 - 1_000) == "not_leading"  # shaded by the whole tolerance
    assert enter(market, "worker1", job_id, 10_000 - 2_000) == "ok"


def test_f11_a_score_that_differs_between_checkers_does_not_ban() -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide(job_id, split(market, job_id, LIE, HONEST, 9))
    assert outcome(market, job_id) == "REJECTED"
    assert not market.account("worker0").banned


def test_f11_own_jobs_cost_the_network_fee_that_the_counter_shows() -> None:
    market = Market()
    job_id = market.open_vote()
    market.decide_all(job_id, HONEST)
    fee = BOUNTY * market.params.network_fee_bps // 10_000
    assert market.standing("carl").network_fees_paid == fee
    assert market.balance("carl") + market.balance("worker0") <= 2 * START - fee


def test_f12_limit_who_reads_the_labels_out_of_the_image_is_paid_like_anybody() -> None:
    """A table of the right answers is a model like any other: every honest checker measures the loss it announced."""
    market = Market()
    job_id = market.submit()
    market.announce("worker1", job_id, 50_000)  # trained for it
    market.announce("worker0", job_id, 0)  # unpacked the image instead
    market.expire(job_id)
    market.reveal("worker0", job_id)
    market.decide_all(job_id, measured(0))
    assert (outcome(market, job_id), state(market, job_id)) == ("ACCEPTED", "PAID")
    assert market.balance("worker0") == START + BOUNTY
    assert market.balance("worker1") == START
