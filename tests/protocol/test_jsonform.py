"""Records as JSON and back."""

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jsonform import message_from_json, message_to_json

ADDRESS = bytes(range(20))


def make_job() -> pb.Job:
    job = pb.Job(id=2**63, contractor=ADDRESS, state=pb.JOB_STATE_OPEN, winning_loss=-(2**62), excluded=[ADDRESS])
    job.terms.title = "λ"
    job.candidates.add(account=ADDRESS, loss=-1, commitment=b"\xff" * 32, secured=True)
    return job


@pytest.mark.parametrize(
    "message",
    [
        make_job(),
        pb.Account(keys=[pb.Key(public_key=bytes(32), scope=tx_pb2.KEY_SCOPE_WORK)], balance=2**64 - 1, banned=True),
        pb.Round(locations=["http://a", "http://b"], votes=[pb.Vote(account=ADDRESS, finding=tx_pb2.FINDING_OVERRUN)]),
        pb.CheckerTable(class_bonds=[1, 2**63], entries=[pb.TableEntry(account=ADDRESS)]),
        pb.Validator(operator=ADDRESS, missed_heights=[1, 2, 3]),
        pb.Supply(),
        tx_pb2.TxBody(account=ADDRESS, transfer=tx_pb2.Transfer(to=ADDRESS, amount=1)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_goes_out_comes_back(message: Message) -> None:
    assert message_from_json(message_to_json(message), type(message)) == message


def test_the_form_is_what_people_and_javascript_can_read() -> None:
    shown = message_to_json(make_job())
    assert shown["id"] == "9223372036854775808"
    assert shown["contractor"] == encode_address(ADDRESS)
    assert shown["excluded"] == [encode_address(ADDRESS)]
    assert shown["state"] == "OPEN"
    assert shown["winner"] == ""
    assert shown["renewed"] is False
    assert shown["candidates"][0]["commitment"] == "ff" * 32
    assert set(shown) == {field.name for field in pb.Job.DESCRIPTOR.fields}


def test_an_unset_part_is_null_and_an_unset_choice_is_left_out() -> None:
    assert message_to_json(pb.Job())["terms"] is None
    assert "transfer" not in message_to_json(tx_pb2.TxBody())


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        ([], pb.Job, "not a JSON object"),
        ({"colour": "1"}, pb.Job, "no field 'colour'"),
        ({"id": 1}, pb.Job, "id: 1 is not a string"),
        ({"id": "1.5"}, pb.Job, "not a decimal integer"),
        ({"id": "-1"}, pb.Job, "id: "),
        ({"id": str(2**64)}, pb.Job, "id: "),
        ({"id": "9" * 5_000}, pb.Job, "not a decimal integer"),
        ({"state": "SLEEPING"}, pb.Job, "none of UNSPECIFIED, OPEN"),
        ({"contractor": "00" * 20}, pb.Job, "an address starts with lc1"),
        ({"opening_hash": "zz"}, pb.Job, "not hex"),
        ({"renewed": "true"}, pb.Job, "neither true nor false"),
        ({"candidates": {}}, pb.Job, "a list is expected"),
        ({"candidates": ["x"]}, pb.Job, "candidates: Candidate is not a JSON object"),
        ({"terms": {"title": 5}}, pb.Job, "terms: title: 5 is not a string"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field(data: Any, kind: type[Message], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        message_from_json(data, kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "terms", "state", "x"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_json_gives_a_record_or_a_reason(data: Any) -> None:
    with suppress(ValueError):
        assert isinstance(message_from_json(data, pb.Job), pb.Job)
