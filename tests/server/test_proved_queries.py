"""Records with proofs, for the last height and the one before."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.proof import check_absence, check_value
from abci_app.server.query import BAD_ARGUMENT, HEIGHT_NOT_HELD, UNKNOWN_PATH
from tests.server.driver import Driver


@pytest.fixture
def driver() -> Driver:
    """Three blocks; alice paid 5 in the second and 7 in the third."""
    driver = Driver().begin()
    for amount in (5, 7):
        driver.block([driver.sign("alice", tx_pb2.Transfer(to=driver.chain.address("bob"), amount=amount))])
    return driver


def test_a_record_is_proved_against_the_app_hash_of_its_height(driver: Driver) -> None:
    key = keys.account(driver.chain.address("alice"))
    answers = {height: driver.query("/store/accounts/key", key, height, prove=True) for height in (2, 3)}
    for height, answer in answers.items():
        with driver.store.view(height) as view:
            assert answer.value == view.get(key)
            check_value(view.meta.app_hash, key, answer.value, answer.proof_ops)
        assert (answer.code, answer.key, answer.height) == (0, key, height)
    assert answers[2].value != answers[3].value


def test_without_a_height_the_one_before_the_last_is_proved_since_its_header_exists(driver: Driver) -> None:
    assert driver.query("/store/chain/key", keys.SUPPLY, prove=True).height == 2


def test_without_prove_there_is_no_proof(driver: Driver) -> None:
    answer = driver.query("/store/chain/key", keys.SUPPLY)
    assert answer.value
    assert not answer.HasField("proof_ops")


def test_an_absent_record_is_proved_absent(driver: Driver) -> None:
    key = keys.account(bytes(20))
    answer = driver.query("/store/accounts/key", key, 3, prove=True)
    assert (answer.code, answer.value, answer.log) == (0, b"", "absent")
    check_absence(driver.store.meta.app_hash, key, answer.proof_ops)


@pytest.mark.parametrize("height", [1, 4, -1, 10**12])
def test_other_heights_are_refused_with_those_there_are(driver: Driver, height: int) -> None:
    answer = driver.query("/store/chain/key", keys.SUPPLY, height, prove=True)
    assert answer.code == HEIGHT_NOT_HELD
    assert "2 or 3" in answer.log


@pytest.mark.parametrize("path", ["/store", "/store/accounts", "/store/nothing/key", "/store/accounts/keys"])
def test_paths_that_name_no_store_are_refused(driver: Driver, path: str) -> None:
    assert driver.query(path, keys.SUPPLY).code == UNKNOWN_PATH


@pytest.mark.parametrize("key", [b"", b"z", keys.SUPPLY, b"a" * 65, b"\xff"])
def test_what_is_no_key_of_the_store_is_refused(driver: Driver, key: bytes) -> None:
    assert driver.query("/store/accounts/key", key, prove=True).code == BAD_ARGUMENT


def test_any_bytes_of_a_store_get_an_answer(driver: Driver) -> None:
    for key in (b"a", b"a" * 64, b"ax", b"s\x00"):
        assert driver.query("/store/accounts/key", key, prove=True).code == 0
