"""The model itself: the readings that its comparison with the core rests on."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2
from tests.model.hashes import address_of, model_commitment, seat_position, vote_commitment
from tests.model.job_messages import compute_list, compute_rank
from tests.model.lifecycle import ban
from tests.model.model import Model
from tests.model.outcome import find_outcome, find_payable
from tests.model.records import CREDIT, RESERVED_LOSS, Candidate, Job, Vote

R1, R2 = b"\x01" * 32, b"\x02" * 32
TERMS = {"tolerance": 1000, "ban_margin": 10_000, "min_improvement": 2000, "runner_ups": 2, "free_places": 2}


def vote(name: str, seats: int, finding: str = "MEASURED", loss: int = 0, receipt: bytes = R1) -> Vote:
    return Vote(name.encode(), seats, b"c", finding, loss, receipt if finding == "MEASURED" else b"")


def outcome(*votes: Vote, drawable: int = 100, class_bond: int = 100) -> tuple[str, set[bytes]]:
    found, paid = find_outcome(list(votes), 0, 1000, 10_000, 15, 3334, drawable, class_bond)
    return found, {v.account for v in paid}


def test_each_row_of_the_table_at_its_boundary() -> None:
    assert outcome(vote("a", 5)) == ("UNVERIFIED", set())  # 50 000 < 50 010
    assert outcome(vote("a", 6)) == ("ACCEPTED", {b"a"})
    assert outcome(vote("a", 7), vote("b", 8, "UNRUNNABLE")) == ("FAULTY_JOB", set())
    assert outcome(vote("a", 7), vote("b", 7, "UNRUNNABLE")) == ("ACCEPTED", {b"a"})
    assert outcome(vote("a", 4), vote("b", 11, loss=10_001)) == ("CONVICTED", {b"b"})
    assert outcome(vote("a", 5), vote("b", 10, loss=10_001)) == ("REJECTED", {b"b"})  # 30 > 30 fails
    assert outcome(vote("a", 7), vote("b", 8, loss=10_000)) == ("REJECTED", {b"b"})
    assert outcome(vote("a", 2), vote("b", 5, "UNAVAILABLE")) == ("UNVERIFIED", set())  # 15 > 15 fails
    assert outcome(vote("a", 2), vote("b", 6, "UNAVAILABLE")) == ("REJECTED", set())
    assert outcome(vote("a", 7, loss=1000), vote("b", 7, loss=1001)) == ("ACCEPTED", {b"a"})


def test_a_conviction_needs_more_than_half_of_the_whole_class() -> None:
    liars = vote("b", 15, loss=RESERVED_LOSS, receipt=b"")
    assert outcome(liars, drawable=51, class_bond=100) == ("CONVICTED", {b"b"})
    assert outcome(liars, drawable=50, class_bond=100) == ("REJECTED", {b"b"})


def test_scattered_bad_votes_reject_but_never_ban() -> None:
    votes = [vote(name, 3, loss=20_000 + 5_000 * i) for i, name in enumerate("abcde")]
    assert outcome(*votes) == ("REJECTED", {b"c"})


def test_seats_without_receipt_or_with_a_lonely_one_are_not_paid() -> None:
    common, other, none = vote("a", 3), vote("b", 2, receipt=R2), vote("c", 4, receipt=b"")
    assert find_payable([common, other, none], False) == [common]
    assert find_payable([vote("a", 2), other, none], False) == [vote("a", 2), other]


def candidate(name: str, ranked: int, height: int, secured: bool = False) -> Candidate:
    return Candidate(name.encode(), ranked, ranked, height, 0, R1, secured, 0)


def make_job(*candidates: Candidate) -> Job:
    job = Job(1, b"boss", {**TERMS, "deposit": 5}, CREDIT, 0, CREDIT, 10**9, 0)
    job.candidates = list(candidates)
    return job


@pytest.mark.parametrize(
    ("who", "loss", "expected"),
    [
        (b"new", 8_000, (8_000, True)),  # exactly the minimum improvement under the leader
        (b"new", 8_001, (10_000, False)),  # better, but inside the noise: ranks with the leader, after it
        (b"lead", 9_999, (9_999, True)),  # a leader lowers its own loss by any amount
        (b"new", 14_000, (14_000, False)),
        (b"new", 13_500, (13_500, False)),
        (b"second", 11_999, (11_999, False)),
    ],
)
def test_the_ranked_loss_of_an_announcement(who: bytes, loss: int, expected: tuple[int, bool]) -> None:
    assert compute_rank(make_job(candidate("lead", 10_000, 1), candidate("second", 16_000, 2)), who, loss) == expected


def make_model(bonds: dict[str, int]) -> Model:
    params = state_pb2.Params(
        epoch_ms=10_000, committee_seats=15, max_checkers=10, min_bond=CREDIT, quorum_bps=3334, tx_burst=9,
        tx_per_minute=60, max_due_per_block=5, max_released_per_block=5, max_pruned_per_block=5, outage_ms=5_000,
        job_retention_ms=50_000, max_tx_lifetime=10, min_reveal_window_ms=1_000, max_reveal_window_ms=9_000,
        max_runner_ups=2, min_bounty=1, max_open_jobs=9, min_job_ms=1, max_job_ms=10**6, min_tolerance=1,
        open_candidacies=2, vote_window_ms=5_000, tally_window_ms=4_000, suspension_ms=1_000, max_missed_votes=3,
    )  # fmt: skip
    params.classes.add(name="small", seconds=1, image_mib=1, model_mib=1, min_verify_fee=1)
    genesis = state_pb2.Genesis(params=params)
    for name, bond in bonds.items():
        genesis.accounts.add(public_key=name.encode() * 32, balance=100 * CREDIT, bond=bond, checker=bond and 1)
    return Model(genesis, b"chaintag", 1_000_000)


def address(name: str) -> bytes:
    return address_of(name.encode() * 32)


class Play:
    """A model with one sender's nonces kept."""

    def __init__(self, bonds: dict[str, int]) -> None:
        self.model = make_model(bonds)
        self.s = self.model.state
        self.nonces: Counter[str] = Counter()
        self.at(0)

    def at(self, seconds: float) -> None:
        self.model.begin_block(self.s.height + 1, 1_000_000 + int(1000 * seconds), R2, None)
        assert self.s.total() == self.model.supply

    def send(self, name: str, kind: str, **message: object) -> frozenset[str]:
        self.nonces[name] += 1
        tx = {
            "defect": None, "chain_tag": b"chaintag", "account": address(name), "public_key": name.encode() * 32,
            "nonce": self.nonces[name], "expires_at_height": self.s.height, "signature_ok": True, "kind": kind,
            "message": message,
        }  # fmt: skip
        reasons = self.model.apply(tx)
        assert self.s.total() == self.model.supply
        return reasons

    def submit(self, name: str, **terms: object) -> frozenset[str]:
        fields = {
            "image": "r/i@sha256:" + "a" * 64, "eval_image": "", "title": "", "about": "", "metric": "",
            "bounty": CREDIT, "job_class": 0, "verify_fee": 1500, "deposit": 0, "runner_ups": 0, "free_places": 1,
            "expiry_ms": self.s.now + 10_000, "reveal_window_ms": 2_000, "tolerance": 1000, "ban_margin": 10_000,
            "min_improvement": 2000, "loss_ceiling": 10**9, "needs": {}, **terms,
        }  # fmt: skip
        return self.send(name, "submit_job", **fields)

    def announce(self, name: str, job: int, loss: int, secured: bool = False) -> frozenset[str]:
        commitment = model_commitment(b"chaintag", job, address(name), R1, R2)
        return self.send(name, "announce", job_id=job, loss=loss, commitment=commitment, secured=secured)

    def reveal(self, name: str, job: int) -> frozenset[str]:
        return self.send(name, "reveal", job_id=job, model_digest=R1, salt=R2, size=1, locations=[])

    def vote(self, name: str, job: int, loss: int) -> None:
        opened = (job, self.s.jobs[job].round, address(name), 1, loss, R1, R2)
        self.send(name, "commit_vote", job_id=job, round=opened[1], commitment=vote_commitment(b"chaintag", *opened))

    def open_vote(self, name: str, job: int, loss: int) -> frozenset[str]:
        number = self.s.jobs[job].round
        return self.send(name, "reveal_vote", job_id=job, round=number, finding=1, loss=loss, receipt=R1, salt=R2)


