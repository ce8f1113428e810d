"""CheckTx over what waits already, recheck after a block, and proposals."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import errors
from abci_app.protocol.proposal import compute_proto_size
from abci_app.server.dispatch import Dispatcher
from tests.server.driver import Driver, to_timestamp
from tests.support.chain import BLOCK_MS, GENESIS_MS, Chain, Holding

ACCEPT, REJECT = abci.ResponseProcessProposal.ACCEPT, abci.ResponseProcessProposal.REJECT


@pytest.fixture
def driver() -> Driver:
    return Driver().begin()


def transfer(driver: Driver, amount: int = 5, sender: str = "alice", **envelope: int) -> bytes:
    return driver.sign(sender, tx_pb2.Transfer(to=driver.chain.address("bob"), amount=amount), **envelope)


def prepare(driver: Driver, txs: list[bytes], max_bytes: int = 1_000_000) -> list[bytes]:
    height = driver.height + 1
    time = to_timestamp(GENESIS_MS + height * BLOCK_MS)
    request = abci.RequestPrepareProposal(txs=txs, max_tx_bytes=max_bytes, height=height, time=time)
    return list(driver.app.prepare_proposal(request).txs)


def process(driver: Driver, txs: list[bytes]) -> int:
    return driver.app.process_proposal(abci.RequestProcessProposal(txs=txs, height=driver.height + 1)).status


def test_several_pending_transactions_of_one_account_are_admitted(driver: Driver) -> None:
    assert [driver.check(transfer(driver)) for _ in range(5)] == [0] * 5


def test_a_gap_between_pending_nonces_is_refused(driver: Driver) -> None:
    assert driver.check(transfer(driver, nonce=1)) == 0
    assert driver.check(transfer(driver, nonce=3)) == errors.WrongNonce.code
    assert driver.check(transfer(driver, nonce=2)) == 0


def test_a_refused_transaction_names_its_error_and_what_to_do(driver: Driver) -> None:
    response = driver.app.check_tx(abci.RequestCheckTx(tx=b"\xff"))
    assert (response.code, response.codespace) == (errors.Undecodable.code, "learningchain")
    assert response.log == f"undecodable: {errors.Undecodable.hint}"


def test_the_message_is_checked_on_the_committed_state(driver: Driver) -> None:
    assert driver.check(transfer(driver, 10**15)) == errors.InsufficientBalance.code
    assert driver.check(transfer(driver, nonce=1)) == 0  # the refused one took no nonce


def test_commit_forgets_what_waited_and_recheck_brings_it_back(driver: Driver) -> None:
    first, second, third = (transfer(driver, nonce=nonce) for nonce in (1, 2, 3))
    assert [driver.check(tx) for tx in (first, second, third)] == [0, 0, 0]
    driver.block([first])
    assert [driver.check(tx, recheck=True) for tx in (second, third)] == [0, 0]
    assert driver.check(transfer(driver, nonce=4)) == 0
    assert driver.check(transfer(driver, nonce=4, amount=6)) == errors.WrongNonce.code


def test_recheck_throws_out_what_a_block_has_overtaken(driver: Driver) -> None:
    waiting = transfer(driver, nonce=1, amount=1)
    assert driver.check(waiting) == 0
    driver.block([transfer(driver, nonce=1, amount=2)])
    assert driver.check(waiting, recheck=True) == errors.WrongNonce.code


def test_recheck_throws_out_what_has_expired(driver: Driver) -> None:
    waiting = transfer(driver, expires=2)
    assert driver.check(waiting) == 0
    driver.block()
    assert driver.check(waiting, recheck=True) == errors.Expired.code


def test_poor_accounts_fill_at_most_a_quarter_of_the_mempool() -> None:
    names = [f"poor{number}" for number in range(30)]
    chain = Chain(accounts={name: Holding(balance=10) for name in names} | {"alice": Holding(), "bob": Holding()})
    driver = Driver(chain, mempool_size=100).begin()
    poor = [transfer(driver, 1, name) for name in names]
    codes = [driver.check(tx) for tx in poor]
    assert codes == [0] * 25 + [errors.PoorPlacesTaken.code] * 5
    assert driver.check(transfer(driver)) == 0
    driver.block(poor[:10])
    assert [driver.check(tx, recheck=True) for tx in poor[10:25]] == [0] * 15
    assert [driver.check(tx) for tx in poor[25:]] == [0] * 5


def test_registrations_between_two_commits_are_capped(driver: Driver) -> None:
    cap = driver.chain.params.max_registrations_per_block
    registers = [driver.chain.sign_register(f"new{number}") for number in range(cap + 1)]
    assert [driver.check(tx) for tx in registers] == [0] * cap + [errors.RegistrationsFull.code]
    driver.block(registers[:cap])
    assert driver.check(registers[cap]) == 0


def test_a_proposal_fits_its_limit_with_protobufs_overhead_counted(driver: Driver) -> None:
    txs = [transfer(driver) for _ in range(20)]
    limit = sum(compute_proto_size(tx) for tx in txs[:7])
    assert prepare(driver, txs, limit) == txs[:7]
    assert prepare(driver, txs, limit - 1) == txs[:6]


def test_a_proposal_leaves_out_what_would_fail_by_its_envelope(driver: Driver) -> None:
    good, gap = transfer(driver, nonce=1), transfer(driver, nonce=3)
    assert prepare(driver, [b"\xff", gap, good, good]) == [good]


def test_a_prepared_proposal_is_accepted_and_changes_nothing(driver: Driver) -> None:
    txs = [transfer(driver) for _ in range(5)]
    assert prepare(driver, txs) == prepare(driver, txs) == txs
    assert process(driver, txs) == ACCEPT
    assert driver.check(txs[0]) == 0


def test_process_proposal_accepts_what_fails_by_state_only(driver: Driver) -> None:
    assert process(driver, [transfer(driver, nonce=9), transfer(driver, 10**15, nonce=1)]) == ACCEPT
    assert process(driver, []) == ACCEPT


def test_process_proposal_refuses_what_no_honest_proposer_builds(driver: Driver) -> None:
    good = transfer(driver)
    wrong_tag = driver.chain.sign("alice", tx_pb2.Transfer(), tag=bytes(8))
    expired = transfer(driver, expires=1)
    too_far = transfer(driver, expires=10**9)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    for bad in ([good, good], [b"\xff"], [good + b"\x00" * 17_000], [wrong_tag], [expired], [too_far], [forged]):
        assert process(driver, bad) == REJECT


def test_check_tx_before_the_chain_has_begun_is_answered_with_a_code() -> None:
    response = Dispatcher(Driver().app).call("check_tx", abci.RequestCheckTx(tx=b"x"))
    assert response.code != 0
