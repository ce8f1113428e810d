"""The load: signed transfers between genesis accounts, and transactions of the same size for CometBFT's kvstore."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from learningchain.client.transactions import build_transaction
from learningchain.wallet import SecretKey

SET_NAME: Final = "bench"
SENDERS: Final = 10_000
BALANCE: Final = 1_000 * UCREDIT
BOND: Final = 1_000 * UCREDIT
LAST_HEIGHT: Final = 900
"""Expiry of all transactions, in blocks; the set allows 1 000."""
MEMO: Final = "m" * 80
"""Makes a transfer 250 bytes long, the size to which the figures that are aimed at belong."""


@dataclass(frozen=True, slots=True)
class Load:
    """Transactions in sending order; those of one sender are `SENDERS` apart."""

    txs: list[bytes]

    @property
    def size(self) -> int:
        """The size of a transaction in bytes: the median of all."""
        return sorted(len(tx) for tx in self.txs)[len(self.txs) // 2]


def make_senders(number: int = SENDERS) -> list[SecretKey]:
    """Return the keys of the genesis accounts, always the same."""
    return [SecretKey(hashlib.sha256(b"bench sender %d" % index).digest()) for index in range(number)]


def make_operator() -> SecretKey:
    """Return the key of the validator's operator."""
    return SecretKey(hashlib.sha256(b"bench operator").digest())


def make_genesis(senders: list[SecretKey], operator: SecretKey, consensus_key: bytes) -> pb.Genesis:
    """Return a genesis with all senders and one validator."""
    accounts = [pb.GenesisAccount(public_key=operator.public_key, bond=BOND, checker=1)]
    accounts += [pb.GenesisAccount(public_key=key.public_key, balance=BALANCE) for key in senders]
    validator = pb.GenesisValidator(consensus_key=consensus_key, operator=operator.address, power=BOND // UCREDIT)
    return pb.Genesis(params=get_params(SET_NAME), accounts=accounts, validators=[validator])


def sign_transfers(senders: list[SecretKey], chain_tag: bytes, each: int) -> Load:
    """Return `each` transfers of every sender to its neighbour, nonce by nonce."""
    return Load(list(islice(iterate_transfers(senders, chain_tag), each * len(senders))))


def iterate_transfers(senders: Sequence[SecretKey], chain_tag: bytes) -> Iterator[bytes]:
    """Yield transfers without end; the senders take turns."""
    for nonce in count(1):
        for number, key in enumerate(senders):
            message = tx_pb2.Transfer(to=senders[number - 1].address, amount=1_000, memo=MEMO)
            yield build_transaction(key, chain_tag, key.address, nonce, LAST_HEIGHT, message).tx


def make_kvstore_load(like: Load) -> Load:
    """Return as many different `key=value` transactions of the same size."""
    value = b"v" * (like.size - 10)
    return Load([b"k%08d=" % number + value for number in range(len(like.txs))])
