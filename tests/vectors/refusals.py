"""A second life of a chain: every error of a message that the first one (scenario.py) does not show."""

from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import MAX_ACTIVE_KEYS, MAX_CANDIDACIES, MAX_UNBONDINGS, UCREDIT
from tests.support.chain import Holding
from tests.support.market import JOB_MS, TERMS, UNAVAILABLE, Finding, measured
from tests.support.wallets import Wallet
from tests.vectors.scenario import RecordedMarket

CHECKERS: Final = {
    "checker0": Holding(bond=300 * UCREDIT, checker=2),  # too much for a job of its own: the others hold a quarter
    "checker1": Holding(bond=50 * UCREDIT, checker=2),
    "checker2": Holding(bond=50 * UCREDIT, checker=2),
}
OVERRIDES: Final = {"max_due_per_block": 1, "max_open_jobs": MAX_CANDIDACIES + 1, "tx_burst": 1_000}
DEPOSIT: Final = TERMS["verify_fee"]
LONG_MS: Final = 400_000

Entry = tuple[str, Any, int]


def play_refusals() -> RecordedMarket:
    """Play all of it."""
    market = RecordedMarket(CHECKERS, OVERRIDES)
    _keys(market)
    _terms(market)
    _jobs(market)
    _announcements(market)
    _reveal_and_votes(market)
    _bonds(market)
    _late(market)
    _many(market)
    return market


def refused(error: type[errors.TxError], sender: Wallet | str, message: Any, how: str = "") -> Entry:
    """Return a transaction that fails for this reason."""
    return (f"{error.name}: {how}" if how else error.name, (sender, message), error.code)


def done(note: str, sender: Wallet | str, message: Any) -> Entry:
    """Return a transaction that succeeds, on which others stand."""
    return note, (sender, message), 0


def _keys(market: RecordedMarket) -> None:
    def add(wallet: Wallet, **changed: Any) -> tx_pb2.SetKey:
        proof = wallet.prove_for(market.tag, market.address("carl"))
        base = {"public_key": wallet.public_key, "proof": proof, "scope": tx_pb2.KEY_SCOPE_WORK}
        return tx_pb2.SetKey(**{**base, **changed})

    second, removed = Wallet("second key"), {"scope": tx_pb2.KEY_SCOPE_REMOVED, "proof": b""}
    market.expect(
        [
            refused(errors.BadText, "carl", tx_pb2.SetProfile(name="a\nb"), "a control byte"),
            refused(errors.BadKey, "carl", add(second, public_key=b"k" * 31), "31 bytes"),
            refused(errors.BadKeyProof, "carl", add(second, proof=bytes(64))),
            refused(errors.KeyTaken, "carl", add(market.wallet("worker0"))),
            refused(errors.BadScope, "carl", add(second, scope=tx_pb2.KEY_SCOPE_UNSPECIFIED)),
            refused(errors.LastOwnerKey, "carl", add(market.wallet("carl"), **removed)),
            refused(errors.KeyNotPresent, "carl", add(second, **removed)),
            refused(errors.BadKeyExpiry, "carl", add(second, expires_at_ms=1), "in the past"),
        ]
    )
    adding = [done("set_key", "carl", add(Wallet(f"key {number}"))) for number in range(MAX_ACTIVE_KEYS - 1)]
    market.expect([*adding, refused(errors.TooManyKeys, "carl", add(second))])


def _terms(market: RecordedMarket) -> None:
    wrong: list[tuple[type[errors.TxError], dict[str, Any]]] = [
        (errors.BadImage, {"image": "registry.example/job:1"}),
        (errors.BadBounty, {"bounty": 1}),
        (errors.UnknownClass, {"job_class": 9}),
        (errors.BadVerifyFee, {"verify_fee": 0}),
        (errors.BadDeposit, {"deposit": 1}),
        (errors.BadRunnerUps, {"runner_ups": 5}),
        (errors.BadFreePlaces, {"free_places": 0}),
        (errors.BadExpiry, {"expiry_ms": 0}),
        (errors.BadRevealWindow, {"reveal_window_ms": 0}),
        (errors.BadTolerance, {"tolerance": 0}),
        (errors.BadBanMargin, {"ban_margin": 0}),
        (errors.BadMinImprovement, {"min_improvement": 0}),
        (errors.BadLossCeiling, {"loss_ceiling": 2**62 + 1}),
        (errors.BadNeeds, {"needs": tx_pb2.TrainingNeeds(gpus=1_025)}),
    ]
    entries = [refused(error, "carl", market.terms(**fields), next(iter(fields))) for error, fields in wrong]
    market.expect([*entries, refused(errors.TooFewCheckers, "checker0", market.terms())])


