"""SetProfile{name, endpoint}: how the account calls itself, and where its node serves and relays models. Any key."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import events, keys
from abci_app.protocol.context import TxContext
from abci_app.protocol.limits import MAX_ENDPOINT_BYTES, MAX_NAME_BYTES
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.text import check_text

WORK_SCOPE = True


def check_stateless(message: pb.SetProfile) -> None:
    """Raise BadText."""
    check_text(message.name, MAX_NAME_BYTES)
    check_text(message.endpoint, MAX_ENDPOINT_BYTES)


def check_stateful(state: StateRead, context: TxContext, message: pb.SetProfile) -> None:
    """Nothing is left to check."""


def execute(state: StateWrite, context: TxContext, message: pb.SetProfile) -> None:
    """Replace the profile; one with neither name nor endpoint is no record."""
    key = keys.profile(context.account)
    if message.name or message.endpoint:
        profile = state.edit(key, state_pb2.Profile)
        profile.name, profile.endpoint = message.name, message.endpoint
    else:
        state.delete(key)
    state.record(events.account_profile_set(context.account))
