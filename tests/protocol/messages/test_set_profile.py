import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, keys
from tests.support.chain import Chain


@pytest.fixture
def chain() -> Chain:
    return Chain()


def profile(chain: Chain) -> pb.Profile | None:
    return chain.get(keys.profile(chain.address("alice")), pb.Profile)


def test_a_profile_is_stored_and_replaced_as_a_whole(chain: Chain) -> None:
    chain.must("alice", tx_pb2.SetProfile(name="Alice", endpoint="https://alice.example:8440"))
    assert profile(chain) == pb.Profile(name="Alice", endpoint="https://alice.example:8440")
    result = chain.must("alice", tx_pb2.SetProfile(name="A"))
    assert profile(chain) == pb.Profile(name="A")
    assert [event.type for event in result.events] == ["account.profile_set"]


def test_an_endpoint_alone_is_a_profile(chain: Chain) -> None:
    chain.must("alice", tx_pb2.SetProfile(endpoint="https://alice.example"))
    assert profile(chain) == pb.Profile(endpoint="https://alice.example")


def test_an_empty_profile_removes_the_record(chain: Chain) -> None:
    chain.must("alice", tx_pb2.SetProfile(name="Alice"))
    chain.must("alice", tx_pb2.SetProfile())
    assert profile(chain) is None


def test_the_longest_name_and_endpoint_are_accepted(chain: Chain) -> None:
    chain.must("alice", tx_pb2.SetProfile(name="ü" * 32, endpoint="x" * 256))


@pytest.mark.parametrize(
    "message",
    [
        tx_pb2.SetProfile(name="x" * 65),
        tx_pb2.SetProfile(name="ü" * 33),
        tx_pb2.SetProfile(name="a\x1b[31m"),
        tx_pb2.SetProfile(endpoint="x" * 257),
        tx_pb2.SetProfile(endpoint="http://a\r\n"),
    ],
)
def test_invalid_bad_text(chain: Chain, message: tx_pb2.SetProfile) -> None:
    assert chain.send("alice", message).code == errors.BadText.code
    assert profile(chain) is None
