"""InitChain, FinalizeBlock and Commit: what is computed, what is written, and what stops the node."""

import json
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import crypto, keys, transaction
from abci_app.protocol.genesis_json import render_genesis
from abci_app.server.application import ChainApplication
from abci_app.server.dispatch import Dispatcher, NodeFailure
from abci_app.server.views import APP_VERSION
from abci_app.store.interface import StagedBlock, StoreError, stage
from abci_app.store.lmdb_store import LmdbStore
from tests.server.driver import MEMPOOL_SIZE, Driver


def transfer(driver: Driver, amount: int = 5, sender: str = "alice") -> bytes:
    return driver.sign(sender, tx_pb2.Transfer(to=driver.chain.address("bob"), amount=amount))


def test_info_of_a_fresh_application_says_that_nothing_was_committed() -> None:
    info = Driver().app.info(abci.RequestInfo())
    assert (info.last_block_height, info.last_block_app_hash, info.app_version) == (0, b"", APP_VERSION)


def test_info_returns_height_and_app_hash_of_the_last_commit() -> None:
    driver = Driver().begin()
    app_hash = driver.block([transfer(driver)]).app_hash
    info = driver.app.info(abci.RequestInfo())
    assert (info.last_block_height, info.last_block_app_hash) == (2, app_hash)


def test_init_chain_may_come_again_and_writes_nothing() -> None:
    driver = Driver()
    first = driver.init_chain()
    assert driver.init_chain() == first
    assert driver.app.info(abci.RequestInfo()).last_block_height == 0


def test_the_chain_tag_does_not_depend_on_how_the_genesis_is_written() -> None:
    driver = Driver()
    driver.init_chain()
    tag = driver.app._consensus.chain_tag
    compact = json.dumps(json.loads(render_genesis(driver.chain.genesis)), separators=(",", ":"), sort_keys=True)
    driver.app.init_chain(driver.make_init_chain(app_state_bytes=compact.encode()))
    assert driver.app._consensus.chain_tag == tag == driver.chain.tag


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"app_state_bytes": b""}, "not JSON"),
        ({"app_state_bytes": b'{"params": {}}'}, "missing fields"),
        ({"chain_id": ""}, "chain_id has 1 to 50 bytes"),
        ({"initial_height": 7}, "initial_height must be 1"),
    ],
)
def test_a_genesis_that_does_not_fit_stops_the_node_with_a_reason(changes: dict[str, object], reason: str) -> None:
    driver = Driver()
    with pytest.raises(NodeFailure, match=reason):
        driver.app.init_chain(driver.make_init_chain(**changes))


def test_validators_other_than_those_of_the_genesis_state_stop_the_node() -> None:
    driver = Driver()
    request = driver.make_init_chain()
    request.validators[0].power += 1
    with pytest.raises(NodeFailure, match="differ in keys or powers"):
        driver.app.init_chain(request)


def test_blocks_larger_than_the_chain_allows_stop_the_node() -> None:
    driver = Driver()
    request = driver.make_init_chain()
    request.consensus_params.block.max_bytes = 22_020_096
    with pytest.raises(NodeFailure, match=r"block\.max_bytes"):
        driver.app.init_chain(request)


def test_init_chain_of_an_application_that_has_blocks_stops_the_node() -> None:
    driver = Driver().begin()
    with pytest.raises(NodeFailure, match="stands at height 1"):
        driver.init_chain()


def test_a_broken_invariant_stops_the_node_with_its_reason_and_what_to_do_if_only_this_node_stops() -> None:
    driver = Driver().begin()
    supply = pb.Supply.FromString(driver.store.get(keys.SUPPLY) or b"")
    supply.escrow += 1
    tampered = stage(
        driver.store, {keys.SUPPLY: supply.SerializeToString()}, {}, height=2, time_ms=1, chain_id="x", chain_tag=b""
    )
    driver.store.commit(tampered)
    driver.app = ChainApplication(driver.store, MEMPOOL_SIZE)
    with pytest.raises(NodeFailure) as failure:
        Dispatcher(driver.app).call("finalize_block", driver.make_finalize())
    reason = (
        "BrokenInvariant: the parts of the supply do not sum to the genesis supply. If the chain goes on without this"
    )
    assert reason in str(failure.value)


def test_a_disk_without_room_stops_the_node_and_is_not_called_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = Driver().begin()
    driver.app.finalize_block(driver.make_finalize())

    def refuse(block: StagedBlock) -> None:
        raise StoreError("make room and start the node again")

    monkeypatch.setattr(driver.store, "commit", refuse)
    with pytest.raises(NodeFailure, match=r"^commit failed: make room and start the node again$"):
        Dispatcher(driver.app).call("commit", abci.RequestCommit())
    assert driver.height == 1
    assert "defect" not in capsys.readouterr().out


