"""From ABCI's requests to the application's methods, and what happens when one of them fails."""

from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.base import BaseApplication
from abci_app.server.conversions import CODESPACE
from abci_app.server.query import QUERY_CODESPACE, QUERY_INTERNAL
from abci_app.store.interface import StoreError

LOG = structlog.get_logger("abci")

CODE_INTERNAL: Final = 999
"""Code of a CheckTx that failed for a defect of this program, not for the transaction."""
_HINT: Final = (
    "If the chain goes on without this node, its store may be damaged: stop it, move the folder 'state' of the "
    "application away and start it again, and it builds the state anew from CometBFT's blocks"
)


class NodeFailure(RuntimeError):
    """The node must stop: going on could answer wrongly."""


METHODS: Final = tuple(field.name for field in abci.Request.DESCRIPTOR.oneofs_by_name["value"].fields)
"""Names of the methods, as the fields of Request name them."""
_UNREADABLE: Final = abci.RequestQuery(path="\N{REPLACEMENT CHARACTER}")


def read_query(content: bytes) -> abci.RequestQuery:
    """Decode a query; one that cannot be decoded asks for a path that there is not.

    CometBFT's RPC hands on any bytes as the path, and text that is not UTF-8 is no protobuf. To refuse the request as
    such would end CometBFT, which does not live on without its connection for queries.
    """
    try:
        return abci.RequestQuery.FromString(content)
    except DecodeError:
        return _UNREADABLE


class Dispatcher:
    """Calls the application and turns its failures into the answer, or the stop, that keeps the node honest."""

    def __init__(self, application: BaseApplication) -> None:
        """Look the methods up once."""
        self._methods = {name: getattr(application, name) for name in METHODS}

    def call(self, name: str, request: Any) -> Any:
        """Return the application's response to the request `name`.

        A defect found by a transaction or a query from outside must not stop the node: it is logged and answered with
        a code. A defect anywhere else raises NodeFailure: rather no answer than another one than the others give.
        """
        try:
            return self._methods[name](request)
        except NodeFailure:
            LOG.exception("the node stops", method=name)
            raise
        except StoreError as error:  # the disk is full or damaged: no defect of this program
            LOG.error("the node stops", method=name, reason=str(error))
            raise NodeFailure(f"{name} failed: {error}") from error
        except Exception as error:
            LOG.exception("a defect of this program: please report it", method=name)
            if name == "check_tx":
                return abci.ResponseCheckTx(code=CODE_INTERNAL, codespace=CODESPACE, log="internal_error")
            if name == "query":
                return abci.ResponseQuery(code=QUERY_INTERNAL, codespace=QUERY_CODESPACE, log="internal error")
            raise NodeFailure(f"{name} failed: {type(error).__name__}: {error}. {_HINT}") from error
