"""What the command line borrows from the worker: its sandbox and its uploads to relays.

The only module of this package that may import the worker; commands load it when they need it, so that everything
else works where no worker is installed.
"""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MIB
from learningchain.claims import Claim
from learningchain.cli.failure import Failure
from learningchain.cli.output import has_colours
from learningchain.cli.progress import ProgressBar
from learningchain.cli.session import Session
from learningchain.client import Relay
from learningchain.models import order_relays
from learningchain.wallet import SecretKey
from worker.models.transfer import RELAYS, Uploader
from worker.models.uploads import UploadClaim, make_signer
from worker.policy import Policy
from worker.sandbox import (
    BrokenImageError,
    Evaluation,
    OwnFailureError,
    SandboxSettings,
    Step,
    TrainingLimits,
    Trial,
    evaluate_model,
    limits_of_class,
    try_image,
)
from worker.sandbox.reference import parse_reference

TRIAL_SECONDS: Final = 600
"""How long a training that is tried may run at most; it is over with its first model."""
BAR_SECONDS: Final = 1.0
"""A layer that is fetched sooner needs no bar."""
LINE_SECONDS: Final = 10.0
"""Between two lines about a layer where there is no terminal."""


def evaluate(
    session: Session, image: str, model: Path, job_class: pb.EvaluationClass, registries: Sequence[str]
) -> Evaluation:
    """Evaluate a model exactly as a checker would, in fresh sandboxes. Raises Failure when this machine cannot.

    The image is a stranger's: only `registries` are asked at private addresses.
    """
    _log_warnings_only()
    try:
        limits, settings = limits_of_class(job_class), _get_settings(session, registries)
        with _Steps(session) as steps:
            return evaluate_model(image, model, limits, settings, steps.tell)
    except BrokenImageError as error:
        raise _get_image_failure(error) from error
    except OwnFailureError as error:
        raise _get_own_failure(error) from error


def try_job(
    session: Session,
    image: str,
    eval_image: str,
    job_class: pb.EvaluationClass,
    milli_cpus: int,
    memory_mib: int,
    disk_mib: int,
) -> Trial:
    """Try an image in the sandbox as checkers and workers would. Raises Failure when it, or this machine, fails."""
    _log_warnings_only()
    limits, most_mib = limits_of_class(job_class), Policy().max_image_mib
    training = TrainingLimits(milli_cpus, memory_mib, disk_mib, most_mib, limits.model_mib, TRIAL_SECONDS)
    settings = _get_settings(session, [parse_reference(each).host for each in (image, eval_image)])
    try:
        with _Steps(session) as steps:
            return try_image(image, eval_image, limits, training, settings, steps.tell)
    except BrokenImageError as error:
        raise _get_image_failure(error) from error
    except OwnFailureError as error:
        raise _get_own_failure(error) from error


class _Steps:
    """Shows on stderr what goes on, and how far a layer is that takes its time: a bar, or a line now and then."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._text = ""
        self._since = 0.0  # monotonic: when the layer, or the last line about it, was told
        self._bar: ProgressBar | None = None

    def __enter__(self) -> "_Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def tell(self, step: Step) -> None:
        if step.text != self._text:
            self._end_bar()
            self._text, self._since = step.text, time.monotonic()
            self._session.say(f"{step.text} …")
        if step.here >= step.size:  # whatever comes next is another one, also with the same text
            self._end_bar()
            self._text = ""
        else:
            self._show(step)

    def _show(self, step: Step) -> None:
        is_terminal = self._session.out.notes.is_terminal
        if self._bar is not None:
            self._bar.update(step.here)
        elif time.monotonic() - self._since < (BAR_SECONDS if is_terminal else LINE_SECONDS):
            return
        elif is_terminal:
            self._bar = ProgressBar(self._session.out.notes, step.size, transient=True)
            self._bar.start()
            self._bar.update(step.here)
        else:
            self._since = time.monotonic()
            self._session.say(f"{step.text}: {step.here / MIB:.1f} MiB are here")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _log_warnings_only() -> None:
    """Have the sandbox write what people should know to stderr: stdout is for data."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=has_colours(sys.stderr)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _get_settings(session: Session, registries: Sequence[str]) -> SandboxSettings:
    """Return settings that trust the registries which the user names, at private addresses too."""
    return SandboxSettings(
        home=session.settings.home / "sandbox",
        trusted_registries=tuple(registries),
        allow_loopback=session.allows_loopback(),
    )


def _get_image_failure(error: BrokenImageError) -> Failure:
    return Failure(f"the image breaks the job contract: {error}", "correct it, see docs/job-image.md")


def _get_own_failure(error: OwnFailureError) -> Failure:
    return Failure(
        f"this machine cannot evaluate: {error}",
        "start a Docker Engine (or set DOCKER_HOST), free some disk, then run the command again",
    )


async def upload(claim: Claim, key: SecretKey, relays: list[Relay], allow_loopback: bool, seconds: float) -> list[str]:
    """Bring a claimed model to some relays within `seconds` and return their endpoints."""
    unsigned = UploadClaim(claim.job_id, claim.account, key.public_key, claim.digest, claim.size, claim.salt)
    sign = make_signer(unsigned, key, claim.chain_tag)
    others = [relay for relay in relays if relay.account != claim.account]
    endpoints = [relay.endpoint for relay in order_relays(others, claim.digest)]
    transfer = Uploader(allow_loopback)
    try:
        reached, reasons = await transfer.bring(Path(claim.path), sign, endpoints, RELAYS, seconds)
    finally:
        await transfer.aclose()
    if not reached and reasons:
        raise Failure("no relay took the model: " + "; ".join(reasons), "try again, or serve it with --location URL")
    return reached
