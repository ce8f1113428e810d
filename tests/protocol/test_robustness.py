"""No transaction whatever may stop a block: an exception in the core would halt the whole chain."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.block import Block, TxResult, process_block
from abci_app.protocol.errors import REASONS
from abci_app.protocol.hashing import get_tx_sign_bytes
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.state import BlockState
from tests.support.chain import consensus_address
from tests.support.market import Market, measured

UNSIGNED = [0, 1, 2, 3, 5, UCREDIT - 1, UCREDIT, 10 * UCREDIT, 2**31, 2**53, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
SIGNED = [0, 1, -1, 1_000, -(2**62), 2**62, 2**62 + 1, 2**63 - 1, -(2**63)]
TEXTS = ["", "x", "é" * 20, "a\nb", "x" * 600, "r.example/j@sha256:" + "ab" * 32]


@pytest.fixture(scope="module")
def market() -> Market:
    """Jobs in OPEN (1), VOTE (2), TALLY (3), REVEAL (4) and PAID (5)."""
    market = Market(overrides={"tally_window_ms": 600_000, "vote_window_ms": 600_000})
    assert market.submit(runner_ups=2, expiry_ms=market.time_ms + 900_000) == 1
    market.announce("worker0", 1, 0)
    assert market.open_vote() == 2
    assert market.open_vote("worker1") == 3
    market.commit_votes(3, dict.fromkeys(market.seats(3), measured(0)))
    paid = market.open_vote("worker2")
    market.decide_all(paid, measured(0))
    waiting = market.submit(reveal_window_ms=60_000, deposit=2 * UCREDIT)
    market.announce("worker3", waiting, 0, secured=True)
    market.expire(waiting)
    return market


def values(field: Any) -> st.SearchStrategy[Any]:
    """Return values of a field, mostly on the edges of what it can hold."""
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return messages(field.message_type)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.integers(0, 6)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.sampled_from([b"", bytes(32), b"x" * 20, bytes(64)]), st.binary(max_size=33))
    edges = UNSIGNED if field.type == FieldDescriptor.TYPE_UINT64 else SIGNED
    low, high = (0, 2**64 - 1) if field.type == FieldDescriptor.TYPE_UINT64 else (-(2**63), 2**63 - 1)
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


def messages(descriptor: Any) -> st.SearchStrategy[Message]:
    """Return messages of a type with any fields."""
    kind = getattr(tx_pb2, descriptor.name)
    fields = {
        field.name: st.lists(values(field), max_size=5) if field.is_repeated else values(field)
        for field in descriptor.fields
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: kind(**chosen))


BODIES = [field for field in tx_pb2.TxBody.DESCRIPTOR.oneofs[0].fields if field.name != "register"]
ANY = st.one_of(*(st.tuples(st.just(field.name), messages(field.message_type)) for field in BODIES))
NAMES = ("carl", "val0", "worker0", "worker1", "worker3", "checker0", "checker1")


def run(market: Market, txs: list[bytes]) -> list[TxResult]:
    """Run the next block without committing it."""
    block = Block(
        height=market.height + 1,
        time_ms=market.time_ms + 1_000,
        block_hash=b"h" * 32,
        proposer_address=consensus_address("val0"),
        txs=txs,
        previous_time_ms=market.time_ms,
        signed=[consensus_address("val0")],
    )
    return process_block(BlockState(market.committed), market.tag, block, market.cache).tx_results


@settings(max_examples=400)
@given(name=st.sampled_from(NAMES), body=ANY)
def test_any_message_of_anybody_succeeds_or_fails_with_a_known_number(
    market: Market, name: str, body: tuple[str, Message]
) -> None:
    _, message = body
    key = market.account(name).keys[0]
    result = run(market, [market.sign(name, message, nonce=key.nonce + 1)])[0]
    assert result.code == 0 or result.code >= 100
    assert result.code in {0, *REASONS}


@settings(max_examples=200)
@given(data=st.data())
def test_true_messages_with_one_field_changed_do_so_too(market: Market, data: st.DataObject) -> None:
    """Closer to the edge: everything fits the state but one value."""
    checker = next(iter(market.seats(2)))
    name, message = data.draw(
        st.sampled_from(
            [
                ("carl", market.terms()),
                ("carl", tx_pb2.RaiseBounty(job_id=1, amount=5)),
                ("worker5", market.announcement("worker5", 1, -5_000)),
                ("worker0", market.announcement("worker0", 1, -5_000)),
                ("worker3", market.revelation("worker3", 5)),
                (checker, market.commitment(checker, 2, measured(0))),
                (checker, market.vote(3, measured(0))),
                ("checker0", tx_pb2.Unbond(amount=UCREDIT)),
            ]
        )
    )
    field: Any = data.draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
    value = data.draw(st.lists(values(field), max_size=5) if field.is_repeated else values(field))
    changed = type(message).FromString(message.SerializeToString())
    changed.ClearField(field.name)
    changed.MergeFrom(type(message)(**{field.name: value}))
    key = market.account(name).keys[0]
    assert run(market, [market.sign(name, changed, nonce=key.nonce + 1)])[0].code in {0, *REASONS}


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_fail_with_an_envelope_number(market: Market, data: bytes) -> None:
    assert 0 < run(market, [data])[0].code < 100


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_to_a_signed_transaction_is_an_envelope_failure(market: Market, data: st.DataObject) -> None:
    key = market.account("carl").keys[0]
    tx = bytearray(market.sign("carl", tx_pb2.Bond(amount=UCREDIT), nonce=key.nonce + 1))
    at = data.draw(st.integers(0, len(tx) - 1))
    tx[at] ^= data.draw(st.integers(1, 255))
    assert 0 < run(market, [bytes(tx)])[0].code < 100


@settings(max_examples=200)
@given(body=st.binary(max_size=200))
def test_any_signed_body_fails_with_an_envelope_number(market: Market, body: bytes) -> None:
    wallet = market.wallet("carl")
    signature = wallet.sign(get_tx_sign_bytes(market.tag, body))
    tx = tx_pb2.SignedTx(body_bytes=body, public_key=wallet.public_key, signature=signature)
    assert 0 < run(market, [tx.SerializeToString(deterministic=True)])[0].code < 100
