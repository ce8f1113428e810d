"""Deadlines, renewed windows, caps and pruning."""

from collections import Counter
from collections.abc import Iterator

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.block import Block, process_block
from abci_app.protocol.state import BlockState, StateDelta
from abci_app.protocol.transaction import TxCache
from tests.support.chain import DictState, consensus_address
from tests.support.market import JOB_MS, TERMS, Finding, Market, measured

HONEST = measured(0)


@pytest.fixture
def market() -> Market:
    return Market()


def open_reveal(market: Market, runner_ups: int = 0) -> int:
    job_id = market.submit(runner_ups=runner_ups)
    for number in range(1 + runner_ups):
        market.announce(f"worker{number}", job_id, number * 10_000)
    market.expire(job_id)
    return job_id


def some(market: Market, job_id: int, count: int, found: Finding = HONEST) -> dict[str, Finding]:
    """Let the first `count` seated accounts find something; each of the five holds three of fifteen seats."""
    return dict.fromkeys(sorted(market.seats(job_id))[:count], found)


# --- renewed windows ----------------------------------------------------------------------------------------------


def test_a_reveal_window_is_renewed_once_after_an_outage(market: Market) -> None:
    job_id = open_reveal(market)
    outage = market.params.outage_ms
    market.block(dt_ms=outage + 1)
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.renewed, job.deadline_ms) == (pb.JOB_STATE_REVEAL, True, market.time_ms + 10_000)
    market.block(dt_ms=outage + 1)
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED


def test_a_gap_of_exactly_the_outage_length_is_none(market: Market) -> None:
    job_id = open_reveal(market)
    market.block(dt_ms=market.params.outage_ms)
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED


def test_an_outage_that_ends_in_the_opening_block_is_none(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.skip_to(market.job(job_id).deadline_ms - 1)
    market.block(dt_ms=60_000)
    assert market.job(job_id).window_opened_ms == market.time_ms
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED


def test_an_outage_that_swallows_the_whole_window_renews_it(market: Market) -> None:
    job_id = open_reveal(market)
    market.block(dt_ms=86_400_000)
    job = market.job(job_id)
    assert (job.state, job.deadline_ms) == (pb.JOB_STATE_REVEAL, market.time_ms + 10_000)
    market.reveal("worker0", job_id)


def test_each_turn_has_its_own_renewal(market: Market) -> None:
    job_id = open_reveal(market, runner_ups=1)
    for _ in range(2):
        market.block(dt_ms=60_000)
        assert market.job(job_id).renewed
        market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert market.job(job_id).rounds == 2


def test_a_vote_without_quorum_is_renewed_once(market: Market) -> None:
    job_id = market.open_vote()
    market.commit_votes(job_id, some(market, job_id, 1))
    length = market.job(job_id).deadline_ms - market.job(job_id).window_opened_ms
    opened = market.job(job_id).window_opened_ms
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.renewed) == (pb.JOB_STATE_VOTE, True)
    assert (job.deadline_ms, job.window_opened_ms) == (market.time_ms + length, opened)
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_TALLY


def test_a_vote_with_quorum_is_not_renewed(market: Market) -> None:
    job_id = market.open_vote()
    market.commit_votes(job_id, some(market, job_id, 2))
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.renewed) == (pb.JOB_STATE_TALLY, False)


@pytest.mark.parametrize(("quorum_bps", "renewed"), [(4_000, False), (4_001, True)])
def test_exactly_the_quorum_is_one_in_vote_and_tally(quorum_bps: int, renewed: bool) -> None:
    market = Market(overrides={"quorum_bps": quorum_bps})
    voting, telling = market.open_vote(), market.open_vote("worker1")
    six = some(market, voting, 2)
    assert sum(market.seats(voting)[name] for name in six) == 6
    market.commit_votes(voting, six)
    market.expire(voting)
    assert (market.job(voting).renewed, market.job(voting).state == pb.JOB_STATE_VOTE) == (renewed, renewed)
    market.commit_votes(telling, dict.fromkeys(market.seats(telling), HONEST))
    market.reveal_votes(telling, some(market, telling, 2))
    market.expire(telling)
    assert (market.job(telling).renewed, market.job(telling).state == pb.JOB_STATE_TALLY) == (renewed, renewed)


def test_a_renewed_vote_can_still_reach_its_quorum(market: Market) -> None:
    job_id = market.open_vote()
    market.expire(job_id)
    market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), HONEST))
    assert market.job(job_id).state == pb.JOB_STATE_TALLY


def test_a_tally_without_quorum_of_revealed_seats_is_renewed_once(market: Market) -> None:
    job_id = market.open_vote()
    market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), HONEST))
    market.reveal_votes(job_id, some(market, job_id, 1))
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.renewed) == (pb.JOB_STATE_TALLY, True)
    market.expire(job_id)
    assert market.round(job_id).outcome == pb.OUTCOME_UNVERIFIED


