"""Second review, R10 to R17: outages, bad days, spam, deliveries, keys, and gaps of one sentence each.

| finding | tests test_r… |
|---|---|
| R10 outages that hurt, outages that are made | r10_a_gap_early_in_the_window_renews_it_too, |
| | r10_unbondings_delay_no_job, r10_dust_does_not_unbond |
| R11 one bad day suspends for decades | r11_many_defaults_at_once_are_one_strike |
| R12 holes of the sandbox | sandbox, see test_findings.py |
| R13 spam for ever | r13_poor_accounts_have_a_quarter_of_the_mempool, r13_junk_reveals_do_not_come_first |
| R14 deliveries in time | r14_the_vote_window_grows_with_image_and_model |
| R15 saturated checkers | r15_limit_silence_of_the_committee_pays_after_one_renewal |
| R16 work keys and funds | r16_a_work_key_moves_no_credits, r16_limit_a_stolen_work_key_can_burn_… |
| R17.1 bans and lists | r17_1_a_ban_leaves_lists_and_passes_its_turn_on |
| R17.2 who may vote | r17_2_who_holds_a_seat_votes_unless_banned |
| R17.3 tables are kept | r17_3_the_table_of_a_running_job_is_kept |
| R17.4 loss ceiling | r17_4_the_ceiling_holds |
| R17.5 no way back | r17_5_nothing_withdraws_a_candidacy, r17_5_under_a_decoy_… |
| R17.6 new checkers | r17_6_a_new_checker_is_not_jailed_at_once_and_unjail_clears_the_count |
| R17.7 strict votes | r17_7_votes_are_revealed_in_the_tally_only, r17_7_findings_without_a_run_carry_nothing |
| R17.8 a new account | r17_8_a_new_account_starts_full_and_waits_a_block |
| R17.9 the last validator | r17_9_the_last_validator_stays |
"""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.errors import PoorPlacesTaken
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.mempool import CheckState, check_tx
from abci_app.protocol.proposal import prepare_proposal
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache
from tests.attacks.scenes import HONEST, LIE, LOWEST, START, ban, enter, open_reveal, outcome, refusal, state, unbond
from tests.support.chain import Holding
from tests.support.market import CHECKERS, OVERRUN, TERMS, UNAVAILABLE, Finding, Market
from tests.support.wallets import Wallet

FEE, BOUNTY = TERMS["verify_fee"], TERMS["bounty"]
VICTIM = "val0"


@pytest.fixture
def market() -> Market:
    return Market(checkers={**CHECKERS, VICTIM: Holding()})


