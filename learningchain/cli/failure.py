"""Failures a user can act on, and how every expected error becomes one."""

import traceback
from dataclasses import dataclass
from typing import Final

from learningchain.claims import ClaimError
from learningchain.cli import exit_codes
from learningchain.client import errors
from learningchain.client.journal import JournalBusy, JournalError
from learningchain.devnet.plan import DevnetError
from learningchain.node_home import NodeError, NodeSilent
from learningchain.settings import SettingsError, SettingsFileError
from learningchain.wallet import BadKeyName, KeystoreError, NoSuchKey
from learningchain.wallet.files import FileError

INTERRUPTED_HINT: Final = "run the same command again: what was sent already is not sent twice"


class Failure(Exception):
    """What went wrong, what to do next, and the exit code."""

    def __init__(self, message: str, hint: str, exit_code: int = exit_codes.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Report:
    """A failure as it is shown.

    `code` and `name` are those of the chain's reason, if it refused something; a defect of the program has a traceback.
    """

    message: str
    hint: str
    exit_code: int
    code: int | None = None
    name: str | None = None
    traceback: str = ""


EXPECTED = (
    Failure,
    errors.ClientError,
    KeystoreError,
    SettingsError,
    JournalError,
    FileError,
    ClaimError,
    NodeError,
    DevnetError,
    OSError,
)
"""Errors that are shown as one sentence instead of a traceback."""

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.TxRefused, exit_codes.REFUSED),
    (errors.TxFailed, exit_codes.FAILED_IN_BLOCK),
    (errors.TxExpired, exit_codes.TIMEOUT),
    (errors.WaitTimeout, exit_codes.TIMEOUT),
    (JournalBusy, exit_codes.TIMEOUT),
    (errors.NodeUnreachable, exit_codes.UNREACHABLE),
    (NodeSilent, exit_codes.UNREACHABLE),
    (NoSuchKey, exit_codes.NOT_FOUND),
    (BadKeyName, exit_codes.USAGE),
    (SettingsFileError, exit_codes.FAILED),
    (SettingsError, exit_codes.USAGE),
    (FileNotFoundError, exit_codes.NOT_FOUND),
)


def describe(error: BaseException) -> Report:
    """Return what to show for an expected error."""
    if isinstance(error, Failure):
        return Report(str(error), error.hint, error.exit_code)
    exit_code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), exit_codes.FAILED)
    if isinstance(error, errors.TxError):
        return Report(str(error), error.hint, exit_code, error.code, error.name)
    if isinstance(error, errors.ClientError | SettingsError):
        return Report(str(error), error.hint, exit_code)
    if isinstance(error, JournalError) or (isinstance(error, NodeError) and error.hint):
        return Report(error.message, error.hint, exit_code)
    if isinstance(error, OSError):
        return Report(_describe_os_error(error), "correct this and run the command again", exit_code)
    message, hint = split_text(str(error))
    return Report(message, hint, exit_code)


def describe_defect(error: Exception) -> Report:
    """Return what to show for an error that nobody expected: all that is needed to find its cause."""
    return Report(
        f"the program has a defect: {type(error).__name__}: {error}",
        "report it to its authors with the command and the traceback",
        exit_codes.FAILED,
        traceback="".join(traceback.format_exception(error)),
    )


def split_text(text: str) -> tuple[str, str]:
    """Return message and hint of an error whose text is `message: what to do`."""
    message, _, hint = text.partition(": ")
    return message, hint or "correct this and run the command again"


def _describe_os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {reason}" if names else reason
