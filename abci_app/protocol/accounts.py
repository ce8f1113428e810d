"""Reading and writing account records."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.limits import POOR_BELOW
from abci_app.protocol.state import StateRead, StateWrite

_NOBODY = pb.Standing()


def get_account(state: StateRead, address: bytes) -> pb.Account | None:
    """Return an account, not to be changed."""
    return state.get(keys.account(address), pb.Account)


def require_account(state: StateRead, address: bytes) -> pb.Account:
    """Return an account that the rules know to exist. Raises LookupError otherwise: a broken invariant."""
    account = get_account(state, address)
    if account is None:
        raise LookupError("an account that the state refers to does not exist")
    return account


def edit_account(state: StateWrite, address: bytes) -> pb.Account:
    """Return the layer's own copy of an account that exists."""
    account = state.edit(keys.account(address), pb.Account)
    if not account.keys:  # a fresh record: every account that exists has a key
        raise LookupError("an account that the state refers to does not exist")
    return account


def get_standing(state: StateRead, address: bytes) -> pb.Standing:
    """Return what an account has done, all zero if nothing, not to be changed."""
    return state.get(keys.standing(address), pb.Standing) or _NOBODY


def edit_standing(state: StateWrite, address: bytes) -> pb.Standing:
    """Return the layer's own copy of a standing, a fresh one if there is none."""
    return state.edit(keys.standing(address), pb.Standing)


def find_key(account: pb.Account, public_key: bytes) -> pb.Key | None:
    """Return the account's record of a public key, removed ones included."""
    for key in account.keys:
        if key.public_key == public_key:
            return key
    return None


def is_poor(account: pb.Account) -> bool:
    """Tell whether the account has the poor quota."""
    return account.balance + account.bond < POOR_BELOW


def is_public_key_taken(state: StateRead, public_key: bytes) -> bool:
    """Tell whether a public key belongs, or ever belonged, to an account."""
    start = keys.index_public_key(public_key)
    return any(True for _ in state.scan(start, start + b"\x00"))
