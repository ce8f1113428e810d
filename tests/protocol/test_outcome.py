"""The outcome table row by row, with its boundaries, and against the independent model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import MAX_LOSS, MAX_MARGIN, RESERVED_LOSS
from abci_app.protocol.outcome import (
    Ballot,
    Decision,
    Judgement,
    Measure,
    compute_decision,
    compute_judgement,
    is_agreed,
)
from tests.model.outcome import find_outcome
from tests.model.records import Vote

ANNOUNCED, TOLERANCE, MARGIN = 1_000_000, 1_000, 100_000
HONEST_LOSS, WORSE_LOSS, LIE_LOSS = ANNOUNCED + TOLERANCE, ANNOUNCED + MARGIN, ANNOUNCED + MARGIN + 1
RECEIPT, OTHER = b"r" * 32, b"o" * 32


def measure(seats: int = 15, drawable: int = 100, whole: int = 100, quorum_bps: int = 3_334) -> Measure:
    return Measure(ANNOUNCED, TOLERANCE, MARGIN, seats, quorum_bps, drawable, whole)


def measured(loss: int, seats: int = 1, receipt: bytes = RECEIPT) -> Ballot:
    return Ballot(seats, tx_pb2.FINDING_MEASURED, loss, receipt)


def honest(seats: int, receipt: bytes = RECEIPT) -> Ballot:
    return measured(HONEST_LOSS, seats, receipt)


def worse(seats: int, receipt: bytes = RECEIPT) -> Ballot:
    return measured(WORSE_LOSS, seats, receipt)


def lie(seats: int, receipt: bytes = RECEIPT) -> Ballot:
    return measured(10 * LIE_LOSS, seats, receipt)


def crashed(seats: int, receipt: bytes = b"") -> Ballot:
    return measured(RESERVED_LOSS, seats, receipt)


def overrun(seats: int) -> Ballot:
    return Ballot(seats, tx_pb2.FINDING_OVERRUN, 0, b"")


def unavailable(seats: int) -> Ballot:
    return Ballot(seats, tx_pb2.FINDING_UNAVAILABLE, 0, b"")


def unrunnable(seats: int) -> Ballot:
    return Ballot(seats, tx_pb2.FINDING_UNRUNNABLE, 0, b"")


SCATTER = [measured(LIE_LOSS + 10_000 * number) for number in range(15)]
"""Fifteen lies, no two of them within the tolerance."""

ROWS: list[tuple[str, list[Ballot], Measure, str]] = [
    ("1: nobody revealed", [], measure(), "UNVERIFIED"),
    ("1: five of fifteen seats are no quorum", [lie(5)], measure(), "UNVERIFIED"),
    ("1: ten of 31 seats are no quorum", [lie(10)], measure(31), "UNVERIFIED"),
    ("1: six of fifteen are one", [honest(6)], measure(), "ACCEPTED"),
    ("1: eleven of 31 are one", [honest(11)], measure(31), "ACCEPTED"),
    ("1: exactly the quorum is one", [honest(6)], measure(quorum_bps=4_000), "ACCEPTED"),
    ("1: one basis point more is none", [honest(6)], measure(quorum_bps=4_001), "UNVERIFIED"),
    ("1: all empty seats", [], measure(drawable=0), "UNVERIFIED"),
    ("2: more than half cannot run the image", [unrunnable(8), lie(7)], measure(), "FAULTY_JOB"),
    ("2: six of eleven revealed", [unrunnable(6), honest(5)], measure(), "FAULTY_JOB"),
    ("2: exactly half is not enough", [unrunnable(5), honest(5)], measure(), "ACCEPTED"),
    ("2: comes before 3", [unrunnable(4), lie(3)], measure(), "FAULTY_JOB"),
    ("3: eleven of fifteen agree on a lie", [lie(11), honest(4)], measure(), "CONVICTED"),
    ("3: exactly two thirds are not enough", [lie(10), honest(5)], measure(), "REJECTED"),
    ("3: more than half of all seats", [lie(8)], measure(), "CONVICTED"),
    ("3: seven of seven revealed are too few of fifteen", [lie(7)], measure(), "REJECTED"),
    ("3: half of the class's bond could be drawn", [lie(15)], measure(drawable=50), "REJECTED"),
    ("3: a little more than half could", [lie(15)], measure(drawable=51), "CONVICTED"),
    ("3: ten of fourteen, standing for half of the class", [lie(10), honest(4)], measure(drawable=75), "REJECTED"),
    ("3: ten of fourteen, standing for a little more", [lie(10), honest(4)], measure(drawable=76), "CONVICTED"),
    ("3: seven of ten revealed, half of fourteen seats", [lie(7), honest(3)], measure(14), "REJECTED"),
    ("3: seven of ten revealed, more than half of thirteen", [lie(7), honest(3)], measure(13), "CONVICTED"),
    ("3: scatter never bans", SCATTER, measure(), "REJECTED"),
    ("3: crashes agree", [crashed(11), honest(4)], measure(), "CONVICTED"),
    ("3: worse seats do not convict", [worse(15)], measure(), "REJECTED"),
    ("3: overruns are never a lie", [overrun(15)], measure(), "REJECTED"),
    ("3: lies beside the cluster do not convict", [lie(10), measured(LIE_LOSS, 5)], measure(), "REJECTED"),
    ("4: eight of fifteen", [worse(8), honest(7)], measure(), "REJECTED"),
    ("4: seven of fifteen", [worse(7), honest(8)], measure(), "ACCEPTED"),
    ("4: unavailable counts like bad", [worse(4), unavailable(4), honest(7)], measure(), "REJECTED"),
    ("4: nobody got the model", [unavailable(15)], measure(), "REJECTED"),
    ("4: exactly half of the revealed", [worse(5), honest(5)], measure(), "ACCEPTED"),
    ("4: six of eleven, a third of all", [worse(6), honest(5)], measure(), "REJECTED"),
    ("5: exactly a third of all seats", [worse(5), honest(4)], measure(), "UNVERIFIED"),
    ("5: with unavailable ones", [unavailable(5), honest(1)], measure(), "UNVERIFIED"),
    ("6: all honest", [honest(15)], measure(), "ACCEPTED"),
    ("6: a minority finds a lie", [honest(8), lie(7)], measure(), "ACCEPTED"),
    ("6: unrunnable ones count as revealed only", [honest(3), worse(5), unrunnable(5)], measure(), "ACCEPTED"),
]


@pytest.mark.parametrize(("ballots", "against", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_row_of_the_table_decides_as_written(ballots: list[Ballot], against: Measure, expected: str) -> None:
    assert pb.Outcome.Name(compute_decision(ballots, against).outcome) == f"OUTCOME_{expected}"


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (-MAX_LOSS, Judgement.HONEST),
        (ANNOUNCED + TOLERANCE, Judgement.HONEST),
        (ANNOUNCED + TOLERANCE + 1, Judgement.WORSE),
        (ANNOUNCED + MARGIN, Judgement.WORSE),
        (ANNOUNCED + MARGIN + 1, Judgement.LIE),
        (RESERVED_LOSS, Judgement.LIE),
    ],
)
def test_the_chain_judges_a_measured_loss(loss: int, expected: Judgement) -> None:
    assert compute_judgement(measured(loss), measure()) is expected


def test_the_reserved_loss_is_a_lie_under_the_widest_terms() -> None:
    widest = Measure(MAX_LOSS, MAX_MARGIN, MAX_MARGIN, 15, 3_334, 1, 1)
    assert compute_judgement(crashed(1), widest) is Judgement.LIE


def test_the_cluster_lies_around_the_lower_median_of_all_bad_seats() -> None:
    """Four seats: the second smallest is the median, one value for each seat; whoever is further off is not paid."""
    ballots = [measured(LIE_LOSS), measured(LIE_LOSS + 2 * TOLERANCE, 2), measured(LIE_LOSS + 3 * TOLERANCE + 1, 1)]
    against = Measure(ANNOUNCED, TOLERANCE, MARGIN, 4, 3_334, 1, 1)
    assert compute_decision(ballots, against).paid == (False, True, False)
    even = [measured(LIE_LOSS, 2), measured(LIE_LOSS + TOLERANCE + 1, 2)]
    assert compute_decision(even, against).paid == (True, False)


def test_a_cluster_across_the_ban_margin_convicts_by_its_lies_only() -> None:
    ballots = [measured(WORSE_LOSS, 5), measured(LIE_LOSS, 10)]
    decision = compute_decision(ballots, measure())
    assert (decision.outcome, decision.paid) == (pb.OUTCOME_REJECTED, (True, True))
    convicted = compute_decision([measured(WORSE_LOSS, 4), measured(LIE_LOSS, 11)], measure())
    assert (convicted.outcome, convicted.paid) == (pb.OUTCOME_CONVICTED, (False, True))


PAY: list[tuple[str, list[Ballot], tuple[bool, ...]]] = [
    ("honest seats with a receipt", [honest(8), worse(3), lie(4)], (True, False, False)),
    ("not without a receipt", [honest(8), honest(7, b"")], (True, False)),
    ("only the receipt that most carry", [honest(8), honest(7, OTHER)], (True, False)),
    ("counted in seats, not in accounts", [honest(8), *[honest(1, OTHER)] * 7], (True, *[False] * 7)),
    ("all where no receipt has more than half", [honest(7), honest(7, OTHER)], (True, True)),
    ("more than half against several", [honest(4), honest(2, OTHER), honest(1, b"t" * 32)], (True, False, False)),
    ("those without one do not count", [honest(4), honest(3, OTHER), honest(8, b"")], (True, False, False)),
    ("rejected: the cluster", [worse(8), measured(9 * LIE_LOSS, 2), honest(5)], (True, False, False)),
    ("rejected: overruns never", [overrun(10), worse(5)], (False, True)),
    ("rejected: unavailable never", [unavailable(8), worse(4), honest(3)], (False, True, False)),
    ("rejected: receipts count here too", [worse(5), worse(3, OTHER), honest(7)], (True, False, False)),
    ("rejected: crashes need no receipt", [crashed(6), crashed(3, RECEIPT), honest(6)], (True, True, False)),
    ("convicted: the lying cluster", [lie(11), worse(2), honest(2)], (True, False, False)),
    ("convicted: crashes", [crashed(11), honest(4)], (True, False)),
    ("convicted: receipts count here too", [lie(7), lie(6, OTHER), lie(2, b"")], (True, False, False)),
    ("unverified: nobody", [honest(4), worse(5)], (False, False)),
    ("faulty: nobody", [unrunnable(8), honest(7)], (False, False)),
]


@pytest.mark.parametrize(("ballots", "paid"), [row[1:] for row in PAY], ids=[row[0] for row in PAY])
def test_pay_goes_to_seats_that_proved_they_ran_the_model(ballots: list[Ballot], paid: tuple[bool, ...]) -> None:
    assert compute_decision(ballots, measure()).paid == paid


@pytest.mark.parametrize(
    ("outcome", "agreed"),
    [
        (pb.OUTCOME_ACCEPTED, {Judgement.HONEST}),
        (pb.OUTCOME_REJECTED, {Judgement.WORSE, Judgement.LIE, Judgement.UNAVAILABLE}),
        (pb.OUTCOME_CONVICTED, {Judgement.WORSE, Judgement.LIE}),
        (pb.OUTCOME_FAULTY_JOB, {Judgement.UNRUNNABLE}),
    ],
)
def test_agreed_are_those_who_found_what_was_decided(outcome: pb.Outcome, agreed: set[Judgement]) -> None:
    assert {judged for judged in Judgement if is_agreed(outcome, judged)} == agreed
    assert not any(is_agreed(outcome, judged) is None for judged in Judgement)


def test_unverified_says_nothing_about_anybody() -> None:
    assert all(is_agreed(pb.OUTCOME_UNVERIFIED, judged) is None for judged in Judgement)


NAMES: dict[int, str] = {
    tx_pb2.FINDING_MEASURED: "MEASURED",
    tx_pb2.FINDING_OVERRUN: "OVERRUN",
    tx_pb2.FINDING_UNAVAILABLE: "UNAVAILABLE",
    tx_pb2.FINDING_UNRUNNABLE: "UNRUNNABLE",
}
LOSSES = st.sampled_from(
    [HONEST_LOSS, HONEST_LOSS + 1, WORSE_LOSS, LIE_LOSS, LIE_LOSS + TOLERANCE, 2 * LIE_LOSS, RESERVED_LOSS]
)
RECEIPTS = st.sampled_from([b"", RECEIPT, OTHER])
BALLOTS = st.one_of(
    st.builds(measured, LOSSES, st.integers(1, 4), RECEIPTS),
    st.sampled_from([overrun(1), unavailable(1), unavailable(3), unrunnable(2)]),
)


@settings(max_examples=400, deadline=None)
@given(ballots=st.lists(BALLOTS, max_size=12), silent=st.integers(0, 15), drawable=st.integers(1, 100))
def test_the_table_agrees_with_the_independent_model(ballots: list[Ballot], silent: int, drawable: int) -> None:
    seats = sum(ballot.seats for ballot in ballots) + silent
    against = measure(max(seats, 1), drawable)
    votes = [
        Vote(bytes([number]) * 20, b.seats, b"c", NAMES[b.finding], b.loss, b.receipt)
        for number, b in enumerate(ballots)
    ]
    expected, payable = find_outcome(
        votes, ANNOUNCED, TOLERANCE, MARGIN, against.seats, against.quorum_bps, drawable, against.class_bond
    )
    decision: Decision = compute_decision(ballots, against)
    assert pb.Outcome.Name(decision.outcome) == f"OUTCOME_{expected}"
    assert [vote for vote, is_paid in zip(votes, decision.paid, strict=True) if is_paid] == [
        vote for vote in votes if vote in payable
    ]
