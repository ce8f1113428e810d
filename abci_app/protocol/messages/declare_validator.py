"""DeclareValidator{consensus_key, proof}: not carried out by this version, whose validators come from the genesis."""

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.context import TxContext
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.DeclareValidator) -> None:
    """Raise NotSupported."""
    raise errors.NotSupported


def check_stateful(state: StateRead, context: TxContext, message: pb.DeclareValidator) -> None:
    """Nothing is left to check."""


def execute(state: StateWrite, context: TxContext, message: pb.DeclareValidator) -> None:
    """Do nothing: the first check refuses every such message."""
