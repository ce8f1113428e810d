"""What can go wrong between a client and the chain. Every error says what to do next in `hint`."""

from typing import Final

from abci_app.protocol.errors import REASONS

NODE_DEFECT: Final = 999
"""Code of a node that failed itself while it checked a transaction; no reason of the chain has this number."""


def describe(error: Exception) -> str:
    """Return what an error says, or its kind where it says nothing: of a line that broke HTTP clients say no more."""
    return str(error) or type(error).__name__


class ClientError(Exception):
    """Base of all errors of the client. `str()` is one sentence; `hint` says what to do next."""

    hint: str = "run the command again"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class NodeUnreachable(ClientError):
    """The node does not answer."""

    hint = "start a node (lc node start, lc devnet up) or name one with --node"


class ClientClosed(ClientError):
    """The client was closed before."""

    hint = "connect again"

    def __init__(self) -> None:
        super().__init__("the client is closed")


class BadAnswer(ClientError):
    """The node answered something that a node of this chain and version would not."""

    hint = "the node may be of another version or still starting: look at lc node status, or use another --node"


class QueryRefused(BadAnswer):
    """The node knows no such query, or not with these arguments."""

    hint = "correct the path: docs/protocol.md lists the views; a node of another version may have others"


class WaitTimeout(ClientError):
    """What was waited for did not happen in time. Nothing is known to have failed."""

    hint = "the chain may have halted or be slow: look at lc node status"


class NothingSent(WaitTimeout):
    """The time was over before a transaction was signed and sent."""

    hint = "run the command again, with more time (--timeout) if the node is only slow: see lc node status"

    def __init__(self) -> None:
        super().__init__("the node did not answer all questions in time, and nothing was sent")


class TxError(ClientError):
    """A transaction that the chain did not carry out. `code` is a number of `abci_app.protocol.errors.REASONS`."""

    def __init__(self, code: int, tx_hash: bytes, where: str) -> None:
        reason = REASONS.get(code)
        name, hint = (reason.name, reason.hint) if reason is not None else _describe_unknown(code)
        super().__init__(f"{where}: {name} (error {code})", hint)
        self.code = code
        self.name = name
        self.tx_hash = tx_hash


def _describe_unknown(code: int) -> tuple[str, str]:
    """Return name and hint of a code that is no reason of the chain."""
    if code == NODE_DEFECT:
        return "internal_error", "the node has a defect, of which its own log tells: use another --node"
    return "unknown_reason", "this node may be newer than this client: upgrade it"


class TxRefused(TxError):
    """Refused before it entered the mempool: nothing happened and nothing will."""

    def __init__(self, code: int, tx_hash: bytes) -> None:
        super().__init__(code, tx_hash, "the node refused the transaction")


class WouldBeRefused(TxRefused):
    """A transaction that was not sent, because the chain would refuse it now."""

    def __init__(self, code: int) -> None:
        TxError.__init__(self, code, b"", "the chain would refuse this")


class TxFailed(TxError):
    """Failed in a block: nonce and quota are used up, nothing else happened."""

    def __init__(self, code: int, tx_hash: bytes, height: int) -> None:
        super().__init__(code, tx_hash, f"the transaction failed in block {height}")
        self.height = height


class TxPending(WaitTimeout):
    """A sent transaction is not in a block yet; it may still get there until its expiry height."""

    def __init__(self, tx_hash: bytes, waited_s: float, height: int, expires_at_height: int) -> None:
        super().__init__(
            f"transaction {tx_hash.hex()} is in no block up to height {height} after {waited_s:.1f} s",
            f"it can still land up to height {expires_at_height}: run the same command again to resend it unchanged",
        )
        self.tx_hash = tx_hash


class TxExpired(ClientError):
    """A sent transaction was not in any block up to its expiry height: it can never be carried out."""

    hint = "send it again: a new transaction is signed then"

    def __init__(self, tx_hash: bytes, expires_at_height: int) -> None:
        super().__init__(f"transaction {tx_hash.hex()} expired at height {expires_at_height} without entering a block")
        self.tx_hash = tx_hash


class WrongChain(ClientError):
    """The node belongs to another chain than expected."""

    hint = "check --node and the chain tag in the settings; no transaction was sent to this node"
