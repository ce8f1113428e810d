"""What makes an upload to a relay rightful: it opens the commitment of the candidate with the turn, and is signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.accounts import find_key
from abci_app.protocol.crypto import is_valid_signature
from abci_app.protocol.hashing import compute_model_commitment, join
from abci_app.protocol.limits import ADDRESS_BYTES, KEY_BYTES, MAX_INT64, MIB, SALT_BYTES, SIGNATURE_BYTES
from learningchain.wallet import SecretKey
from worker.models.keeping import Promise

_LENGTHS = {"account": ADDRESS_BYTES, "key": KEY_BYTES, "salt": SALT_BYTES, "signature": SIGNATURE_BYTES}
HEADER_PREFIX = "x-lc-"


class UploadRefused(Exception):
    """The upload has no right to be here; the text says why."""


@dataclass(frozen=True, slots=True)
class UploadClaim:
    """What the sender of a model says of it: `size` in bytes, the rest as in Announce and Reveal."""

    job_id: int
    account: bytes
    public_key: bytes
    digest: bytes
    size: int
    salt: bytes
    signature: bytes = b""

    def get_sign_bytes(self, chain_tag: bytes, relay: str) -> bytes:
        """Return what the signature covers: the relay's endpoint too, or each relay could repeat it at all others."""
        parts = (self.job_id, self.account, self.digest, self.size, self.salt)
        return join("upload", chain_tag, *parts, relay.encode("utf-8"))

    def to_headers(self) -> dict[str, str]:
        """Return the HTTP headers that carry the claim."""
        parts = (self.account, self.public_key, self.salt, self.signature)
        values = {"job": str(self.job_id)} | {name: part.hex() for name, part in zip(_LENGTHS, parts, strict=True)}
        return {HEADER_PREFIX + name: value for name, value in values.items()}


SignClaim = Callable[[str], UploadClaim]
"""Returns the claim for a relay, which is named by its endpoint as the chain has it."""


def make_signer(unsigned: UploadClaim, key: SecretKey, chain_tag: bytes) -> SignClaim:
    """Return what signs a claim for each relay that the model is brought to."""
    return lambda relay: replace(unsigned, signature=key.sign(unsigned.get_sign_bytes(chain_tag, relay)))


@dataclass(frozen=True, slots=True)
class Admission:
    """What a rightful upload may bring, in bytes, and what it is kept for."""

    max_bytes: int
    promise: Promise


def parse_claim(headers: Mapping[str, str], digest: bytes, size: int) -> UploadClaim:
    """Read a claim from HTTP headers. Raises UploadRefused."""
    try:
        job_id = _parse_job(headers[HEADER_PREFIX + "job"])
        account, key, salt, signature = (
            _parse_hex(headers[HEADER_PREFIX + name], length) for name, length in _LENGTHS.items()
        )
    except (KeyError, ValueError):
        parts = ", ".join(f"{HEADER_PREFIX}{name} ({length} bytes in hex)" for name, length in _LENGTHS.items())
        raise UploadRefused(f"an upload carries the headers {HEADER_PREFIX}job, {parts}") from None
    return UploadClaim(job_id, account, key, digest, size, salt, signature)


def _parse_job(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_INT64):
        raise ValueError
    return int(text)


def _parse_hex(text: str, length: int) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != length:
        raise ValueError
    return value


def check_claim(
    claim: UploadClaim, chain_tag: bytes, relay: str, params: pb.Params, job: pb.Job | None, owner: pb.Account
) -> None:
    """Raise UploadRefused unless the claim is of the candidate whose turn it is in an open REVEAL or VOTE.

    `relay` is the endpoint of this node as the chain has it.
    """
    if job is None or job.state not in (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE) or not job.candidates:
        raise UploadRefused("the job is not waiting for a model")
    turn = job.candidates[0]
    if turn.account != claim.account:
        raise UploadRefused("another candidate has the turn")
    opened = compute_model_commitment(chain_tag, job.id, claim.account, claim.digest, claim.salt)
    if opened != turn.commitment:
        raise UploadRefused("digest and salt do not open the candidate's commitment")
    if not 1 <= claim.size <= params.classes[job.terms.job_class].model_mib * MIB:
        raise UploadRefused("the size is outside the limits of the job's class")
    key = find_key(owner, claim.public_key)
    if key is None or key.scope not in (tx_pb2.KEY_SCOPE_OWNER, tx_pb2.KEY_SCOPE_WORK):
        raise UploadRefused("the key does not belong to the candidate")
    if not is_valid_signature(claim.public_key, claim.get_sign_bytes(chain_tag, relay), claim.signature):
        raise UploadRefused(f"the signature is not valid for this relay, whose endpoint is {relay or 'empty'}")
