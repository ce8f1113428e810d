"""The envelope of a transaction: who sends it, on which chain, when, in which order and how often.

Order of checks: size and decoding (`transaction.parse`), chain tag, expiry height, account, key and scope, ban,
nonce, quota, signature. A failure changes nothing.
"""

from typing import Final, NamedTuple, cast

from abci_app.pb.learningchain.v1 import state_pb2, tx_pb2
from abci_app.protocol import errors, keys
from abci_app.protocol.accounts import find_key, get_account, is_public_key_taken
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.hashing import compute_address, compute_work, count_leading_zero_bits
from abci_app.protocol.limits import BUCKET_UNIT, MAX_SOLUTION_BYTES
from abci_app.protocol.messages import HANDLERS
from abci_app.protocol.quota import compute_bucket
from abci_app.protocol.registration import get_required_bits
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import ParsedTx

OWED_VOTES: Final = ("commit_vote", "reveal_vote")
OwedVote = tuple[bytes, str, int, int]
"""Account, kind of message, job id and round of a vote."""


class Admission(NamedTuple):
    """What an envelope that holds will change: the sender's record and key in the overlay, the bucket afterwards."""

    account: state_pb2.Account
    key: state_pb2.Key
    bucket_units: int
    owed_vote: OwedVote | None


def check_chain_and_expiry(tx: ParsedTx, block: BlockContext) -> None:
    """Raise WrongChain, Expired or ExpiryTooFar: the absolute rules, also used by ProcessProposal."""
    if tx.chain_tag != block.chain_tag:
        raise errors.WrongChain
    if block.height > tx.expires:
        raise errors.Expired
    if tx.expires > block.height + block.params.max_tx_lifetime:
        raise errors.ExpiryTooFar


def check_envelope(state: BlockState, context: TxContext, tx: ParsedTx) -> Admission | None:
    """Raise the EnvelopeError that refuses the transaction, if any; return what `consume_envelope` needs."""
    admission = check_unsigned(state, context, tx)
    if not tx.is_signature_valid():
        raise errors.BadSignature
    return admission


def check_unsigned(state: BlockState, context: TxContext, tx: ParsedTx) -> Admission | None:
    """Do the same for a transaction whose signature is known to be valid (recheck). None for a Register."""
    check_chain_and_expiry(tx, context.block)
    if tx.kind == "register":
        _check_register(state, context.block, tx)
        return None
    return _check_sender(state, context, tx)


def consume_envelope(state: BlockState, context: TxContext, tx: ParsedTx, admission: Admission | None) -> None:
    """Take nonce and quota of a transaction whose envelope holds; the state must not have changed since the check."""
    if admission is None:
        state.registrations += 1
        state.fresh_accounts[tx.account] = None
        return
    account, key, units, vote = admission
    if vote is not None:
        state.free_votes[vote] = None
    account.bucket_units = units
    account.bucket_ms = context.block.time_ms
    key.nonce = tx.nonce
    state.mark_changed(keys.account(tx.account))


def check_stateless(tx: ParsedTx) -> None:
    """Raise the MessageError that the message earns whatever the state is; that there is none is remembered."""
    if not tx.is_message_sound:
        HANDLERS[tx.kind].check_stateless(tx.message)
        tx.is_message_sound = True


def get_owed_vote(state: BlockState, context: TxContext, tx: ParsedTx) -> OwedVote | None:
    """Return which vote this is if its sender owes it and its own checks accept it: it needs no quota. Else None.

    In CheckTx and PrepareProposal votes have no effect, so that a second one passes its checks too; it is not free.
    """
    if tx.kind not in OWED_VOTES:
        return None
    message = cast(tx_pb2.CommitVote | tx_pb2.RevealVote, tx.message)
    vote = (tx.account, tx.kind, message.job_id, message.round)
    if vote in state.free_votes:
        return None
    handler = HANDLERS[tx.kind]
    try:
        check_stateless(tx)
        handler.check_stateful(state, context, message)
    except errors.MessageError:
        return None
    return vote


def _check_sender(state: BlockState, context: TxContext, tx: ParsedTx) -> Admission:
    block = context.block
    account = get_account(state, tx.account)
    if account is None:
        raise errors.UnknownAccount
    if tx.account in state.fresh_accounts:
        raise errors.FreshAccount
    key = find_key(account, tx.public_key)
    if key is None:
        raise errors.UnknownKey
    _check_key(key, block.time_ms, tx.kind)
    if account.banned:
        raise errors.AccountBanned
    if tx.nonce != key.nonce + 1:
        raise errors.WrongNonce
    units = compute_bucket(account, block.params, block.time_ms)
    vote = get_owed_vote(state, context, tx)
    if vote is None:
        units -= BUCKET_UNIT
    if units < 0:
        raise errors.QuotaExceeded
    return Admission(account, key, units, vote)


def _check_key(key: state_pb2.Key, now_ms: int, kind: str) -> None:
    if key.scope == tx_pb2.KEY_SCOPE_REMOVED:
        raise errors.KeyRemoved
    if key.expires_at_ms and now_ms >= key.expires_at_ms:
        raise errors.KeyExpired
    if key.scope != tx_pb2.KEY_SCOPE_OWNER and not HANDLERS[kind].WORK_SCOPE:
        raise errors.ScopeTooSmall


def _check_register(state: BlockState, block: BlockContext, tx: ParsedTx) -> None:
    message = tx.message
    if not isinstance(message, tx_pb2.Register) or not 1 <= len(message.solution) <= MAX_SOLUTION_BYTES:
        raise errors.BadSolution
    if tx.nonce != 0:
        raise errors.RegisterNonce
    if tx.account != compute_address(tx.public_key):
        raise errors.RegisterAddress
    if tx.account in state.fresh_accounts or get_account(state, tx.account) is not None:
        raise errors.AlreadyRegistered
    if is_public_key_taken(state, tx.public_key):
        raise errors.AlreadyRegistered
    if state.registrations >= block.params.max_registrations_per_block:
        raise errors.RegistrationsFull
    bits = get_required_bits(state, block.params, block.time_ms)
    if count_leading_zero_bits(compute_work(block.chain_tag, tx.public_key, message.solution)) < bits:
        raise errors.WorkTooSmall
