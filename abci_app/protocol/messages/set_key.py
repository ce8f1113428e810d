"""SetKey{public_key, proof, scope, expires_at_ms}: add, change or remove a key of the sender's account. Owner key.

A key proves itself, so nobody can take a key that is not theirs. Its record stays for ever: added again it continues
with its next nonce, and old transactions cannot run twice.
"""

from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors, events
from abci_app.protocol.accounts import edit_account, find_key, is_public_key_taken, require_account
from abci_app.protocol.context import TxContext
from abci_app.protocol.crypto import is_valid_signature
from abci_app.protocol.hashing import get_key_proof_bytes
from abci_app.protocol.limits import KEY_BYTES, MAX_ACTIVE_KEYS, MAX_KEYS, MAX_TIME_MS
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False

_SCOPE_NAMES: Final = {
    pb.KEY_SCOPE_OWNER: "owner",
    pb.KEY_SCOPE_WORK: "work",
    pb.KEY_SCOPE_REMOVED: "removed",
}


def check_stateless(message: pb.SetKey) -> None:
    """Raise BadKey, BadScope or BadKeyExpiry."""
    if len(message.public_key) != KEY_BYTES:
        raise errors.BadKey
    if message.scope not in _SCOPE_NAMES:
        raise errors.BadScope
    if _is_removal(message) and (message.proof or message.expires_at_ms):
        raise errors.BadScope
    if message.expires_at_ms > MAX_TIME_MS:
        raise errors.BadKeyExpiry


def check_stateful(state: StateRead, context: TxContext, message: pb.SetKey) -> None:
    """Raise BadKeyExpiry, KeyNotPresent, KeyTaken, TooManyKeys, LastOwnerKey or BadKeyProof."""
    if 0 < message.expires_at_ms <= context.block.time_ms:
        raise errors.BadKeyExpiry
    account = require_account(state, context.account)
    present = find_key(account, message.public_key)
    if _is_removal(message):
        if present is None or present.scope == pb.KEY_SCOPE_REMOVED:
            raise errors.KeyNotPresent
    elif present is None and is_public_key_taken(state, message.public_key):
        raise errors.KeyTaken
    _check_set_of_keys(account, present, message)
    if not _is_removal(message):
        _check_proof(context, message)


def execute(state: StateWrite, context: TxContext, message: pb.SetKey) -> None:
    """Write the key's scope and expiry; its nonce stays what it was."""
    account = edit_account(state, context.account)
    key = find_key(account, message.public_key)
    if key is None:
        key = account.keys.add(public_key=message.public_key)
    key.scope = message.scope
    key.expires_at_ms = message.expires_at_ms
    state.record(events.account_key_set(context.account, message.public_key, _SCOPE_NAMES[message.scope]))


def _is_removal(message: pb.SetKey) -> bool:
    return message.scope == pb.KEY_SCOPE_REMOVED


def _check_set_of_keys(account: state_pb2.Account, present: state_pb2.Key | None, message: pb.SetKey) -> None:
    """Raise TooManyKeys or LastOwnerKey for the keys that the account would have afterwards."""
    others = [key for key in account.keys if key.public_key != message.public_key]
    if present is None and len(account.keys) >= MAX_KEYS:
        raise errors.TooManyKeys
    active = sum(key.scope != pb.KEY_SCOPE_REMOVED for key in others)
    if not _is_removal(message) and active + 1 > MAX_ACTIVE_KEYS:
        raise errors.TooManyKeys
    stays_owner = message.scope == pb.KEY_SCOPE_OWNER and not message.expires_at_ms
    if not stays_owner and not any(_is_lasting_owner(key) for key in others):
        raise errors.LastOwnerKey


def _is_lasting_owner(key: state_pb2.Key) -> bool:
    return key.scope == pb.KEY_SCOPE_OWNER and not key.expires_at_ms


def _check_proof(context: TxContext, message: pb.SetKey) -> None:
    proven = get_key_proof_bytes(context.block.chain_tag, context.account)
    if not is_valid_signature(message.public_key, proven, message.proof):
        raise errors.BadKeyProof