def test_finalize_block_gives_one_result_for_each_transaction() -> None:
    driver = Driver().begin()
    good, again, nonsense = transfer(driver), transfer(driver), b"nonsense"
    response = driver.block([good, nonsense, again, good])
    assert [result.code for result in response.tx_results] == [0, 2, 0, 26]
    assert response.tx_results[1].codespace == "learningchain"
    assert response.tx_results[3].log.startswith("wrong_nonce: use the next nonce")
    assert all(not result.data and not result.gas_used for result in response.tx_results)


def test_events_carry_text_and_say_what_may_be_indexed() -> None:
    driver = Driver().begin()
    event = driver.block([transfer(driver, 5)]).tx_results[0].events[0]
    shown = {attribute.key: (attribute.value, attribute.index) for attribute in event.attributes}
    assert event.type == "credits.transferred"
    assert shown["amount"] == ("5", False)
    assert shown["sender"][0].startswith("lc1")
    assert shown["sender"][1]


def test_finalize_block_writes_nothing_and_gives_the_same_again() -> None:
    driver = Driver().begin()
    request = driver.make_finalize([transfer(driver)])
    first = driver.app.finalize_block(request)
    driver.app.finalize_block(driver.make_finalize([transfer(driver, 9)]))  # another round decided otherwise
    assert driver.app.finalize_block(request) == first
    assert driver.height == 1


def test_an_empty_block_leaves_the_app_hash_alone() -> None:
    driver = Driver().begin()
    before = driver.app.info(abci.RequestInfo()).last_block_app_hash
    assert driver.block().app_hash == before


def test_commit_without_finalize_block_stops_the_node() -> None:
    driver = Driver().begin()
    with pytest.raises(NodeFailure, match="Commit without FinalizeBlock"):
        driver.app.commit(abci.RequestCommit())


@pytest.mark.parametrize("height", [0, 1, 3, 100])
def test_a_height_other_than_the_next_stops_the_node(height: int) -> None:
    driver = Driver().begin()
    with pytest.raises(NodeFailure, match=f"decided block {height}, but the application stands at height 1"):
        driver.app.finalize_block(driver.make_finalize(height=height))


def test_a_block_before_init_chain_stops_the_node() -> None:
    driver = Driver()
    with pytest.raises(NodeFailure, match="decided block 1, but the application stands at height 0"):
        driver.app.finalize_block(driver.make_finalize())


def test_a_restarted_application_computes_the_same_blocks(tmp_path: Path) -> None:
    undisturbed, disturbed = Driver().begin(), Driver(store=LmdbStore(tmp_path / "state"))
    disturbed.begin()
    for number in range(5):
        txs = [transfer(undisturbed, number + 1)]
        request = disturbed.make_finalize(txs)
        disturbed.app.finalize_block(request)
        disturbed.store.close()  # a crash between FinalizeBlock and Commit
        disturbed.store = LmdbStore(tmp_path / "state")
        disturbed.app = ChainApplication(disturbed.store, MEMPOOL_SIZE)
        assert disturbed.block(txs) == undisturbed.block(txs)
    disturbed.store.close()


def test_an_application_that_committed_nothing_begins_again_after_a_restart(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "state")
    driver = Driver(store=store)
    first = driver.init_chain()
    driver.app.finalize_block(driver.make_finalize())
    store.close()
    again = Driver(store=LmdbStore(tmp_path / "state"))
    assert again.height == 0
    assert again.init_chain() == first
    again.block()
    assert again.height == 1
    again.store.close()


def test_signatures_are_verified_once_between_check_tx_and_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []

    def count(public_key: bytes, message: bytes, signature: bytes) -> bool:
        verified.append(signature)
        return crypto.is_valid_signature(public_key, message, signature)

    monkeypatch.setattr(transaction, "is_valid_signature", count)
    driver = Driver().begin()
    txs = [transfer(driver) for _ in range(10)]
    assert [driver.check(tx) for tx in txs] == [0] * 10
    prepared = driver.app.prepare_proposal(abci.RequestPrepareProposal(txs=txs, max_tx_bytes=100_000, height=2))
    driver.app.process_proposal(abci.RequestProcessProposal(txs=prepared.txs, height=2))
    driver.app.finalize_block(driver.make_finalize(txs[:5]))
    driver.app.commit(abci.RequestCommit())
    assert [driver.check(tx, recheck=True) for tx in txs[5:]] == [0] * 5
    assert len(verified) == 10
