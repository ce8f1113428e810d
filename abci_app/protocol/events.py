"""One constructor per event; names and attributes are frozen by a test. Attribute values are strings.

Events are hints: they never carry what could not be read from the state.
"""

from typing import Final, NamedTuple

from abci_app.protocol.bech32 import encode_address

INDEXED: Final = frozenset({"job_id", "account", "contractor", "candidate", "winner", "sender", "recipient"})
"""Attributes that CometBFT's indexer may index."""


class Event(NamedTuple):
    """A fact of a block: its type and its attributes in a fixed order."""

    type: str
    attributes: tuple[tuple[str, str], ...]


def _event(kind: str, **attributes: int | str | bytes) -> Event:
    return Event(kind, tuple((name, _text(value)) for name, value in attributes.items()))


def _text(value: int | str | bytes) -> str:
    if isinstance(value, bytes):
        return encode_address(value) if len(value) == 20 else value.hex()
    return str(value)


def job_submitted(job_id: int, contractor: bytes, bounty: int, job_class: int, expiry_ms: int) -> Event:
    """A contractor published a job."""
    return _event(
        "job.submitted", job_id=job_id, contractor=contractor, bounty=bounty, job_class=job_class, expiry_ms=expiry_ms
    )


def job_raised(job_id: int, contractor: bytes, bounty: int) -> Event:
    """A contractor raised the bounty, which is now `bounty`."""
    return _event("job.raised", job_id=job_id, contractor=contractor, bounty=bounty)


def job_announced(job_id: int, account: bytes, loss: int, ranked_loss: int, place: int) -> Event:
    """An account stands in the list of candidates at `place`, counted from 0."""
    return _event("job.announced", job_id=job_id, account=account, loss=loss, ranked_loss=ranked_loss, place=place)


def job_reveal_opened(job_id: int, round_number: int, candidate: bytes, deadline_ms: int) -> Event:
    """The turn of a candidate began."""
    return _event("job.reveal_opened", job_id=job_id, round=round_number, candidate=candidate, deadline_ms=deadline_ms)


def job_revealed(job_id: int, round_number: int, candidate: bytes, model_digest: bytes, size: int) -> Event:
    """A candidate named its model."""
    return _event(
        "job.revealed", job_id=job_id, round=round_number, candidate=candidate, model_digest=model_digest, size=size
    )


def job_vote_opened(job_id: int, round_number: int, deadline_ms: int) -> Event:
    """The committee is drawn; commitments are taken until the deadline."""
    return _event("job.vote_opened", job_id=job_id, round=round_number, deadline_ms=deadline_ms)


def job_tally_opened(job_id: int, round_number: int, deadline_ms: int) -> Event:
    """Votes are revealed until the deadline."""
    return _event("job.tally_opened", job_id=job_id, round=round_number, deadline_ms=deadline_ms)


def job_window_renewed(job_id: int, round_number: int, deadline_ms: int) -> Event:
    """The present window runs once more, for an outage or a missed quorum."""
    return _event("job.window_renewed", job_id=job_id, round=round_number, deadline_ms=deadline_ms)


def job_round_decided(job_id: int, round_number: int, candidate: bytes, outcome: str) -> Event:
    """A turn ended with this outcome."""
    return _event("job.round_decided", job_id=job_id, round=round_number, candidate=candidate, outcome=outcome)


def job_settled(job_id: int, state: str, contractor: bytes, winner: bytes, bounty: int) -> Event:
    """A job ended; `winner` is empty unless it was paid."""
    return _event("job.settled", job_id=job_id, state=state, contractor=contractor, winner=winner, bounty=bounty)


def job_pruned(job_id: int) -> Event:
    """The record of a settled job and its rounds left the state."""
    return _event("job.pruned", job_id=job_id)


def account_registered(account: bytes) -> Event:
    """A new account exists."""
    return _event("account.registered", account=account)


def account_banned(account: bytes, burned: int) -> Event:
    """An account was banned and `burned` ucredit of it were destroyed."""
    return _event("account.banned", account=account, burned=burned)


def account_suspended(account: bytes, until_ms: int, strikes: int) -> Event:
    """An account may not announce until then."""
    return _event("account.suspended", account=account, until_ms=until_ms, strikes=strikes)


def account_jailed(account: bytes, duty: str) -> Event:
    """An account is jailed as `checker` or `validator`."""
    return _event("account.jailed", account=account, duty=duty)


def account_unjailed(account: bytes) -> Event:
    """Every jail of the account that was old enough is lifted."""
    return _event("account.unjailed", account=account)


def account_key_set(account: bytes, public_key: bytes, scope: str) -> Event:
    """A key was added, changed or removed."""
    return _event("account.key_set", account=account, public_key=public_key, scope=scope)


def account_profile_set(account: bytes) -> Event:
    """Name or endpoint changed."""
    return _event("account.profile_set", account=account)


def account_checker_set(account: bytes, checker: int) -> Event:
    """An account checks classes below `checker`, or none with 0."""
    return _event("account.checker_set", account=account, checker=checker)


def credits_transferred(sender: bytes, recipient: bytes, amount: int) -> Event:
    """Credits moved between two accounts by a Transfer."""
    # Written out, as most events are of this kind.
    names = (("sender", encode_address(sender)), ("recipient", encode_address(recipient)), ("amount", str(amount)))
    return Event("credits.transferred", names)


def credits_bonded(account: bytes, amount: int) -> Event:
    """Credits moved from balance to bond."""
    return _event("credits.bonded", account=account, amount=amount)


def credits_unbonding(account: bytes, amount: int, release_ms: int) -> Event:
    """Credits left the bond and wait for their release."""
    return _event("credits.unbonding", account=account, amount=amount, release_ms=release_ms)


def credits_released(account: bytes, amount: int) -> Event:
    """Unbonding credits are back in the balance."""
    return _event("credits.released", account=account, amount=amount)


def validator_changed(consensus_key: bytes, operator: bytes, power: int) -> Event:
    """CometBFT was told a new power."""
    return _event("validator.changed", consensus_key=consensus_key, account=operator, power=power)