def _jobs(market: RecordedMarket) -> None:
    """Job 1 stays open with an announcement, job 2 is cancelled."""
    one, two = market.terms(expiry_ms=market.time_ms + LONG_MS), market.terms()
    market.expect([done("submit_job", "carl", one), done("submit_job", "carl", two)])
    market.expect(
        [
            refused(errors.UnknownJob, "carl", tx_pb2.CancelJob(job_id=99)),
            refused(errors.NotContractor, "worker0", tx_pb2.CancelJob(job_id=1)),
            done("cancel_job", "carl", tx_pb2.CancelJob(job_id=2)),
            refused(errors.JobNotOpen, "carl", tx_pb2.CancelJob(job_id=2)),
            done("announce", "worker1", market.announcement("worker1", 1, 10_000)),
            refused(errors.JobHasAnnouncements, "carl", tx_pb2.CancelJob(job_id=1)),
        ]
    )


def _announcements(market: RecordedMarket) -> None:
    """Job 3 has a runner-up and a deposit, job 4 two runner-ups."""
    long = {"expiry_ms": market.time_ms + LONG_MS}
    three = market.terms(runner_ups=1, deposit=DEPOSIT, free_places=1, **long)
    market.expect([done("submit_job", "carl", three), done("submit_job", "carl", market.terms(runner_ups=2, **long))])

    def say(error: type[errors.TxError] | None, sender: str, job_id: int, loss: int, secured: bool = False) -> Entry:
        message = market.announcement(sender, job_id, loss, secured)
        return done("announce", sender, message) if error is None else refused(error, sender, message)

    short = tx_pb2.Announce(job_id=1, loss=0, commitment=b"c" * 31)
    market.expect(
        [
            say(errors.OwnJob, "carl", 1, 0),
            say(errors.BadLoss, "worker2", 1, 2**41),
            refused(errors.BadCommitment, "worker2", short, "31 bytes"),
            say(errors.NotSecurable, "worker2", 1, 0, secured=True),
            say(errors.NotLeading, "worker2", 1, 20_000),
            say(None, "worker0", 3, 10_000, secured=True),
            say(errors.SecuredStays, "worker0", 3, 5_000),
            say(errors.NotImproved, "worker0", 3, 10_000, secured=True),
            say(None, "worker1", 3, 20_000),
            say(errors.WouldNotRank, "worker2", 3, 30_000),
            say(errors.TooManyUnsecured, "worker1", 4, 0),
            say(None, "checker0", 4, 30_000),
            say(None, "checker1", 4, 20_000),
            say(errors.NoCheckersLeft, "checker2", 4, 10_000),
        ]
    )


def _reveal_and_votes(market: RecordedMarket) -> None:
    """Job 5 is won, revealed and checked; then job 6's winner says nothing and is suspended."""
    market.expect([done("submit_job", "carl", market.terms())])
    market.expect([done("announce", "worker2", market.announcement("worker2", 5, 0))])
    market.expect([refused(errors.NotInReveal, "worker2", market.revelation("worker2", 5))])
    market.expire(5)
    wrong: list[tuple[type[errors.TxError], str, dict[str, Any]]] = [
        (errors.NotYourTurn, "worker3", {}),
        (errors.CommitmentMismatch, "worker2", {"salt": b"t" * 32}),
        (errors.ModelTooLarge, "worker2", {"size": 2**40}),
        (errors.BadDigest, "worker2", {"model_digest": b"x" * 31}),
        (errors.BadSalt, "worker2", {"salt": b"s" * 33}),
        (errors.BadLocations, "worker2", {"locations": ["x"] * 5}),
    ]
    entries = [refused(error, who, market.revelation(who, 5, **fields)) for error, who, fields in wrong]
    market.expect([*entries, done("reveal", "worker2", market.revelation("worker2", 5))])
    _votes(market, 5, measured(0))
    market.expect([done("submit_job", "carl", market.terms())])
    market.expect([done("announce", "worker3", market.announcement("worker3", 6, 0))])
    market.expire(6)
    market.expire(6)
    market.expect([refused(errors.AccountSuspended, "worker3", market.announcement("worker3", 1, 0))])