def test_r10_a_gap_early_in_the_window_renews_it_too(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.block(dt_ms=market.params.outage_ms + 1)
    market.skip_to(market.job(job_id).deadline_ms)  # processed on time
    assert state(market, job_id) == "REVEAL"
    assert market.job(job_id).deadline_ms == market.time_ms + TERMS["reveal_window_ms"]


def test_r10_a_gap_of_just_the_limit_is_no_outage(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.block(dt_ms=market.params.outage_ms)
    market.skip_to(market.job(job_id).deadline_ms)
    assert state(market, job_id) == "REFUNDED"


def test_r10_unbondings_delay_no_job() -> None:
    market = Market(audited=False)
    due = market.time_ms + 1_000 + market.params.unbonding_ms
    job_id = market.submit(expiry_ms=due)
    market.announce("worker0", job_id, 0)
    names = [f"checker{number}" for number in range(5)]
    market.block([(name, unbond(UCREDIT)) for name in names for _ in range(8)])
    assert refusal(market.send("checker0", unbond(UCREDIT))) == "too_many_unbondings"
    market.skip_to(due + 2_000)
    assert state(market, job_id) == "REVEAL"
    assert sum(len(market.account(name).unbonding) for name in names) > 0  # they wait for their own cap


def test_r10_dust_does_not_unbond(market: Market) -> None:
    assert refusal(market.send("checker0", unbond(UCREDIT - 1))) == "bad_bond_amount"
    assert refusal(market.send("worker0", tx_pb2.Bond(amount=1))) == "bad_bond_amount"


def test_r11_many_defaults_at_once_are_one_strike() -> None:
    market = Market(audited=False)
    for _ in range(8):
        job_id = market.submit(deposit=FEE, free_places=0, expiry_ms=market.time_ms + 40_000)
        market.announce("worker0", job_id, 0, secured=True)
    while state(market, 8) != "REFUNDED":
        market.skip(4_000)
    standing = market.standing("worker0")
    assert (standing.defaults, standing.strikes) == (8, 1)
    assert standing.suspended_until_ms <= market.time_ms + market.params.suspension_ms


def test_r13_poor_accounts_have_a_quarter_of_the_mempool(market: Market) -> None:
    for number in range(3):
        market.register(f"sybil{number}")
    check = CheckState(market.committed, next_context(market), 8)
    spam = [market.sign(f"sybil{number}", tx_pb2.SetProfile(name="spam")) for number in range(3)]
    for tx in spam[:2]:
        check_tx(check, market.cache, tx)
    with pytest.raises(PoorPlacesTaken):
        check_tx(check, market.cache, spam[2])
    check_tx(check, market.cache, market.sign("worker0", tx_pb2.SetProfile(name="paying")))


def next_context(market: Market) -> BlockContext:
    return BlockContext(market.tag, market.params, market.height + 1, market.time_ms)


def test_r13_junk_reveals_do_not_come_first(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.register("sybil")
    junk = market.sign("sybil", market.revelation("sybil", job_id))
    other = market.sign("worker1", tx_pb2.SetProfile(name="announcing elsewhere"))
    reveal = market.sign("worker0", market.revelation("worker0", job_id))
    overlay = BlockState(market.committed)
    block = prepare_proposal(overlay, next_context(market), TxCache(), [junk, other, reveal], 2**20)
    assert block == [reveal, other, junk]


@pytest.mark.parametrize("mib", [1, 3, 4])
def test_r14_the_vote_window_grows_with_image_and_model(market: Market, mib: int) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    market.must("worker0", market.revelation("worker0", job_id, size=mib * 2**20 - 1))
    p, tiny = market.params, market.params.classes[0]
    fixed = p.vote_window_ms + 3_000 * tiny.seconds + p.vote_image_ms_per_mib * tiny.image_mib
    assert market.job(job_id).deadline_ms == market.time_ms + fixed + mib * p.vote_model_ms_per_mib


def test_r14_a_model_above_the_class_cannot_be_revealed(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    assert (
        refusal(market.send("worker0", market.revelation("worker0", job_id, size=4 * 2**20 + 1))) == "model_too_large"
    )


def test_r15_limit_silence_of_the_committee_pays_after_one_renewal(market: Market) -> None:
    job_id = market.open_vote(loss=LOWEST)
    first = market.job(job_id).deadline_ms
    market.skip_to(first)
    assert (state(market, job_id), market.job(job_id).renewed) == ("VOTE", True)
    market.expire(job_id)
    assert (outcome(market, job_id), state(market, job_id)) == ("UNVERIFIED", "PAID")
    assert market.standing("worker0").wins == 0
    assert market.balance("worker0") == START + BOUNTY


def add_work_key(market: Market, name: str) -> Wallet:
    """Give an account a work key and return it."""
    key = Wallet(f"work key of {name}", owner=market.address(name))
    proof = key.prove_for(market.tag, key.address)
    market.must(name, tx_pb2.SetKey(public_key=key.public_key, proof=proof, scope=tx_pb2.KEY_SCOPE_WORK))
    return key


def test_r16_a_work_key_moves_no_credits(market: Market) -> None:
    key = add_work_key(market, "worker0")
    own = market.wallet("worker0")
    moves = [
        tx_pb2.Transfer(to=market.address("carl"), amount=1),
        tx_pb2.Bond(amount=UCREDIT),
        tx_pb2.Unbond(amount=UCREDIT),
        market.terms(),
        tx_pb2.RaiseBounty(job_id=1, amount=1),
        tx_pb2.SetChecker(enabled=True),
        tx_pb2.SetKey(public_key=own.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED),
    ]
    assert {refusal(market.send(key, message)) for message in moves} == {"scope_too_small"}


def test_r16_limit_a_stolen_work_key_can_burn_what_its_account_holds(market: Market) -> None:
    key = add_work_key(market, "worker0")
    job_id = market.submit()
    market.must(key, market.announcement("worker0", job_id, LOWEST))
    market.expire(job_id)
    market.must(key, market.revelation("worker0", job_id))
    market.decide_all(job_id, LIE)
    assert (market.account("worker0").banned, market.balance("worker0")) == (True, 0)


def test_r17_1_a_ban_leaves_lists_and_passes_its_turn_on(market: Market) -> None:
    first, second = market.submit(runner_ups=1), market.submit(runner_ups=1)
    for job_id, order in ((first, (VICTIM, "worker0")), (second, ("worker0", VICTIM))):
        for place, name in enumerate(order):
            market.announce(name, job_id, place * 10_000)
    market.expire(second)
    ban(market, VICTIM)
    for job_id, number in ((first, 1), (second, 0)):
        job = market.job(job_id)
        assert (state(market, job_id), job.round) == ("REVEAL", number)
        assert [candidate.account for candidate in job.candidates] == [market.address("worker0")]
    assert market.job(first).deadline_ms == market.time_ms + TERMS["reveal_window_ms"]


def test_r17_2_who_holds_a_seat_votes_unless_banned() -> None:
    market = Market(checkers={**CHECKERS, VICTIM: Holding(checker=2)})
    job_id = market.open_vote()
    market.must("checker0", tx_pb2.Unbond(amount=100 * UCREDIT))
    market.must("checker1", tx_pb2.SetChecker(enabled=False))
    ban(market, VICTIM)
    assert refusal(market.send(VICTIM, market.commitment(VICTIM, job_id, HONEST))) == "account_banned"
    votes = {name: HONEST for name in market.seats(job_id) if name != VICTIM}
    market.commit_votes(job_id, votes)
    assert state(market, job_id) == "TALLY"  # VOTE does not wait for the banned one
    market.reveal_votes(job_id, votes)
    assert market.round(job_id).outcome


def test_r17_3_the_table_of_a_running_job_is_kept(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    open_reveal(market, job_id)
    epoch = market.job(job_id).table_epoch
    market.must("checker0", unbond(50 * UCREDIT))
    while market.table().epoch == epoch:
        market.block()
    assert market.committed.get(keys.checker_table(epoch)) is not None
    market.expire(job_id)
    assert state(market, job_id) == "REFUNDED"
    assert market.committed.get(keys.checker_table(epoch)) is None


def test_r17_4_the_ceiling_holds(market: Market) -> None:
    job_id = market.submit(loss_ceiling=50_000)
    assert enter(market, "worker0", job_id, 50_001) == "bad_loss"
    assert enter(market, "worker0", job_id, 50_000) == "ok"


def test_r17_5_nothing_withdraws_a_candidacy(market: Market) -> None:
    kinds = {field.name for field in tx_pb2.TxBody.DESCRIPTOR.oneofs[0].fields}
    assert not [kind for kind in kinds if "withdraw" in kind]
    job_id = market.submit()
    market.announce("worker0", job_id, LOWEST)
    assert refusal(market.send("carl", tx_pb2.CancelJob(job_id=job_id))) == "job_has_announcements"
    assert enter(market, "worker0", job_id, 0) == "not_improved"


def test_r17_5_under_a_decoy_runner_ups_still_undercut_by_the_minimum(market: Market) -> None:
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, LOWEST)
    market.announce("worker1", job_id, 50_000)
    assert enter(market, "worker2", job_id, 50_000) == "would_not_rank"
    assert enter(market, "worker2", job_id, 49_999) == "would_not_rank"  # ranks with worker1, after it
    assert enter(market, "worker2", job_id, 48_000) == "ok"


def test_r17_6_a_new_checker_is_not_jailed_at_once_and_unjail_clears_the_count() -> None:
    market = Market(checkers={"checker0": CHECKERS["checker0"], "checker1": CHECKERS["checker1"]}, audited=False)
    market.must("checker1", tx_pb2.SetChecker(enabled=True, highest_class=1))
    market.skip(market.params.silence_ms)
    market.must("checker1", tx_pb2.SetChecker(enabled=True, highest_class=1))  # silence counts from here
    seen = miss_rounds(market, market.params.max_missed_votes)
    assert seen == market.params.max_missed_votes
    assert market.account("checker1").checker_jailed_ms == 0
    market.skip(market.params.silence_ms)
    miss_rounds(market, 1)
    assert market.account("checker1").checker_jailed_ms > 0
    market.skip(market.params.unjail_ms)
    market.must("checker1", tx_pb2.Unjail())
    assert market.standing("checker1").missed_in_a_row == 0


def miss_rounds(market: Market, rounds: int) -> int:
    """Let checker0 alone vote in some rounds at once; return how many rounds checker1 has missed in a row."""
    jobs = [market.submit(bounty=UCREDIT, expiry_ms=market.time_ms + 10_000) for _ in range(rounds)]
    for number, job_id in enumerate(jobs):
        market.announce(f"worker{number}", job_id, 0)
    for job_id in jobs:
        market.expire(job_id)
    for number, job_id in enumerate(jobs):
        market.reveal(f"worker{number}", job_id)
    for job_id in jobs:
        market.commit_votes(job_id, {"checker0": HONEST})
    for job_id in jobs:
        while state(market, job_id) == "VOTE":
            market.expire(job_id)
        market.reveal_votes(job_id, {"checker0": HONEST})
    return market.standing("checker1").missed_in_a_row


def test_r17_7_votes_are_revealed_in_the_tally_only(market: Market) -> None:
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    market.commit_votes(job_id, {name: HONEST})
    assert refusal(market.send(name, market.vote(job_id, HONEST))) == "not_in_tally"


@pytest.mark.parametrize("found", [UNAVAILABLE, OVERRUN])
def test_r17_7_findings_without_a_run_carry_nothing(market: Market, found: Finding) -> None:
    job_id = market.open_vote()
    names = list(market.seats(job_id))
    wrong = Finding(found.finding, loss=5, receipt=b"")
    market.commit_votes(job_id, dict.fromkeys(names, wrong))
    assert refusal(market.send(names[0], market.vote(job_id, wrong))) == "bad_vote"
    assert refusal(market.send("carl", tx_pb2.RaiseBounty(job_id=job_id, amount=1))) == "job_not_open"


def test_r17_8_a_new_account_starts_full_and_waits_a_block(market: Market) -> None:
    register = market.sign_register("newcomer")
    early = market.sign("newcomer", tx_pb2.SetProfile(name="early"), nonce=1)
    assert [refusal(tx) for tx in market.block([register, early]).tx_results] == ["ok", "fresh_account"]
    sent = [market.sign("newcomer", tx_pb2.SetProfile(name="now")) for _ in range(market.params.poor_burst)]
    assert {refusal(tx) for tx in market.block(sent).tx_results} == {"ok"}


def test_r17_9_the_last_validator_stays(market: Market) -> None:
    power = market.validator_power(VICTIM)
    ban(market, VICTIM)
    assert market.account(VICTIM).bond == 0
    market.skip(8_000)
    assert market.validator_power(VICTIM) == power > 0
