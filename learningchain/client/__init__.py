"""Speaking to the chain: questions, transactions, waiting. The interface is `ChainClient` in `interface.py`."""

from learningchain.client import errors
from learningchain.client.client import Client, connect
from learningchain.client.interface import (
    AccountView,
    BlockEvents,
    ChainClient,
    ChainInfo,
    JobPage,
    JobView,
    Relay,
    Status,
    TxCheck,
    TxResult,
    ValidatorView,
)
from learningchain.client.journal import FileJournal, Journal, MemoryJournal, Pending
from learningchain.client.sender import Sender, Settled, register
from learningchain.client.sync import SyncClient, SyncSender

__all__ = [
    "AccountView",
    "BlockEvents",
    "ChainClient",
    "ChainInfo",
    "Client",
    "FileJournal",
    "JobPage",
    "JobView",
    "Journal",
    "MemoryJournal",
    "Pending",
    "Relay",
    "Sender",
    "Settled",
    "Status",
    "SyncClient",
    "SyncSender",
    "TxCheck",
    "TxResult",
    "ValidatorView",
    "connect",
    "errors",
    "register",
]
