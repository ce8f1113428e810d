"""`/check`: what would become of a transaction, without offering it to the mempool."""

from typing import Any

from abci_app.protocol import errors
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.envelope import check_envelope
from abci_app.protocol.mempool import check_message
from abci_app.protocol.state import BlockState, CommittedState
from abci_app.protocol.transaction import parse
from abci_app.server.arguments import require_parts
from abci_app.server.query import BAD_ARGUMENT, QueryError, Question


def show_check(state: CommittedState, context: BlockContext, question: Question) -> dict[str, Any]:
    """Check the transaction in `data` on the committed state; a refusal names the stage it came from."""
    require_parts(question)
    if not question.data:
        raise QueryError(BAD_ARGUMENT, "give the signed transaction as the query's data")
    stage, error = _find_fault(BlockState(state), context, question.data)
    if error is None:
        return {"ok": True, "stage": "", "code": 0, "name": "", "hint": ""}
    return {"ok": False, "stage": stage, "code": error.code, "name": error.name, "hint": error.hint}


def _find_fault(state: BlockState, context: BlockContext, tx: bytes) -> tuple[str, errors.TxError | None]:
    try:
        parsed = parse(tx)
    except errors.TxError as error:
        return "bytes", error
    tx_context = TxContext(context, parsed.account, 0, parsed.public_key)
    try:
        check_envelope(state, tx_context, parsed)
    except errors.TxError as error:
        return "envelope", error
    try:
        check_message(state, tx_context, parsed)
    except errors.TxError as error:
        return "message", error
    return "", None
