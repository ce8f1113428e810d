"""Register{solution}: a new account with 0 credits, for work. All its checks are those of the envelope."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import events, keys
from abci_app.protocol.accounts import edit_standing
from abci_app.protocol.context import TxContext
from abci_app.protocol.quota import get_full_bucket
from abci_app.protocol.registration import count_registration
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.Register) -> None:
    """Nothing is left to check."""


def check_stateful(state: StateRead, context: TxContext, message: pb.Register) -> None:
    """Nothing is left to check."""


def execute(state: StateWrite, context: TxContext, message: pb.Register) -> None:
    """Create the account with its first key as owner and a full bucket."""
    block = context.block
    account = state.edit(keys.account(context.account), state_pb2.Account)
    account.keys.add(public_key=context.public_key, scope=pb.KEY_SCOPE_OWNER)
    account.bucket_units = get_full_bucket(account, block.params)
    account.bucket_ms = block.time_ms
    edit_standing(state, context.account).silent_since_ms = block.time_ms
    count_registration(state, block.time_ms)
    state.record(events.account_registered(context.account))
