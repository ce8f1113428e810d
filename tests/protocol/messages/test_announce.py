import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, limits
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.messages import HANDLERS
from tests.support.chain import Holding
from tests.support.market import CHECKERS, TERMS, Market, measured, name_of

STEP = TERMS["min_improvement"]
DEPOSIT = TERMS["verify_fee"]


@pytest.fixture
def market() -> Market:
    return Market()


def try_announce(market: Market, worker: str, job_id: int, loss: int, secured: bool = False) -> str:
    return name_of(market.send(worker, market.announcement(worker, job_id, loss, secured)).code)


def get_list(market: Market, job_id: int) -> list[tuple[str, int, int]]:
    """Return (worker, loss, ranked loss) in the order of the list."""
    names = {market.address(name): name for name in market.wallets}
    return [(names[c.account], c.loss, c.ranked_loss) for c in market.job(job_id).candidates]


def test_the_first_announcement_leads(market: Market) -> None:
    job_id = market.submit()
    result = market.announce("worker0", job_id, 500)
    job = market.job(job_id)
    (candidate,) = job.candidates
    assert (candidate.account, candidate.loss, candidate.ranked_loss) == (market.address("worker0"), 500, 500)
    assert (candidate.height, candidate.index, candidate.deposit) == (market.height, 0, 0)
    assert (job.announced, job.announcements) == (True, 1)
    standing = market.standing("worker0")
    assert (standing.candidacies, standing.unsecured_candidacies) == (1, 1)
    assert dict(result.events[0].attributes)["place"] == "0"


def test_a_work_key_may_announce() -> None:
    assert HANDLERS["announce"].WORK_SCOPE


def test_a_lower_loss_takes_the_only_place(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 10_000)
    market.announce("worker1", job_id, 10_000 - STEP)
    assert get_list(market, job_id) == [("worker1", 10_000 - STEP, 10_000 - STEP)]
    assert market.standing("worker0").candidacies == market.standing("worker0").unsecured_candidacies == 0
    assert market.job(job_id).announcements == 2


def test_invalid_not_leading(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 10_000)
    for loss in (20_000, 10_000, 10_000 - STEP + 1):
        assert try_announce(market, "worker1", job_id, loss) == "not_leading"


def test_the_leader_lowers_its_own_loss_by_any_amount(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 10_000)
    height = market.height
    market.announce("worker0", job_id, 9_999)
    assert get_list(market, job_id) == [("worker0", 9_999, 9_999)]
    assert market.job(job_id).candidates[0].height == height + 1
    assert market.standing("worker0").candidacies == 1


def test_a_lower_loss_takes_the_height_and_index_of_its_own_transaction(market: Market) -> None:
    """The index counts all transactions of the block, failed ones too."""
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, 50_000)
    fails = tx_pb2.Transfer(to=market.address("worker0"), amount=2**62)
    sent = [(worker, market.announcement(worker, job_id, 30_000)) for worker in ("worker1", "worker0")]
    codes = [result.code for result in market.block([("carl", fails), *sent]).tx_results]
    assert codes == [errors.InsufficientBalance.code, 0, 0]
    assert get_list(market, job_id) == [("worker1", 30_000, 30_000), ("worker0", 30_000, 30_000)]
    assert [(c.height, c.index) for c in market.job(job_id).candidates] == [(market.height, 1), (market.height, 2)]


def test_a_small_step_ranks_with_the_one_it_does_not_undercut(market: Market) -> None:
    job_id = market.submit(runner_ups=2)
    market.announce("worker0", job_id, 10_000)
    market.announce("worker1", job_id, 9_999)
    assert get_list(market, job_id) == [("worker0", 10_000, 10_000), ("worker1", 9_999, 10_000)]


def test_a_newcomer_pushes_the_last_one_out(market: Market) -> None:
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, 90_000)
    market.announce("worker1", job_id, 80_000)
    market.announce("worker2", job_id, 70_000)
    assert get_list(market, job_id) == [("worker2", 70_000, 70_000), ("worker1", 80_000, 80_000)]
    assert [market.standing(f"worker{n}").candidacies for n in range(3)] == [0, 1, 1]


def test_a_secured_announcement_locks_the_deposit_once(market: Market) -> None:
    job_id = market.submit(deposit=DEPOSIT)
    before = market.balance("worker0")
    market.announce("worker0", job_id, 10_000, secured=True)
    market.announce("worker0", job_id, 9_000, secured=True)
    assert before - market.balance("worker0") == market.supply().deposits == DEPOSIT
    assert market.job(job_id).candidates[0].deposit == DEPOSIT
    assert market.standing("worker0").unsecured_candidacies == 0


