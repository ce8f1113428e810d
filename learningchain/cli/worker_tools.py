"""What the command line borrows from the worker: its sandbox and its uploads to relays.

The only module of this package that may import the worker; commands load it when they need it, so that everything
else works where no worker is installed.
"""

from pathlib import Path
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.claims import Claim
from learningchain.cli.failure import Failure
from learningchain.cli.session import Session
from learningchain.client import Relay
from learningchain.wallet import SecretKey
from worker.models.transfer import Uploader
from worker.models.uploads import UploadClaim
from worker.sandbox import Evaluation, OwnFailureError, SandboxSettings, evaluate_model, limits_of_class

RELAYS: Final = 3
"""How many relays get a model."""


def evaluate(session: Session, image: str, model: Path, job_class: pb.EvaluationClass) -> Evaluation:
    """Evaluate a model exactly as a checker would, in fresh sandboxes. Raises Failure when this machine cannot."""
    settings = SandboxSettings(home=session.settings.home / "sandbox")
    try:
        return evaluate_model(image, model, limits_of_class(job_class), settings)
    except OwnFailureError as error:
        raise Failure(
            f"this machine cannot evaluate: {error}",
            "start a Docker Engine (or set DOCKER_HOST), free some disk, then run the command again",
        ) from error


async def upload(claim: Claim, key: SecretKey, relays: list[Relay], allow_loopback: bool, seconds: float) -> list[str]:
    """Bring a claimed model to some relays within `seconds` and return their endpoints.

    The digest names the place in the list at which this begins.
    """
    unsigned = UploadClaim(claim.job_id, claim.account, key.public_key, claim.digest, claim.size, claim.salt, b"")
    signature = key.sign(unsigned.get_sign_bytes(claim.chain_tag))
    signed = UploadClaim(claim.job_id, claim.account, key.public_key, claim.digest, claim.size, claim.salt, signature)
    others = [relay for relay in relays if relay.account != claim.account]
    start = int.from_bytes(claim.digest[:4], "big") % max(1, len(others))
    endpoints = [relay.endpoint for relay in others[start:] + others[:start]]
    transfer = Uploader(allow_loopback)
    try:
        reached, reasons = await transfer.bring(Path(claim.path), signed, endpoints, RELAYS, seconds)
    finally:
        await transfer.aclose()
    if not reached and reasons:
        raise Failure("no relay took the model: " + "; ".join(reasons), "try again, or serve it with --location URL")
    return reached
