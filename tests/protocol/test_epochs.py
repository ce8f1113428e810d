"""Checker tables: who is in them, when they change, how long they are kept."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.state import BlockState
from tests.support.chain import Chain, Holding
from tests.support.market import CHECKERS, JOB_MS, Market

CHECKER = Holding(0, 5 * UCREDIT, 1)


def tables(chain: Chain) -> set[int]:
    """Return the epochs of the stored tables."""
    return {int.from_bytes(key[2:], "big") for key in chain.committed.records if key.startswith(b"ct")}


def test_the_first_block_fixes_a_table_from_the_genesis() -> None:
    chain = Chain(accounts={"a": CHECKER, "b": Holding(0, 9 * UCREDIT, 2), "off": Holding(0, 50 * UCREDIT)})
    chain.block()
    table = chain.table()
    assert table.epoch == chain.time_ms // chain.params.epoch_ms
    assert [entry.account for entry in table.entries] == sorted([chain.address("a"), chain.address("b")])
    by_account = {entry.account: (entry.bond, entry.highest_class) for entry in table.entries}
    assert by_account[chain.address("b")] == (9 * UCREDIT, 1)
    assert list(table.class_bonds) == [14 * UCREDIT, 9 * UCREDIT]


def test_only_bonds_of_at_least_min_bond_count() -> None:
    holdings = {"small": Holding(0, UCREDIT - 1, 1), "enough": Holding(0, UCREDIT, 1)}
    chain = Chain(accounts=holdings)
    chain.block()
    assert [entry.account for entry in chain.table().entries] == [chain.address("enough")]


def test_the_largest_bonds_win_and_among_equals_the_lower_address() -> None:
    names = [f"c{number}" for number in range(6)]
    holdings = dict.fromkeys(names, CHECKER) | {"big": Holding(0, 9 * UCREDIT, 1)}
    chain = Chain(accounts=holdings, overrides={"max_checkers": 3})
    chain.block()
    expected = {chain.address("big"), *sorted(chain.address(name) for name in names)[:2]}
    assert [entry.account for entry in chain.table().entries] == sorted(expected)


def test_a_new_epoch_with_the_same_checkers_changes_no_record() -> None:
    chain = Chain(accounts={"a": CHECKER})
    chain.block()
    before = chain.hash()
    chain.skip(5 * chain.params.epoch_ms)
    assert chain.hash() == before


def test_a_table_with_the_same_sums_but_other_bonds_is_another() -> None:
    holding = Holding(5 * UCREDIT, 5 * UCREDIT, 1)
    chain = Chain(accounts={"a": holding, "b": holding})
    chain.block()
    first = chain.table()
    chain.block([("a", tx_pb2.Bond(amount=UCREDIT)), ("b", tx_pb2.Unbond(amount=UCREDIT))])
    chain.skip(chain.params.epoch_ms)
    assert chain.table().epoch == first.epoch + 1
    assert chain.table().class_bonds == first.class_bonds
    bonds = {entry.account: entry.bond for entry in chain.table().entries}
    assert bonds == {chain.address("a"): 6 * UCREDIT, chain.address("b"): 4 * UCREDIT}


def test_a_table_changes_at_the_first_block_of_an_epoch_and_only_there() -> None:
    chain = Chain(accounts={"a": Holding(5 * UCREDIT, 5 * UCREDIT, 1)})
    boundary = (chain.time_ms // chain.params.epoch_ms + 1) * chain.params.epoch_ms
    chain.block()
    first = chain.table().epoch
    chain.must("a", tx_pb2.Bond(amount=UCREDIT))
    chain.skip_to(boundary - 1)
    assert chain.table().entries[0].bond == 5 * UCREDIT
    chain.block(dt_ms=1)
    assert (chain.table().epoch, chain.table().entries[0].bond) == (first + 1, 6 * UCREDIT)


def test_an_epoch_that_began_without_a_change_fixes_no_table_later() -> None:
    chain = Chain(accounts={"a": Holding(5 * UCREDIT, 5 * UCREDIT, 1)})
    epoch_ms = chain.params.epoch_ms
    chain.block()
    first = chain.table().epoch
    chain.skip_to((first + 1) * epoch_ms)
    chain.must("a", tx_pb2.Bond(amount=UCREDIT))
    chain.skip_to((first + 2) * epoch_ms - 1)
    assert (chain.table().epoch, chain.table().entries[0].bond) == (first, 5 * UCREDIT)
    chain.block(dt_ms=1)
    assert (chain.table().epoch, chain.table().entries[0].bond) == (first + 2, 6 * UCREDIT)


def test_a_bond_in_the_first_block_of_an_epoch_comes_too_late_for_its_table() -> None:
    chain = Chain(accounts={"a": Holding(5 * UCREDIT, 5 * UCREDIT, 1)})
    chain.block()
    boundary = (chain.time_ms // chain.params.epoch_ms + 1) * chain.params.epoch_ms
    chain.block([("a", tx_pb2.Bond(amount=UCREDIT))], dt_ms=boundary - chain.time_ms)
    assert chain.table().entries[0].bond == 5 * UCREDIT


def test_the_old_table_goes_when_no_job_needs_it() -> None:
    chain = Chain(accounts={"a": Holding(5 * UCREDIT, 5 * UCREDIT, 1)})
    chain.block()
    chain.must("a", tx_pb2.Bond(amount=UCREDIT))
    chain.skip(chain.params.epoch_ms)
    assert tables(chain) == {chain.table().epoch}


def test_a_table_that_a_job_refers_to_stays_until_the_job_is_settled() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    drawn = market.job(job_id).table_epoch
    market.must(next(iter(CHECKERS)), tx_pb2.Bond(amount=UCREDIT))
    while market.table().epoch == drawn:
        market.block(dt_ms=4_000)
    assert tables(market) == {drawn, market.table().epoch}
    market.skip(JOB_MS)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert tables(market) == {market.table().epoch}
    assert market.get(keys.checker_table(drawn), pb.CheckerTable) is None


def replace_table(market: Market) -> None:
    """Make blocks until another table is the current one."""
    before = market.table().epoch
    market.must(next(iter(CHECKERS)), tx_pb2.Bond(amount=UCREDIT))
    while market.table().epoch == before:
        market.block(dt_ms=4_000)


def test_a_table_is_never_written_again_when_jobs_come_to_need_it_and_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.skip_to(market.job(job_id).deadline_ms - 1)
    written: list[bytes] = []
    commit = market.committed.commit

    def commit_noting(state: BlockState) -> None:
        written.extend(state.get_changed_records())
        commit(state)

    monkeypatch.setattr(market.committed, "commit", commit_noting)
    market.expire(job_id)  # the REVEAL opens
    market.expire(job_id)  # nobody revealed: the job is settled
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert keys.job(job_id) in written
    assert not any(key.startswith(b"ct") for key in written)


def test_a_table_goes_in_the_block_that_settles_the_last_of_several_jobs() -> None:
    market = Market(checkers={**CHECKERS, "val0": Holding()})
    jobs = [market.submit(reveal_window_ms=60_000) for _ in range(3)]
    for worker, job_id in zip(("val0", "val0", "worker1"), jobs, strict=True):
        market.announce(worker, job_id, 0)
    market.expire(jobs[-1])
    drawn = market.job(jobs[0]).table_epoch
    assert {market.job(job_id).table_epoch for job_id in jobs} == {drawn}
    replace_table(market)
    market.block(misbehavior=[(1, "val0")])  # a ban settles two jobs in one delta
    assert [market.job(job_id).state for job_id in jobs[:2]] == [pb.JOB_STATE_REFUNDED] * 2
    assert tables(market) == {drawn, market.table().epoch}
    market.expire(jobs[2])
    assert market.job(jobs[2]).state == pb.JOB_STATE_REFUNDED
    assert tables(market) == {market.table().epoch}


def test_a_table_goes_while_an_older_one_is_still_needed() -> None:
    market = Market()
    drawn, jobs = [], []
    for window_ms in (60_000, 30_000):
        jobs.append(market.submit(reveal_window_ms=window_ms))
        market.announce(f"worker{len(jobs)}", jobs[-1], 0)
        market.expire(jobs[-1])
        drawn.append(market.job(jobs[-1]).table_epoch)
        replace_table(market)
    assert tables(market) == {*drawn, market.table().epoch}
    market.expire(jobs[1])
    assert [market.job(job_id).state for job_id in jobs] == [pb.JOB_STATE_REVEAL, pb.JOB_STATE_REFUNDED]
    assert tables(market) == {drawn[0], market.table().epoch}


def test_a_table_goes_while_that_of_the_next_epoch_is_still_needed() -> None:
    market = Market()
    epoch_ms = market.params.epoch_ms
    epoch = market.table().epoch + 4
    jobs = []
    for number, window_ms in enumerate((20_000, 30_000)):
        jobs.append(market.submit(expiry_ms=(epoch + number) * epoch_ms + 5_000, reveal_window_ms=window_ms))
        market.announce("worker0", jobs[-1], 0)
    for number in range(3):
        market.skip_to((epoch + number) * epoch_ms - 2_000)
        replace_table(market)
        if number < 2:
            market.expire(jobs[number])
    assert tables(market) == {epoch, epoch + 1, epoch + 2}
    market.expire(jobs[0])
    assert [market.job(job_id).state for job_id in jobs] == [pb.JOB_STATE_REFUNDED, pb.JOB_STATE_REVEAL]
    assert tables(market) == {epoch + 1, epoch + 2}


def test_a_table_that_is_replaced_in_the_block_that_settles_its_last_job_goes_in_that_block() -> None:
    market = Market(overrides={"outage_ms": 3_600_000})
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    drawn = market.job(job_id).table_epoch
    market.must(next(iter(CHECKERS)), tx_pb2.Bond(amount=UCREDIT))
    market.block(dt_ms=market.params.epoch_ms + market.job(job_id).deadline_ms - market.time_ms)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert market.table().epoch != drawn
    assert tables(market) == {market.table().epoch}
