"""The messages, one module each: what it checks without state, what it checks against the state, what it does."""

from typing import Any, Final, Protocol

from abci_app.protocol.context import TxContext
from abci_app.protocol.messages import (
    announce,
    bond,
    cancel_job,
    commit_vote,
    declare_validator,
    raise_bounty,
    register,
    retire_validator,
    reveal,
    reveal_vote,
    set_checker,
    set_key,
    set_profile,
    submit_job,
    transfer,
    unbond,
    unjail,
)
from abci_app.protocol.state import StateRead, StateWrite


class Handler(Protocol):
    """One message. The checks raise MessageError; `execute` runs after both and cannot fail."""

    WORK_SCOPE: bool
    """Whether a work key may send it."""

    def check_stateless(self, message: Any) -> None:
        """Check what the message says by itself."""

    def check_stateful(self, state: StateRead, context: TxContext, message: Any) -> None:
        """Check the message against the state."""

    def execute(self, state: StateWrite, context: TxContext, message: Any) -> None:
        """Carry the message out."""


HANDLERS: Final[dict[str, Handler]] = {
    "register": register,
    "transfer": transfer,
    "submit_job": submit_job,
    "raise_bounty": raise_bounty,
    "cancel_job": cancel_job,
    "announce": announce,
    "reveal": reveal,
    "commit_vote": commit_vote,
    "reveal_vote": reveal_vote,
    "set_key": set_key,
    "set_profile": set_profile,
    "bond": bond,
    "unbond": unbond,
    "set_checker": set_checker,
    "declare_validator": declare_validator,
    "retire_validator": retire_validator,
    "unjail": unjail,
}
"""The handler of each field of `TxBody.message`."""