def _votes(market: RecordedMarket, job_id: int, found: Finding) -> None:
    assert set(market.seats(job_id)) == set(CHECKERS)
    first = market.commitment("checker0", job_id, found)
    market.expect(
        [
            refused(errors.NotInVote, "checker0", market.commitment("checker0", 1, found, round_number=0)),
            refused(errors.WrongRound, "checker0", market.commitment("checker0", job_id, found, round_number=1)),
            refused(errors.NotSeated, "worker3", market.commitment("worker3", job_id, found)),
            done("commit_vote", "checker0", first),
            refused(errors.AlreadyCommitted, "checker0", first),
            refused(errors.NotInTally, "checker0", market.vote(job_id, found)),
            done("commit_vote", "checker1", market.commitment("checker1", job_id, found)),
        ]
    )
    while market.job(job_id).state == pb.JOB_STATE_VOTE:
        market.expire(job_id)
    market.expect(
        [
            refused(errors.NotCommitted, "checker2", market.vote(job_id, found)),
            refused(errors.BadVote, "checker0", market.vote(job_id, UNAVAILABLE, loss=1)),
            refused(errors.VoteMismatch, "checker0", market.vote(job_id, measured(6))),
            done("reveal_vote", "checker0", market.vote(job_id, found)),
            refused(errors.AlreadyRevealed, "checker0", market.vote(job_id, found)),
            done("reveal_vote", "checker1", market.vote(job_id, found)),
        ]
    )


def _bonds(market: RecordedMarket) -> None:
    one = tx_pb2.Unbond(amount=UCREDIT)
    while not market.account("val0").validator_jailed_ms:
        market.block(missed=["val0"])
    market.expect(
        [
            refused(errors.BadBondAmount, "carl", tx_pb2.Bond(amount=1)),
            refused(errors.InsufficientBond, "carl", one),
            *(done("unbond", "checker2", one) for _ in range(MAX_UNBONDINGS)),
            refused(errors.TooManyUnbondings, "checker2", one),
            refused(errors.BadChecker, "carl", tx_pb2.SetChecker(enabled=True, highest_class=9)),
            refused(errors.NotJailed, "carl", tx_pb2.Unjail()),
            refused(errors.StillJailed, "val0", tx_pb2.Unjail()),
        ]
    )


def _late(market: RecordedMarket) -> None:
    """Of two deadlines at once one waits a block in the queue; its job takes messages no longer."""
    expiry_ms = market.time_ms + JOB_MS
    submitting = [done("submit_job", "carl", market.terms(expiry_ms=expiry_ms)) for _ in range(2)]
    market.expect(submitting)
    first, second = 7, 8
    market.expect([done("announce", "worker2", market.announcement("worker2", job, 0)) for job in (first, second)])
    market.skip_to(expiry_ms - 1_000)
    market.expect([refused(errors.JobExpired, "carl", tx_pb2.RaiseBounty(job_id=second, amount=1))])
    while market.job(second).state == pb.JOB_STATE_OPEN:
        market.block()
    last = market.job(second).deadline_ms
    market.skip_to(market.job(first).deadline_ms - 1)
    late = refused(errors.DeadlinePassed, "worker2", market.revelation("worker2", second))
    market.expect([late], dt_ms=last - market.time_ms)


def _many(market: RecordedMarket) -> None:
    """As many jobs of one contractor, and candidacies of one account, as there may be, and one more."""
    fee = market.params.classes[0].min_verify_fee
    terms = market.terms(
        bounty=UCREDIT, verify_fee=fee, deposit=fee, title="", metric="", expiry_ms=market.time_ms + LONG_MS
    )
    submitting = [done("submit_job", "worker5", terms) for _ in range(OVERRIDES["max_open_jobs"])]
    market.expect([*submitting, refused(errors.TooManyOpenJobs, "worker5", terms)])
    numbers = range(9, 9 + MAX_CANDIDACIES + 1)
    sayings = [market.announcement("worker4", number, 0, secured=True) for number in numbers]
    market.expect(
        [
            *(done("announce", "worker4", saying) for saying in sayings[:-1]),
            refused(errors.TooManyCandidacies, "worker4", sayings[-1]),
        ]
    )
