from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, limits
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.messages import HANDLERS
from tests.support.chain import Holding
from tests.support.market import CHECKERS, IMAGE, JOB_MS, TERMS, Market

HEX = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def market() -> Market:
    """A chain that the refusals share: a refused message changes nothing but nonce and quota."""
    return Market(overrides={"tx_burst": 1_000})


def refuse(market: Market, error: type[errors.TxError], contractor: str = "carl", **terms: Any) -> None:
    counters = market.get(b"cn", pb.Counters)
    balance = market.balance(contractor)
    assert market.send(contractor, market.terms(**terms)).code == error.code
    assert (market.balance(contractor), market.get(b"cn", pb.Counters)) == (balance, counters)


def accept(market: Market, **terms: Any) -> None:
    """Submit successfully, then cancel, so that the shared market stays as it is."""
    market.must("carl", tx_pb2.CancelJob(job_id=market.submit(**terms)))


def test_a_job_locks_bounty_verify_fees_and_network_fee(market: Market) -> None:
    before = market.balance("carl")
    needs = tx_pb2.TrainingNeeds(milli_cpus=1_000, accelerator="any")
    job_id = market.submit(runner_ups=2, needs=needs, eval_image=IMAGE)
    job = market.job(job_id)
    network_fee = TERMS["bounty"] * market.params.network_fee_bps // 10_000
    assert network_fee > 0
    assert job.escrow == TERMS["bounty"] + 3 * TERMS["verify_fee"] + network_fee == before - market.balance("carl")
    assert (job.state, job.bounty, job.network_fee) == (pb.JOB_STATE_OPEN, TERMS["bounty"], network_fee)
    assert (job.contractor, job.terms.needs) == (market.address("carl"), needs)
    assert job.deadline_ms == job.terms.expiry_ms
    assert (job.submitted_ms, job.submitted_height) == (market.time_ms, market.height)
    assert market.supply().escrow == job.escrow
    market.must("carl", tx_pb2.CancelJob(job_id=job_id))


def test_ids_are_counted_from_one_and_the_contractor_is_counted() -> None:
    market = Market()
    assert [market.submit(), market.submit(), market.submit()] == [1, 2, 3]
    assert (market.standing("carl").jobs_posted, market.standing("carl").open_jobs) == (3, 3)


def test_a_work_key_cannot_submit_a_job() -> None:
    assert not HANDLERS["submit_job"].WORK_SCOPE


@pytest.mark.parametrize(
    "image",
    [
        "",
        "registry.example/job",
        "registry.example/job:latest",
        "@sha256:" + HEX,
        "job@sha256:" + HEX[:-1],
        "job@sha256:" + HEX + "0",
        "job@sha256:" + HEX.upper(),
        "job@sha512:" + HEX,
        "job\n@sha256:" + HEX,
        "j" * (512 - 72 + 1) + "@sha256:" + HEX,
    ],
)
def test_invalid_bad_image(market: Market, image: str) -> None:
    refuse(market, errors.BadImage, image=image)
    if image:
        refuse(market, errors.BadImage, eval_image=image)


def test_an_image_reference_of_512_bytes_is_accepted(market: Market) -> None:
    accept(market, image="j" * (512 - 72 + 1 - 1) + "@sha256:" + HEX)


