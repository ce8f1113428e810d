"""An account that sends, on a chain in memory."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from learningchain.client import Client, Sender, register
from learningchain.client.journal import Journal
from learningchain.wallet import SecretKey
from tests.support.chain import Chain, Holding
from tests.support.memory_client import MemoryTransport

T = TypeVar("T")
SEED = b"s" * 32


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own."""
    return asyncio.run(work)


class Bench:
    """A chain on which one more account, that of a SecretKey, holds credits."""

    def __init__(self, auto_ms: int | None = 1_000) -> None:
        self.chain = Chain(accounts={"alice": Holding(), "bob": Holding()})
        self.transport = MemoryTransport(self.chain, auto_ms)
        self.client = Client(self.transport)
        self.key = SecretKey(SEED)
        self.chain.block()
        run(register(self.client, self.key))
        self.chain.must("alice", tx_pb2.Transfer(to=self.key.address, amount=100 * UCREDIT))
        self.start = self.chain.balance("bob")

    def sender(self, journal: Journal | None = None) -> Sender:
        return Sender(self.client, self.key, journal=journal)

    def pay(self, amount: int = UCREDIT) -> tx_pb2.Transfer:
        return tx_pb2.Transfer(to=self.chain.address("bob"), amount=amount)

    @property
    def paid(self) -> int:
        return (self.chain.balance("bob") - self.start) // UCREDIT
