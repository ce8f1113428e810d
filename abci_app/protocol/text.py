"""Checks of text that depend on bytes alone: protobuf has made sure that it is UTF-8."""

import re
from typing import Final

from abci_app.protocol import errors

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


def check_text(text: str, max_bytes: int) -> None:
    """Raise BadText unless `text` has at most `max_bytes` bytes, none of them below 0x20 or 0x7f."""
    if not text:
        return
    data = text.encode("utf-8")
    if len(data) > max_bytes or _CONTROL.search(data):
        raise errors.BadText
