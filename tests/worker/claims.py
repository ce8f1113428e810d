"""A model, what keeps it at a relay, the account whose turn it is to hand it over, and its claim to upload it."""

import hashlib
import time

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.params import get_params
from learningchain.wallet import SecretKey
from tests.worker.worlds import SALT, TAG, make_candidate, make_job
from worker.models.keeping import Need, Promise
from worker.models.uploads import UploadClaim, make_signer

MODEL = b"0123456789" * 50
DIGEST = hashlib.sha256(MODEL).digest()
KEY = SecretKey(b"k" * 32)
RELAY = "http://relay.example"
PARAMS = get_params("devnet")
OWNER = pb.Account(keys=[pb.Key(public_key=KEY.public_key, scope=tx_pb2.KEY_SCOPE_WORK)])


def make_claim(relay: str = RELAY, **changes: object) -> UploadClaim:
    """The claim of the candidate for one relay."""
    values: dict[str, object] = {
        "job_id": 1, "account": KEY.address, "public_key": KEY.public_key, "digest": DIGEST, "size": len(MODEL),
        "salt": SALT,
    }  # fmt: skip
    return make_signer(UploadClaim(**{**values, **changes}), KEY, TAG)(relay)  # type: ignore[arg-type]


def make_turn(state: int = pb.JOB_STATE_REVEAL) -> pb.Job:
    commitment = compute_model_commitment(TAG, 1, KEY.address, DIGEST, SALT)
    return make_job(state=state, candidates=[make_candidate(KEY.address, 5, commitment=commitment)])


def make_kept(job_id: int = 1, bounty: int = 10, seconds: float = 60, need: Need = Need.COMMITTEE) -> Promise:
    """The promise for the first turn of a job."""
    return Promise(job_id, 0, bounty, time.time() + seconds, need)
