"""What the worker's actions work with, and how they fail."""

from dataclasses import dataclass
from pathlib import Path

from learningchain.claims import Claims
from learningchain.client import ChainClient, Relay, Sender
from learningchain.models import order_relays
from learningchain.wallet import SecretKey
from worker.journal import JournalError
from worker.models.store import ModelStore, StoreFull
from worker.models.transfer import ModelTransfer, TransferError
from worker.sandbox import OwnFailureError, Sandbox


class ActionFailed(Exception):
    """An instruction could not be carried out now; the text says why."""


class Overtaken(ActionFailed):
    """The chain went on meanwhile, as in every race: what was to be done is of no use any more."""


class ModelGone(ActionFailed):
    """The model is not in the store any more."""


@dataclass(slots=True)
class Tools:
    """What actions work with."""

    client: ChainClient
    sender: Sender
    key: SecretKey
    account: bytes
    chain_tag: bytes
    sandbox: Sandbox
    store: ModelStore
    transfer: ModelTransfer
    endpoint: str
    scratch: Path
    claims: Claims

    async def list_relays(self, digest: bytes) -> list[Relay]:
        """Return all relays but this node, in the order for the model."""
        relays = await self.client.list_relays()
        return order_relays([relay for relay in relays if relay.account != self.account], digest)

    def get_model(self, digest: bytes) -> Path:
        """Return a model's file in the store. Raises ModelGone."""
        path = self.store.get_path(digest)
        if path is None:
            raise ModelGone("the model is not in the store any more")
        return path


EXPECTED_FAILURES = (ActionFailed, JournalError, OwnFailureError, StoreFull, TransferError)