def test_a_tally_with_quorum_is_decided_at_its_deadline(market: Market) -> None:
    job_id = market.open_vote()
    market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), HONEST))
    market.reveal_votes(job_id, some(market, job_id, 2))
    market.expire(job_id)
    assert market.round(job_id).outcome == pb.OUTCOME_ACCEPTED


def test_an_outage_renews_a_tally_that_has_its_quorum(market: Market) -> None:
    job_id = market.open_vote()
    market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), HONEST))
    market.reveal_votes(job_id, some(market, job_id, 2))
    market.block(dt_ms=60_000)
    assert (market.job(job_id).state, market.job(job_id).renewed) == (pb.JOB_STATE_TALLY, True)


def test_a_window_renewed_for_one_reason_is_not_renewed_for_another(market: Market) -> None:
    job_id = market.open_vote()
    market.block(dt_ms=120_000)
    assert market.job(job_id).renewed
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_PAID


def test_when_nobody_committed_the_round_is_decided_in_the_block_that_opens_the_tally(market: Market) -> None:
    job_id = market.open_vote()
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_VOTE
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.settled_height) == (pb.JOB_STATE_PAID, market.height)
    assert [event.type for event in market.last.events] == ["job.tally_opened", "job.round_decided", "job.settled"]


def test_a_long_window_for_a_large_model_counts_whole_mebibytes(market: Market) -> None:
    job_id = open_reveal(market)
    market.must("worker0", market.revelation("worker0", job_id, size=1))
    job = market.job(job_id)
    assert job.deadline_ms - job.window_opened_ms == 10_000 + 3 * 10_000 + 20 * 64 + 100


# --- order and caps -----------------------------------------------------------------------------------------------


def settled(market: Market) -> list[int]:
    """Return the ids that the last block settled, in order."""
    events = [dict(event.attributes) for event in market.last.events if event.type == "job.settled"]
    return [int(attributes["job_id"]) for attributes in events]


def test_due_jobs_run_in_the_order_of_time_and_id_up_to_the_cap() -> None:
    market = Market(overrides={"max_due_per_block": 2})
    base = market.time_ms + JOB_MS
    for offset in (3, 1, 2, 1, 4):
        market.submit(expiry_ms=base + offset)
    market.skip_to(base)
    order = []
    for _ in range(3):
        market.block(dt_ms=10)
        order.append(settled(market))
    assert order == [[2, 4], [3, 1], [5]]


def test_at_one_time_expiries_come_before_reveals_votes_and_tallies() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    first = open_reveal(market)
    deadline_ms = market.job(first).deadline_ms
    second = market.submit(expiry_ms=deadline_ms)
    market.skip_to(deadline_ms)
    assert settled(market) == [second]
    market.block(dt_ms=10)
    assert settled(market) == [first]


def test_a_window_that_waited_in_the_queue_counts_from_the_block_that_opens_it() -> None:
    market = Market(overrides={"max_due_per_block": 1})
    expiry_ms = market.time_ms + JOB_MS
    jobs = [market.submit(expiry_ms=expiry_ms) for _ in range(2)]
    for job_id in jobs:
        market.announce("worker0", job_id, 0)
    market.skip_to(expiry_ms)
    market.block(dt_ms=4_000)
    assert market.job(jobs[1]).deadline_ms == market.time_ms + TERMS["reveal_window_ms"]


def test_a_deadline_that_a_ban_moved_in_the_same_block_is_not_processed(market: Market) -> None:
    """The decision of one due job bans the candidate whose REVEAL in another job is due next."""
    moved = market.submit(runner_ups=1, expiry_ms=market.time_ms + 2 * JOB_MS)
    market.announce("worker0", moved, 0)
    market.announce("worker1", moved, 10_000)
    decided = market.open_vote("worker0")
    market.expire(moved)
    reveal_ms = market.job(moved).deadline_ms
    market.skip_to(reveal_ms - market.params.tally_window_ms - 1_010)
    market.commit_votes(decided, dict.fromkeys(market.seats(decided), measured(200_000)))
    market.reveal_votes(decided, some(market, decided, 4, measured(200_000)))
    assert market.job(decided).deadline_ms == reveal_ms - 10
    market.skip_to(reveal_ms - 1_000)
    market.block()
    assert market.round(decided).outcome == pb.OUTCOME_CONVICTED
    job = market.job(moved)
    assert (job.state, job.round, job.deadline_ms) == (pb.JOB_STATE_REVEAL, 1, market.time_ms + 10_000)
    assert market.round(moved, 0).outcome == pb.OUTCOME_BANNED
    assert market.standing("worker0").defaults == market.standing("worker1").defaults == 0


def test_settled_jobs_are_pruned_after_their_retention_up_to_the_cap() -> None:
    market = Market(overrides={"max_pruned_per_block": 2})
    expiry_ms = market.time_ms + 10_000
    jobs = [market.submit(expiry_ms=expiry_ms) for _ in range(3)]
    market.skip_to(expiry_ms)
    pruned_ms = market.job(jobs[0]).deadline_ms
    assert pruned_ms == market.time_ms + market.params.job_retention_ms
    market.skip_to(pruned_ms - 1)
    assert all(market.get(keys.job(job_id), pb.Job) for job_id in jobs)
    market.block(dt_ms=1)
    assert [market.get(keys.job(job_id), pb.Job) is None for job_id in jobs] == [True, True, False]
    market.block(dt_ms=1)
    assert market.get(keys.job(jobs[2]), pb.Job) is None