def test_who_is_secured_needs_no_second_deposit_to_lower_its_loss(market: Market) -> None:
    job_id = market.submit(deposit=DEPOSIT)
    market.announce("worker0", job_id, 10_000, secured=True)
    rest = market.balance("worker0") - (DEPOSIT - 1)
    market.must("worker0", tx_pb2.Transfer(to=market.address("carl"), amount=rest))
    market.announce("worker0", job_id, 9_000, secured=True)


def test_one_that_leaves_gets_its_deposit_back(market: Market) -> None:
    job_id = market.submit(deposit=DEPOSIT)
    before = market.balance("worker0")
    market.announce("worker0", job_id, 10_000, secured=True)
    market.announce("worker1", job_id, 5_000)
    assert market.balance("worker0") == before
    assert market.supply().deposits == 0


def test_an_unsecured_candidacy_can_be_secured_later(market: Market) -> None:
    job_id = market.submit(deposit=DEPOSIT)
    market.announce("worker0", job_id, 10_000)
    market.announce("worker0", job_id, 9_000, secured=True)
    standing = market.standing("worker0")
    assert (standing.candidacies, standing.unsecured_candidacies) == (1, 0)


def test_free_places_limit_the_unsecured_and_not_the_secured(market: Market) -> None:
    job_id = market.submit(runner_ups=2, deposit=DEPOSIT, free_places=1)
    market.announce("worker0", job_id, 90_000)
    market.announce("worker1", job_id, 80_000)
    assert get_list(market, job_id) == [("worker1", 80_000, 80_000)]
    market.announce("worker2", job_id, 85_000, secured=True)
    market.announce("worker3", job_id, 99_000, secured=True)
    assert [name for name, _, _ in get_list(market, job_id)] == ["worker1", "worker2", "worker3"]


def test_invalid_would_not_rank(market: Market) -> None:
    job_id = market.submit(runner_ups=1, deposit=DEPOSIT, free_places=1)
    market.announce("worker0", job_id, 10_000)
    assert try_announce(market, "worker1", job_id, 20_000) == "would_not_rank"
    market.announce("worker1", job_id, 20_000, secured=True)
    assert try_announce(market, "worker2", job_id, 30_000, secured=True) == "would_not_rank"
    assert market.balance("worker2") == 1_000 * UCREDIT


def test_invalid_would_not_rank_without_free_places(market: Market) -> None:
    job_id = market.submit(deposit=DEPOSIT, free_places=0)
    assert try_announce(market, "worker0", job_id, 0) == "would_not_rank"
    market.announce("worker0", job_id, 0, secured=True)


def test_invalid_bad_loss(market: Market) -> None:
    job_id = market.submit(loss_ceiling=100)
    for loss in (101, limits.MAX_LOSS + 1, -limits.MAX_LOSS - 1, limits.RESERVED_LOSS):
        assert try_announce(market, "worker0", job_id, loss) == "bad_loss"
    market.announce("worker0", job_id, 100)
    market.announce("worker1", job_id, -limits.MAX_LOSS)


def test_invalid_bad_commitment(market: Market) -> None:
    job_id = market.submit()
    message = tx_pb2.Announce(job_id=job_id, loss=0, commitment=b"c" * 31)
    assert market.send("worker0", message).code == errors.BadCommitment.code


def test_invalid_unknown_job(market: Market) -> None:
    assert try_announce(market, "worker0", 1, 0) == "unknown_job"


def test_invalid_job_not_open(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    assert try_announce(market, "worker1", job_id, -10_000) == "job_not_open"


def test_invalid_job_expired() -> None:
    """An announcement in the block of the expiry is too late, even while the transition waits in the queue."""
    market = Market(overrides={"max_due_per_block": 1})
    expiry_ms = market.time_ms + 10_000
    market.submit(expiry_ms=expiry_ms)
    waiting = market.submit(expiry_ms=expiry_ms)
    market.skip_to(expiry_ms - 1_000)
    assert try_announce(market, "worker0", waiting, 0) == "job_expired"


def test_an_announcement_just_before_the_expiry_counts(market: Market) -> None:
    job_id = market.submit()
    market.skip_to(market.job(job_id).deadline_ms - 1)
    market.block(dt_ms=0, txs=[("worker0", market.announcement("worker0", job_id, 0))])
    assert len(market.job(job_id).candidates) == 1


def test_invalid_own_job(market: Market) -> None:
    job_id = market.submit()
    assert try_announce(market, "carl", job_id, 0) == "own_job"


def test_invalid_account_suspended(market: Market) -> None:
    lost, other = market.submit(), market.submit(expiry_ms=market.time_ms + 300_000)
    market.announce("worker0", lost, 0)
    market.expire(lost)
    market.expire(lost)
    standing = market.standing("worker0")
    assert (standing.defaults, standing.strikes) == (1, 1)
    assert try_announce(market, "worker0", other, 0) == "account_suspended"
    market.skip_to(standing.suspended_until_ms - 1_000)
    assert try_announce(market, "worker0", other, 0) == "ok"


def test_invalid_not_securable(market: Market) -> None:
    job_id = market.submit()
    assert try_announce(market, "worker0", job_id, 0, secured=True) == "not_securable"


def test_invalid_secured_stays(market: Market) -> None:
    """Else a deposit could push others out and come back while the place is kept."""
    job_id = market.submit(deposit=DEPOSIT)
    market.announce("worker0", job_id, 10_000, secured=True)
    assert try_announce(market, "worker0", job_id, 9_000) == "secured_stays"


@pytest.mark.parametrize("loss", [10_000, 10_001])
def test_invalid_not_improved(market: Market, loss: int) -> None:
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, 10_000)
    assert try_announce(market, "worker0", job_id, loss) == "not_improved"