def race(play: Play, loss_found: int, **terms: object) -> Job:
    """Let w win the first job and both checkers measure `loss_found`."""
    play.submit("b", **terms)
    play.announce("w", 1, 5_000)
    play.announce("x", 1, 8_000)
    play.at(10)
    play.reveal("w", 1)
    for name in "cd":
        play.vote(name, 1, loss_found)
    for name in "cd":
        assert play.open_vote(name, 1, loss_found) == frozenset()
    return play.s.jobs[1]


def test_an_honest_winner_is_paid_and_the_seats_too() -> None:
    play = Play({"b": 0, "w": 0, "x": 0, "c": CREDIT, "d": 2 * CREDIT})
    job = race(play, 6_000)
    assert (job.state, job.outcome, job.winner) == ("PAID", "ACCEPTED", address("w"))
    assert play.s.accounts[address("w")].balance == 101 * CREDIT
    assert play.s.accounts[address("b")].balance == 99 * CREDIT - 1500
    assert [v.seats for v in play.s.rounds[1, 0].votes] in ([5, 10], [10, 5])
    assert play.s.burned == 0


def test_a_liar_is_banned_and_the_runner_up_has_its_turn() -> None:
    play = Play({"b": 0, "w": 0, "x": 0, "c": CREDIT, "d": 2 * CREDIT})
    job = race(play, 16_000, runner_ups=1, free_places=2)
    assert play.s.accounts[address("w")].banned
    assert play.s.burned == 100 * CREDIT
    assert (job.state, job.round, job.candidates[0].account) == ("REVEAL", 1, address("x"))
    play.at(13)
    assert job.state == "REFUNDED"
    assert play.s.accounts[address("x")].counters == {"defaults": 1, "strikes": 1}


