"""Checks of text that depend on bytes alone: protobuf has made sure that it is UTF-8."""

from abci_app.protocol import errors


def check_text(text: str, max_bytes: int) -> None:
    """Raise BadText unless `text` has at most `max_bytes` bytes, none of them below 0x20 or 0x7f."""
    data = text.encode("utf-8")
    if len(data) > max_bytes or any(byte < 0x20 or byte == 0x7F for byte in data):
        raise errors.BadText