def test_invalid_too_many_unsecured(market: Market) -> None:
    jobs = [market.submit(deposit=DEPOSIT) for _ in range(3)]
    for job_id in jobs[:2]:
        market.announce("worker0", job_id, 0)
    assert try_announce(market, "worker0", jobs[2], 0) == "too_many_unsecured"
    market.announce("worker0", jobs[0], -1)
    market.announce("worker0", jobs[2], 0, secured=True)


def test_a_win_gives_one_more_unsecured_candidacy(market: Market) -> None:
    market.decide_all(market.open_vote("worker0"), measured(0))
    assert market.standing("worker0").wins == 1
    jobs = [market.submit() for _ in range(4)]
    for job_id in jobs[:3]:
        market.announce("worker0", job_id, 0)
    assert try_announce(market, "worker0", jobs[3], 0) == "too_many_unsecured"


def test_invalid_too_many_candidacies() -> None:
    market = Market(overrides={"max_open_jobs": 100, "tx_burst": 1_000})
    expiry_ms = market.time_ms + 400_000
    fee = market.params.classes[0].min_verify_fee
    terms = {"bounty": UCREDIT, "verify_fee": fee, "deposit": fee, "expiry_ms": expiry_ms}
    market.block([("carl", market.terms(**terms)) for _ in range(65)])
    market.block([("worker0", market.announcement("worker0", n, 0, secured=True)) for n in range(1, 65)])
    assert market.standing("worker0").candidacies == 64
    assert try_announce(market, "worker0", 65, 0, secured=True) == "too_many_candidacies"
    market.announce("worker0", 64, -1, secured=True)
    market.announce("worker1", 64, -10_000)
    assert try_announce(market, "worker0", 65, 0, secured=True) == "ok"


def test_invalid_insufficient_balance() -> None:
    market = Market(checkers={**CHECKERS, "poor": Holding(balance=DEPOSIT - 1)})
    job_id = market.submit(deposit=DEPOSIT)
    assert try_announce(market, "poor", job_id, 0, secured=True) == "insufficient_balance"
    assert try_announce(market, "poor", job_id, 0) == "ok"


def test_invalid_no_checkers_left() -> None:
    """The last eligible account cannot become a candidate: nobody would be left to check anybody."""
    two = {name: CHECKERS[name] for name in ("checker0", "checker1")}
    market = Market(checkers=two)
    job_id = market.submit(runner_ups=2)
    market.announce("checker0", job_id, 10_000)
    assert try_announce(market, "checker1", job_id, 5_000) == "no_checkers_left"
    market.announce("worker0", job_id, 5_000)
    single = market.submit()
    market.announce("checker0", single, 10_000)
    market.announce("checker1", single, 5_000)


def test_invalid_no_checkers_left_in_the_class() -> None:
    """Checkers of a lower class cannot stand in for the last one of the job's class."""
    market = Market(checkers={"checker0": CHECKERS["checker0"], "small": Holding(bond=100 * UCREDIT, checker=1)})
    job_id = market.submit(job_class=1)
    assert try_announce(market, "checker0", job_id, 0) == "no_checkers_left"
    market.announce("small", job_id, 0)


def test_the_earlier_announcement_stays_ahead_on_a_tie_within_one_block(market: Market) -> None:
    job_id = market.submit(runner_ups=1)
    txs = [(name, market.announcement(name, job_id, 7_000)) for name in ("worker1", "worker0")]
    market.block(txs)
    assert [name for name, _, _ in get_list(market, job_id)] == ["worker1", "worker0"]
    assert [candidate.index for candidate in market.job(job_id).candidates] == [0, 1]
