"""Counts the folders that a tar does not name and an engine makes all the same, above the files in them.

One entry can have a thousand of them above it. Tars name a folder before what is in it and go through it before the
next one. So only the folders of the entry before are known here: what another order, links or dots hide counts anew,
perhaps more than once, but nothing is made that does not count.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from worker.sandbox.unpack import LayerError

MAX_NAME_BYTES: Final = 4096  # of Linux; no engine makes a file with a longer name
_LINKS: Final = (b"1", b"2")  # hard ones too: they can name symbolic ones
_FOLDER: Final = b"5"
_NOTHING: Final = (b"", b".")


class Folders:
    """What is known of the folders of a tar, entry by entry in their order."""

    def __init__(self) -> None:
        """None is known but the uppermost."""
        self._known: list[bytes] = []  # the parts of the path of one folder, none of which is a link
        self._links: set[int] = set()  # by the hashes of their paths: paths would take much more memory

    def count(self, name: bytes, kind: bytes) -> int:
        """Return how many folders above an entry are perhaps made with it. Raises LayerError."""
        if len(name) > MAX_NAME_BYTES:
            raise LayerError(f"a layer has a name of more than {MAX_NAME_BYTES} bytes")
        path = [part for part in name.split(b"/") if part not in _NOTHING]
        above = path[:-1]
        hashes = list(accumulate(path, _join, initial=0))[1:]
        if b".." in path or not self._links.isdisjoint(hashes[:-1]):
            self._known = []
            return len(above)
        new = len(above) - count_common(above, self._known)
        self._known = path if kind == _FOLDER else above
        if kind in _LINKS:
            self._links.update(hashes[-1:])
        return new


def _join(above: int, part: bytes) -> int:
    """Return the hash of a path from that of the path above it."""
    return hash((above, part))


def count_common(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the length of the common beginning."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
