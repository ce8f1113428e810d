"""The framing of the socket protocol, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.frames import FrameError, FrameReader, cut_only_field, encode_frame, encode_only_field


@given(st.lists(st.binary(max_size=400), max_size=8), st.data())
def test_frames_cut_at_any_bytes_come_out_as_they_went_in(contents: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(content) for content in contents)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, received = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += reader.feed(stream[start:end])
    assert received == contents
    assert not reader.has_partial_frame


def test_a_frame_split_at_every_byte_is_read_whole() -> None:
    content = bytes(range(256)) * 2
    frame = encode_frame(content)
    for cut in range(len(frame) + 1):
        reader = FrameReader()
        assert reader.feed(frame[:cut]) + reader.feed(frame[cut:]) == [content]


def test_bytes_that_come_one_by_one_are_read_whole() -> None:
    reader, received = FrameReader(), []
    for byte in encode_frame(b"x" * 300) + encode_frame(b"") + encode_frame(b"y"):
        received += reader.feed(bytes([byte]))
    assert received == [b"x" * 300, b"", b"y"]


def test_a_large_frame_in_many_pieces_is_copied_once_only() -> None:
    content = b"z" * 8_000_000
    frame, reader, received = encode_frame(content), FrameReader(), []
    for start in range(0, len(frame), 1_000):  # quadratic copying would take minutes
        received += reader.feed(frame[start : start + 1_000])
    assert received == [content]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_the_edges_of_the_varint(size: int) -> None:
    assert FrameReader().feed(encode_frame(bytes(size))) == [bytes(size)]


def test_a_frame_above_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(FrameError, match="a frame of 1001 bytes, at most 1000"):
        FrameReader(limit=1000).feed(encode_frame(bytes(1001))[:2])
    assert FrameReader(limit=1000).feed(encode_frame(bytes(1000))) == [bytes(1000)]


def test_a_length_that_never_ends_is_refused() -> None:
    reader = FrameReader()
    assert reader.feed(b"\x80\x80\x80\x80") == []
    with pytest.raises(FrameError, match="more than 5 bytes"):
        reader.feed(b"\x80")


@given(st.binary(max_size=300), st.integers(0, 1))
def test_the_only_field_of_a_message_is_cut_as_protobuf_reads_it(tx: bytes, kind: int) -> None:
    request = abci.RequestCheckTx(tx=tx, type=abci.RECHECK if kind else abci.NEW)
    message = abci.Request(check_tx=request).SerializeToString()
    content = cut_only_field(message, message[0])
    assert content is not None
    assert abci.RequestCheckTx.FromString(content) == request


@pytest.mark.parametrize(
    "message", [b"", b"\x42", b"\x42\x05abcd", b"\x42\x03abcd", b"\x12\x00", b"\x42" + b"\x80" * 9]
)
def test_messages_of_another_shape_are_left_to_protobuf(message: bytes) -> None:
    assert cut_only_field(message, 0x42) is None


@given(st.binary(max_size=300))
def test_a_field_is_encoded_as_protobuf_does(log: bytes) -> None:
    response = abci.ResponseFinalizeBlock(app_hash=log)
    number = abci.Response.DESCRIPTOR.fields_by_name["finalize_block"].number
    expected = abci.Response(finalize_block=response).SerializeToString()
    assert encode_only_field(number, response.SerializeToString()) == expected