def test_a_ban_passes_every_turn_that_waits_for_a_model_on_at_once() -> None:
    play = Play({"b": 0, "w": 0, "x": 0, "c": CREDIT, "d": 2 * CREDIT})
    for job in (1, 2):
        play.submit("b", runner_ups=1, free_places=2)
        play.announce("w", job, 5_000)
        play.announce("x", job, 8_000)
    play.at(10)
    ban(play.s, address("w"))
    assert [j.candidates[0].account for j in play.s.jobs.values()] == [address("x")] * 2
    assert {number: r.outcome for (_, number), r in play.s.rounds.items()} == {0: "BANNED", 1: ""}


def test_a_full_list_keeps_secured_places_and_returns_the_deposit_of_who_leaves() -> None:
    play = Play({"b": 0, "w": 0, "x": 0, "c": CREDIT, "d": 2 * CREDIT})
    play.submit("b", deposit=2000, free_places=0)
    assert play.announce("w", 1, 9_000) == {"would_not_rank"}
    assert play.announce("w", 1, 9_000, secured=True) == frozenset()
    assert play.announce("x", 1, 8_000, secured=True) == {"not_leading", "would_not_rank"}
    assert play.announce("x", 1, 7_000, secured=True) == frozenset()
    assert play.s.accounts[address("w")].balance == 100 * CREDIT
    assert [c.deposit for c in play.s.jobs[1].candidates] == [2000]


def test_an_outage_renews_a_window_once() -> None:
    play = Play({"b": 0, "w": 0, "c": CREDIT})
    play.submit("b")
    play.announce("w", 1, 5_000)
    for second in (4, 8, 10):
        play.at(second)
    play.at(20)
    assert (play.s.jobs[1].state, play.s.jobs[1].deadline) == ("REVEAL", 1_022_000)
    play.at(30)
    assert play.s.jobs[1].state == "REFUNDED"


def test_seats_are_slices_so_a_share_of_the_bond_gets_its_share_of_seats() -> None:
    positions = [seat_position(b"chaintag", 1, 0, i, 15, R1, R2, 3 * CREDIT) for i in range(15)]
    assert positions == sorted(positions)
    assert sum(p < CREDIT for p in positions) == 5


def test_the_list_drops_the_worst_unsecured_when_free_places_are_full() -> None:
    play = Play({"b": 0, "w": 0})
    job = make_job(candidate("p", 10_000, 1), candidate("q", 16_000, 2), candidate("r", 20_000, 3, secured=True))
    new = compute_list(play.s, job, b"n", {"loss": 13_000, "commitment": R1, "secured": False})
    assert [c.account for c in new] == [b"p", b"n", b"r"]


RULES = ("account_messages", "compare", "encode", "hashes", "job_messages", "lifecycle", "model", "outcome", "records",
         "state", "twin")  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_model_is_written_without_the_core(name: str) -> None:
    """Of the application it knows the messages on the wire; a rule taken from the core could not disagree with it."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    origins = [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules = [module for module in [*origins, *plain] if module.startswith("abci_app")]
    assert [module for module in modules if not module.startswith("abci_app.pb.learningchain.v1")] == []
    others = [module for module in origins if module.startswith("tests.")]
    assert {module.removeprefix("tests.model.") for module in others} <= set(RULES)
