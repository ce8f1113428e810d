"""Queries: proved records under `/store/<name>/key`, and views, which are JSON without proof."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import proof
from abci_app.protocol.keys import STORE_OF, STORES
from abci_app.store.interface import HeightNotHeldError, Store

QUERY_CODESPACE: Final = "learningchain.query"
UNKNOWN_PATH, BAD_ARGUMENT, NOT_FOUND, HEIGHT_NOT_HELD, QUERY_INTERNAL = 1, 2, 3, 4, 5
"""Codes of refused queries; the last one is of a query that failed for a defect of this program."""
MAX_PATH_BYTES: Final = 512
MAX_KEY_BYTES: Final = 64
"""Longer than any state key, in bytes."""


class QueryError(Exception):
    """A query that has no answer: its code and a sentence that says what to do."""

    def __init__(self, code: int, reason: str) -> None:
        """Take code and reason."""
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Question:
    """A view's arguments: the parts of the path after its name, `?name=value` options, and the query's data."""

    parts: tuple[str, ...]
    options: Mapping[str, str]
    data: bytes


View = Callable[[Question], Mapping[str, Any]]


class QueryRouter:
    """Answers queries from the committed state."""

    def __init__(self, store: Store, views: Mapping[str, View]) -> None:
        """`views` maps the first part of a path to the view it names."""
        self._store = store
        self._views = views

    def answer(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        """Return the answer, or a code with a reason; never raises for anything a client can send."""
        try:
            if len(request.path.encode()) > MAX_PATH_BYTES:
                raise QueryError(BAD_ARGUMENT, f"a path has at most {MAX_PATH_BYTES} bytes")
            path, _, options = request.path.partition("?")
            parts = tuple(part for part in path.split("/") if part)
            if parts and parts[0] == "store":
                return self._answer_record(parts, request)
            return self._answer_view(parts, options, request)
        except QueryError as error:
            return abci.ResponseQuery(code=error.code, codespace=QUERY_CODESPACE, log=str(error))

    def _answer_view(self, parts: tuple[str, ...], options: str, request: abci.RequestQuery) -> abci.ResponseQuery:
        view = self._views.get(parts[0] if parts else "")
        if view is None:
            names = ", ".join(f"/{name}" for name in sorted(self._views))
            raise QueryError(UNKNOWN_PATH, f"there is no such path; there are {names} and /store/<name>/key")
        height = self._store.meta.height
        if request.height not in (0, height):
            raise QueryError(HEIGHT_NOT_HELD, f"views show the last height, {height}: leave the height out")
        if not height:
            raise QueryError(NOT_FOUND, "the chain has no block yet: ask again in a moment")
        answer = view(Question(parts[1:], _parse_options(options), request.data))
        value = json.dumps(
            {"proved": False, "height": str(height), **answer}, separators=(",", ":"), ensure_ascii=False
        )
        return abci.ResponseQuery(value=value.encode(), height=height)

    def _answer_record(self, parts: tuple[str, ...], request: abci.RequestQuery) -> abci.ResponseQuery:
        """Return a record with its proof. The header after the answer's height carries the app hash it is proved by."""
        key = request.data
        if len(parts) != 3 or parts[1] not in STORES or parts[2] != "key":
            raise QueryError(UNKNOWN_PATH, f"write /store/<name>/key with a name of {', '.join(STORES)}")
        if not 1 <= len(key) <= MAX_KEY_BYTES or STORE_OF.get(key[0]) != parts[1]:
            raise QueryError(BAD_ARGUMENT, f"data is not a state key of the store {parts[1]}")
        held = self._store.heights()
        if not held:
            raise QueryError(NOT_FOUND, "the chain has no block yet: ask again in a moment")
        try:
            with self._store.view(request.height or held[0]) as view:
                value = view.get(key)
                ops = proof.prove(view, key) if request.prove else None
                height = view.meta.height
        except HeightNotHeldError as error:
            raise QueryError(HEIGHT_NOT_HELD, str(error)) from error
        return abci.ResponseQuery(
            key=key, value=value or b"", height=height, proof_ops=ops, log="" if value else "absent"
        )


def _parse_options(text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=16)
    except ValueError as error:
        raise QueryError(BAD_ARGUMENT, f"the options after '?' are not name=value&…: {error}") from error
    return dict(pairs)
