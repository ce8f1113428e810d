"""The genesis that the comparison starts from."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.protocol.params import get_params
from tests.model.encode import make_key
from tests.model.hashes import address_of
from tests.model.records import CREDIT

BONDS = (120, 100, 80, 60, 40, 0, 0, 0, 0, 0, 0)
"""Bonds of the genesis accounts in credits: five checkers (the first two validate), then contractors and workers."""
ACCOUNTS = len(BONDS)
FIRST_CONSENSUS_KEY = 50
STRANGERS = 3
"""Keys without an account."""


def make_genesis() -> state_pb2.Genesis:
    """Return a genesis of the set `minimal` with room for jumps in time that are no outage, and a quorum of 6 seats."""
    params = get_params("minimal")
    params.outage_ms = 60_000
    params.quorum_bps = 4_000
    genesis = state_pb2.Genesis(params=params)
    for number, bond in enumerate(BONDS):
        balance = CREDIT // 2 if number == ACCOUNTS - 1 else 40 * CREDIT
        checker = 0 if not bond else 2 if number < 4 else 1
        public_key = make_key(number).verify_key.encode()
        genesis.accounts.add(public_key=public_key, balance=balance, bond=bond * CREDIT, checker=checker)
    for number in (0, 1):
        operator = address_of(make_key(number).verify_key.encode())
        key = make_key(FIRST_CONSENSUS_KEY + number).verify_key.encode()
        genesis.validators.add(consensus_key=key, operator=operator, power=BONDS[number])
    return genesis