def test_the_job_that_was_settled_first_is_pruned_first_whatever_its_id() -> None:
    market = Market(overrides={"max_pruned_per_block": 1, "job_retention_ms": 90_000})
    later, sooner = (market.submit(expiry_ms=market.time_ms + after_ms) for after_ms in (20_000, 10_000))
    market.expire(later)
    assert market.job(later).deadline_ms == market.time_ms + 90_000
    market.block(dt_ms=90_000)
    assert market.get(keys.job(sooner), pb.Job) is None
    assert market.get(keys.job(later), pb.Job) is not None
    market.block(dt_ms=1)
    assert market.get(keys.job(later), pb.Job) is None


def test_pruning_removes_all_rounds_of_a_job(market: Market) -> None:
    job_id = open_reveal(market, runner_ups=1)
    market.expire(job_id)
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    market.expire(job_id)
    assert not [key for key in market.committed.records if key[:1] in (b"j", b"r")]
    assert [event.type for event in market.last.events] == ["job.pruned"]


def test_pruning_has_its_own_cap() -> None:
    market = Market(overrides={"max_due_per_block": 1, "max_pruned_per_block": 1})
    first = market.submit(expiry_ms=market.time_ms + 6_000)
    market.expire(first)
    second = market.submit(expiry_ms=market.job(first).deadline_ms)
    market.expire(first)
    assert market.get(keys.job(first), pb.Job) is None
    assert market.job(second).state == pb.JOB_STATE_EXPIRED


# --- the cost of a block ------------------------------------------------------------------------------------------


class CountingState(DictState):
    """Committed state that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def bulk_load(self, base: DictState, state: BlockState) -> None:
        """Take over `base` and the changes of `state`; `commit` would sort every key in by itself."""
        changed = {key: value for key, value in state.get_changed_records().items() if value is not None}
        entries = {key: value for key, value in state.get_changed_index().items() if value is not None}
        self.records = {**base.records, **changed}
        self.index = {**base.index, **entries}
        self._ordered = sorted(self.index)

    def get(self, key: bytes) -> bytes | None:
        self.reads[f"record {chr(key[0])}"] += 1
        return super().get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for entry in super().scan(start, end):
            self.reads[f"index {chr(start[0])}"] += 1
            yield entry


def process_ten_due_jobs(open_jobs: int) -> tuple[Counter[str], int]:
    """Make a block in which ten jobs are due among `open_jobs` others; return what it read and how much it changed."""
    market = Market(overrides={"max_due_per_block": 500, "max_open_jobs": 1_000_000}, audited=False)
    model = pb.Job(contractor=market.address("carl"), state=pb.JOB_STATE_OPEN, terms=market.terms(), escrow=100)
    state = BlockState(market.committed)
    delta = StateDelta(state)
    for job_id in range(1, open_jobs + 11):
        job = delta.edit(keys.job(job_id), pb.Job)
        job.CopyFrom(model)
        job.id = job_id
        job.deadline_ms = market.time_ms + (500 if job_id <= 10 else 1_000_000 + job_id)
        if job_id <= 5:
            job.candidates.add(account=market.address("worker0"), height=1)
    total = 100 * (open_jobs + 10)
    delta.edit(keys.account(market.address("carl")), pb.Account).balance -= total
    supply = delta.edit(keys.SUPPLY, pb.Supply)
    supply.balances -= total
    supply.escrow += total
    delta.edit(keys.standing(market.address("carl")), pb.Standing).open_jobs = open_jobs + 10
    standing = delta.edit(keys.standing(market.address("worker0")), pb.Standing)
    standing.candidacies = standing.unsecured_candidacies = 5
    delta.edit(keys.COUNTERS, pb.Counters).next_job_id = open_jobs + 11
    delta.apply()
    counting = CountingState()
    counting.bulk_load(market.committed, state)
    block = Block(
        height=market.height + 1,
        time_ms=market.time_ms + 1_000,
        block_hash=b"h" * 32,
        proposer_address=consensus_address("val0"),
        txs=(),
        previous_time_ms=market.time_ms,
        signed=[consensus_address("val0")],
    )
    after = BlockState(counting)
    process_block(after, market.tag, block, TxCache())
    return counting.reads, len(after.get_changed_records())


@pytest.mark.timeout(240)
def test_ten_due_jobs_touch_as_many_records_among_a_hundred_thousand_as_among_a_thousand() -> None:
    few, few_changed = process_ten_due_jobs(1_000)
    many, many_changed = process_ten_due_jobs(100_000)
    assert few == many
    assert few_changed == many_changed
    assert few["record j"] == few["index d"] == 10
