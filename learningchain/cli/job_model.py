"""`lc job model`: fetch the model that was paid for, and measure it."""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jobs import UNSETTLED
from abci_app.protocol.jsonform import enum_to_json
from abci_app.protocol.limits import RESERVED_LOSS
from learningchain.amounts import format_loss
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command
from learningchain.cli.failure import Failure
from learningchain.cli.job_app import app
from learningchain.cli.job_view import require_job
from learningchain.cli.parse import JobId, Registries
from learningchain.cli.progress import ProgressBar
from learningchain.client import JobView
from learningchain.models import (
    ModelError,
    WantedModel,
    fetch_model,
    get_model_url,
    hash_file,
    is_safe_name,
    looks_like_pickle,
    order_relays,
)
from learningchain.registry import MODEL_NAME_LABEL, ImageError, parse_reference, resolve_image

SECONDS: Final = 3600.0


@command(app, "model")
def model(
    session: Session,
    job_id: JobId,
    out: Annotated[
        Path | None, typer.Option("--file", help="File or folder to write to; default: job-ID-NAME of the image")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Run it in the sandbox as a checker would and compare the loss")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Longest download in seconds")] = SECONDS,
    registries: Registries = None,
) -> None:
    """Download the revealed model of a job, check size and digest, and save it. It is never loaded or run here."""
    view = require_job(session, job_id)
    turn = require_revealed(view)
    path = _choose_path(session, view, out, registries or [])
    wanted = WantedModel(turn.model_digest, turn.size)
    source = _fetch(session, turn, wanted, path, timeout)
    if looks_like_pickle(path):
        session.say("Careful: this looks like a pickle. Loading it runs whatever code is in it.")
    data: dict[str, Any] = {
        "job_id": str(job_id),
        "path": str(path.absolute()),
        "digest": turn.model_digest.hex(),
        "size": str(turn.size),
        "source": source,
        "candidate": encode_address(turn.candidate.account),
        "winner": encode_address(view.job.winner) if view.job.winner else None,
        "announced_loss": format_loss(turn.candidate.loss),
    }
    if not evaluate:
        session.out.show(data)
        return
    data |= measure(session, view, path, turn.candidate.loss, registries or [])
    session.out.show(data)
    if not data["matches"]:
        raise Failure(
            f"measured {data['measured_loss']}, announced {data['announced_loss']}",
            f"see what the checkers found: lc job show {job_id}",
            exit_codes.DIFFERS,
        )


def require_revealed(view: JobView) -> pb.Round:
    """Return the round whose model is the job's result: the winner's, else the last revealed one. Raises Failure."""
    revealed = [turn for turn in view.rounds if turn.model_digest]
    if view.job.winner:
        revealed = [turn for turn in revealed if turn.candidate.account == view.job.winner]
    if not revealed:
        state = enum_to_json(pb.JobState.DESCRIPTOR, view.job.state)
        hint = f"none will come: see lc job show {view.job.id}"
        if view.job.state in UNSETTLED:
            hint = f"wait for it: lc job watch {view.job.id}"
        raise Failure(f"job {view.job.id} is {state} and no model is revealed", hint, exit_codes.NOT_FOUND)
    return revealed[-1]


def measure(session: Session, view: JobView, path: Path, announced: int, registries: list[str]) -> dict[str, Any]:
    """Evaluate a model as a checker would; `matches` tells whether it is as good as announced, within tolerance."""
    from learningchain.cli import worker_tools

    terms = view.job.terms
    job_class = session.client().get_chain().params.classes[terms.job_class]
    session.say("evaluating in the sandbox, as a checker would …")
    found = worker_tools.evaluate(session, terms.eval_image or terms.image, path, job_class, registries)
    matches = found.has_score and found.loss_nano <= announced + terms.tolerance
    if not found.has_score:
        session.say(f"no valid score: {found.detail}")
    return {
        "finding": found.finding.name,
        "measured_loss": format_loss(found.loss_nano if found.has_score else RESERVED_LOSS),
        "receipt": found.receipt.hex(),
        "seconds": f"{found.seconds:.3f}",
        "matches": matches,
    }


def _choose_path(session: Session, view: JobView, out: Path | None, registries: list[str]) -> Path:
    if out is None or out.is_dir():
        out = (out or Path()) / _find_name(session, view, registries)
    # Looked at before anything is fetched: later it would be taken for a fault of the sources.
    if not out.parent.is_dir():
        raise Failure(f"there is no folder {out.parent}", "make it, or choose another --file", exit_codes.NOT_FOUND)
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise Failure(f"nothing can be written into {out.parent}", "choose another folder with --file")
    return out


def _find_name(session: Session, view: JobView, registries: list[str]) -> str:
    """Return a name with the image's own for its models in it, where registry and label help.

    Never the image's own alone: a stranger's file must not be what a program looks for in the folder it runs in.
    """
    image = view.job.terms.image
    try:
        is_trusted = parse_reference(image).host in registries
        found = resolve_image(image, is_trusted=is_trusted, allow_loopback=session.allows_loopback())
        name = found.labels.get(MODEL_NAME_LABEL, "")
    except ImageError as error:
        session.say(f"the image's own name for its models is not known: {error} ({error.hint})")
        name = ""
    return f"job-{view.job.id}-{name}" if is_safe_name(name) else f"job-{view.job.id}.model"


def _fetch(session: Session, turn: pb.Round, wanted: WantedModel, path: Path, seconds: float) -> str:
    if path.exists():
        if path.is_file() and hash_file(path) == (wanted.digest, wanted.size):
            return "already here"
        raise Failure(f"{path} exists already and is another file", "choose another one with --file")
    sources = _list_sources(session, turn, wanted.digest)
    session.say(f"fetching {wanted.size} bytes from up to {len(sources)} sources")
    with ProgressBar(session.out.notes, wanted.size) as bar:
        try:
            return fetch_model(wanted, sources, path, seconds, session.allows_loopback(), bar.update)
        except ModelError as error:
            raise Failure(
                f"no source gave the model: {error}", "relays may be down: try again later", exit_codes.NOT_FOUND
            ) from error


def _list_sources(session: Session, turn: pb.Round, digest: bytes) -> list[str]:
    client = session.client()
    relays = [get_model_url(relay.endpoint, digest) for relay in order_relays(client.list_relays(), digest)]
    winner = client.get_account(turn.candidate.account)
    own = [get_model_url(winner.profile.endpoint, digest)] if winner is not None and winner.profile.endpoint else []
    return [*relays, *own, *turn.locations]