@pytest.mark.parametrize("field", ["title", "about", "metric"])
def test_invalid_bad_text(market: Market, field: str) -> None:
    longest = {"title": 128, "about": 512, "metric": 32}[field]
    refuse(market, errors.BadText, **{field: "x" * (longest + 1)})
    refuse(market, errors.BadText, **{field: "ä" * (longest // 2) + "x"})
    refuse(market, errors.BadText, **{field: "a\x7fb"})
    refuse(market, errors.BadText, **{field: "a\x00b"})
    accept(market, **{field: "ä" * (longest // 2)})


def test_invalid_bad_text_of_the_accelerator(market: Market) -> None:
    refuse(market, errors.BadText, needs=tx_pb2.TrainingNeeds(accelerator="x" * 33))


@pytest.mark.parametrize("bounty", [0, UCREDIT - 1, 2**63, 2**64 - 1])
def test_invalid_bad_bounty(market: Market, bounty: int) -> None:
    refuse(market, errors.BadBounty, bounty=bounty)


def test_the_largest_bounty_is_one_that_nobody_has(market: Market) -> None:
    refuse(market, errors.InsufficientBalance, bounty=2**63 - 1)


@pytest.mark.parametrize("job_class", [2, 2**64 - 1])
def test_invalid_unknown_class(market: Market, job_class: int) -> None:
    refuse(market, errors.UnknownClass, job_class=job_class)


def test_invalid_bad_verify_fee(market: Market) -> None:
    least = market.params.classes[0].min_verify_fee
    refuse(market, errors.BadVerifyFee, verify_fee=least - 1)
    refuse(market, errors.BadVerifyFee, verify_fee=limits.MAX_VERIFY_FEE + 1)
    refuse(market, errors.InsufficientBalance, verify_fee=limits.MAX_VERIFY_FEE)
    accept(market, verify_fee=least)


def test_invalid_bad_deposit(market: Market) -> None:
    fee, bounty = TERMS["verify_fee"], TERMS["bounty"]
    refuse(market, errors.BadDeposit, deposit=1)
    refuse(market, errors.BadDeposit, deposit=fee - 1)
    refuse(market, errors.BadDeposit, deposit=bounty + 1)
    accept(market, deposit=fee)
    accept(market, deposit=bounty)


def test_invalid_bad_runner_ups(market: Market) -> None:
    refuse(market, errors.BadRunnerUps, runner_ups=5)
    refuse(market, errors.BadRunnerUps, runner_ups=2**64 - 1, free_places=0)
    accept(market, runner_ups=4)


def test_invalid_bad_free_places(market: Market) -> None:
    deposit = TERMS["verify_fee"]
    refuse(market, errors.BadFreePlaces, runner_ups=1, deposit=deposit, free_places=3)
    refuse(market, errors.BadFreePlaces, runner_ups=1, free_places=1)
    refuse(market, errors.BadFreePlaces, free_places=0)
    accept(market, runner_ups=1, deposit=deposit, free_places=0)


def test_invalid_bad_expiry(market: Market) -> None:
    params = market.params
    next_ms = market.time_ms + 1_000
    refuse(market, errors.BadExpiry, expiry_ms=next_ms + params.min_job_ms - 1)
    refuse(market, errors.BadExpiry, expiry_ms=market.time_ms + 1_000 + params.max_job_ms + 1)
    refuse(market, errors.BadExpiry, expiry_ms=0)
    refuse(market, errors.BadExpiry, expiry_ms=2**64 - 1)
    accept(market, expiry_ms=market.time_ms + 1_000 + params.min_job_ms)
    accept(market, expiry_ms=market.time_ms + 1_000 + params.max_job_ms)


def test_invalid_bad_reveal_window(market: Market) -> None:
    refuse(market, errors.BadRevealWindow, reveal_window_ms=market.params.min_reveal_window_ms - 1)
    refuse(market, errors.BadRevealWindow, reveal_window_ms=market.params.max_reveal_window_ms + 1)
    accept(market, reveal_window_ms=market.params.max_reveal_window_ms)


def test_invalid_bad_tolerance(market: Market) -> None:
    refuse(market, errors.BadTolerance, tolerance=market.params.min_tolerance - 1)
    refuse(market, errors.BadTolerance, tolerance=limits.MAX_MARGIN + 1)


def test_invalid_bad_ban_margin(market: Market) -> None:
    refuse(market, errors.BadBanMargin, ban_margin=10 * TERMS["tolerance"] - 1)
    refuse(market, errors.BadBanMargin, ban_margin=limits.MAX_MARGIN + 1)
    refuse(market, errors.BadBanMargin, tolerance=limits.MAX_MARGIN)
    accept(market, ban_margin=10 * TERMS["tolerance"])
    accept(market, ban_margin=limits.MAX_MARGIN)


def test_invalid_bad_min_improvement(market: Market) -> None:
    refuse(market, errors.BadMinImprovement, min_improvement=TERMS["tolerance"])
    refuse(market, errors.BadMinImprovement, min_improvement=limits.MAX_MARGIN + 1)
    accept(market, min_improvement=TERMS["tolerance"] + 1)
    accept(market, min_improvement=limits.MAX_MARGIN)


def test_invalid_bad_loss_ceiling(market: Market) -> None:
    refuse(market, errors.BadLossCeiling, loss_ceiling=limits.MAX_LOSS + 1)
    refuse(market, errors.BadLossCeiling, loss_ceiling=-limits.MAX_LOSS - 1)
    for ceiling in (-limits.MAX_LOSS, limits.MAX_LOSS):
        accept(market, loss_ceiling=ceiling)


@pytest.mark.parametrize(
    ("field", "bound"),
    [
        ("milli_cpus", 2**20),
        ("memory_mib", 2**24),
        ("disk_mib", 2**24),
        ("gpus", 2**10),
        ("gpu_memory_mib", 2**20),
        ("seconds", 2**25),
    ],
)
def test_invalid_bad_needs(market: Market, field: str, bound: int) -> None:
    needs = tx_pb2.TrainingNeeds()
    setattr(needs, field, bound + 1)
    refuse(market, errors.BadNeeds, needs=needs)
    setattr(needs, field, bound)
    accept(market, needs=needs)


def test_invalid_too_many_open_jobs() -> None:
    market = Market(overrides={"max_open_jobs": 2})
    first = market.submit()
    market.submit()
    refuse(market, errors.TooManyOpenJobs)
    market.must("carl", tx_pb2.CancelJob(job_id=first))
    market.submit()


def test_invalid_insufficient_balance() -> None:
    market = Market()
    escrow = 999 * UCREDIT + 999 * UCREDIT // 50 + TERMS["verify_fee"]
    assert escrow > market.balance("carl")
    refuse(market, errors.InsufficientBalance, bounty=999 * UCREDIT)
    bounty = (1_000 * UCREDIT - TERMS["verify_fee"]) * 50 // 51
    market.submit(bounty=bounty)
    assert market.balance("carl") < 51


def test_invalid_too_few_checkers_when_nobody_checks() -> None:
    refuse(Market(checkers={}), errors.TooFewCheckers)


def test_invalid_too_few_checkers_when_the_class_holds_less_than_a_third() -> None:
    """One account with a little bond must not become the whole jury of a class that nobody else evaluates."""
    small = {"big": Holding(bond=200 * UCREDIT + 1, checker=1), "alone": Holding(bond=100 * UCREDIT, checker=2)}
    market = Market(checkers=small)
    refuse(market, errors.TooFewCheckers, job_class=1)
    market.submit()
    enough = {"big": Holding(bond=200 * UCREDIT, checker=1), "alone": Holding(bond=100 * UCREDIT, checker=2)}
    Market(checkers=enough).submit(job_class=1)


def test_invalid_too_few_checkers_when_the_contractor_holds_the_bond() -> None:
    checkers = {"rich": Holding(bond=400 * UCREDIT, checker=2), "other": Holding(bond=199 * UCREDIT, checker=2)}
    market = Market(checkers=checkers)
    refuse(market, errors.TooFewCheckers, contractor="rich")
    market.submit()


def test_the_default_terms_of_these_tests_are_valid(market: Market) -> None:
    accept(market, expiry_ms=market.time_ms + JOB_MS)
    assert len(CHECKERS) == 5
