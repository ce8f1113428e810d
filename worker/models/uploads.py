"""What makes an upload to a relay rightful: it opens the commitment of the candidate with the turn, and is signed."""

from collections.abc import Mapping
from dataclasses import dataclass

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.accounts import find_key
from abci_app.protocol.crypto import is_valid_signature
from abci_app.protocol.hashing import compute_model_commitment, join
from abci_app.protocol.limits import MIB

_HEADERS = ("job", "account", "key", "salt", "signature")
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
    signature: bytes

    def get_sign_bytes(self, chain_tag: bytes) -> bytes:
        """Return what the signature covers."""
        return join("upload", chain_tag, self.job_id, self.account, self.digest, self.size, self.salt)

    def to_headers(self) -> dict[str, str]:
        """Return the HTTP headers that carry the claim."""
        values = (str(self.job_id), self.account.hex(), self.public_key.hex(), self.salt.hex(), self.signature.hex())
        return {HEADER_PREFIX + name: value for name, value in zip(_HEADERS, values, strict=True)}


def parse_claim(headers: Mapping[str, str], digest: bytes, size: int) -> UploadClaim:
    """Read a claim from HTTP headers. Raises UploadRefused."""
    try:
        job, account, key, salt, signature = (headers[HEADER_PREFIX + name] for name in _HEADERS)
        if not (job.isascii() and job.isdigit() and len(job) <= 19):
            raise ValueError
        parts = (bytes.fromhex(account), bytes.fromhex(key), bytes.fromhex(salt), bytes.fromhex(signature))
    except (KeyError, ValueError):
        names = ", ".join(HEADER_PREFIX + name for name in _HEADERS)
        raise UploadRefused(f"an upload carries the headers {names}") from None
    return UploadClaim(int(job), parts[0], parts[1], digest, size, parts[2], parts[3])


def check_claim(claim: UploadClaim, chain_tag: bytes, params: pb.Params, job: pb.Job | None, owner: pb.Account) -> None:
    """Raise UploadRefused unless the claim is of the candidate whose turn it is in an open REVEAL or VOTE."""
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
    if not is_valid_signature(claim.public_key, claim.get_sign_bytes(chain_tag), claim.signature):
        raise UploadRefused("the signature is not valid")
