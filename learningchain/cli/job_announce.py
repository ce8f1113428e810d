"""`lc job announce|reveal`: bring a model that was trained elsewhere."""

import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors as reasons
from abci_app.protocol.jobs import UNSETTLED
from abci_app.protocol.limits import DIGEST_BYTES, MIB, SALT_BYTES
from abci_app.protocol.messages.reveal import check_stateless as check_reveal
from abci_app.protocol.ranking import is_leading
from learningchain.amounts import format_credits, format_loss
from learningchain.announcing import BEST_LOSS, LASTING, find_objection
from learningchain.claims import Claim, Claims
from learningchain.cli import exit_codes, interrupts
from learningchain.cli.command import Sending, Session, command
from learningchain.cli.failure import Failure, describe
from learningchain.cli.job_app import app
from learningchain.cli.job_view import require_job
from learningchain.cli.parse import JobId, Registries
from learningchain.client import JobView
from learningchain.client.errors import ClientError, NodeUnreachable, TxError, WaitTimeout, WouldBeRefused
from learningchain.client.journal import JournalBusy, JournalError
from learningchain.models import hash_file
from learningchain.wallet.files import FileError, make_private_folder

MIN_EVALUATIONS: Final = 3
"""Runs in fresh sandboxes before a loss is announced; the worst counts."""
MAX_USE: Final = 0.5
"""Of any limit: slower checkers must manage too."""
WAIT_S: Final = 30.0
RETRY_S: Final = 2.0
_COPY: Final = "announce a copy of it that nothing writes to"

Locations = Annotated[
    list[str] | None, typer.Option("--location", help="URL where you serve the model; may be repeated")
]


@command(app, "announce")
def announce(
    session: Session,
    sending: Sending,
    job_id: JobId,
    model: Annotated[Path, typer.Option(dir_okay=False, help="The model's file")],
    secured: Annotated[bool, typer.Option("--secured", help="Lock the job's deposit for a secured place")] = False,
    evaluations: Annotated[
        int, typer.Option(min=MIN_EVALUATIONS, max=20, help="Runs; the worst loss counts")
    ] = MIN_EVALUATIONS,
    stay: Annotated[bool, typer.Option("--stay", help="Wait for my turn and reveal the model myself")] = False,
    locations: Locations = None,
    registries: Registries = None,
) -> None:
    """Evaluate a model in the sandbox as a checker would, and announce the worst loss measured.

    It has to be revealed when its turn comes: by --stay, by lc job reveal, or by the worker that runs in this home.
    """
    _check_locations(locations or [])
    if stay and (sending.generate_only or not sending.wait):
        raise Failure(
            "--stay waits for what is sent, which --no-wait and --generate-only do not",
            f"leave out that option, or --stay, and reveal it then: {_suggest_reveal(session, sending, job_id)}",
            exit_codes.USAGE,
        )
    size = model.stat().st_size
    view = require_job(session, job_id)
    _require_possible(session, sending, view, secured)
    job_class = session.client().get_chain().params.classes[view.job.terms.job_class]
    if not 1 <= size <= job_class.model_mib * MIB:
        raise Failure(
            f"the model has {size} bytes", f"the class of this job allows 1 byte to {job_class.model_mib} MiB"
        )
    known = hash_file(model)
    loss = _measure_worst(session, view, model, evaluations, job_class, registries or [])
    if hash_file(model) != known:
        raise Failure(f"{model} has changed while it was evaluated", _COPY)
    view = require_job(session, job_id)  # others announced while it was evaluated
    _check_worth(session, view, sending.entry.account, loss)
    _require_possible(session, sending, view, secured, loss)
    if secured:
        deposit = view.job.terms.deposit
        session.confirm(f"Lock a deposit of {format_credits(deposit)} credits, lost if the model is not as announced?")
    claim = _make_claim(session, sending, job_id, model, known, loss)
    message = tx_pb2.Announce(job_id=job_id, loss=loss, commitment=claim.commitment, secured=secured)
    if sending.generate_only:
        session.say(f"the claim that opens the commitment is kept in {Claims(session.settings.home).folder}")
    described = {"job_id": str(job_id), "loss": format_loss(loss), "model_digest": claim.digest.hex()}
    intent = _get_intent(job_id, loss, claim.digest.hex(), secured)
    line = _suggest_reveal(session, sending, job_id)
    following = f"next: {line} (a worker that runs in this home does it by itself)"
    sent = sending.send(message, intent, lambda *_: described, None if stay else lambda _: following, goes_on=stay)
    if sent is not None and stay:
        interrupts.heed()
        _stay(session, sending, job_id, locations or [])


@command(app, "reveal")
def reveal(
    session: Session,
    sending: Sending,
    job_id: JobId,
    stay: Annotated[bool, typer.Option("--stay", help="Wait for my turn first")] = False,
    locations: Locations = None,
) -> None:
    """Reveal a model announced with lc job announce: upload it to relays and name it on the chain."""
    _check_locations(locations or [])
    view = require_job(session, job_id)
    claim = _find_claim(session, sending, view)
    if claim is None:
        raise Failure(
            f"nothing that was announced for job {job_id} from here stands in its list",
            f"see {session.suggest(f'job show {job_id} --why {sending.entry.name}')}",
            exit_codes.NOT_FOUND,
        )
    if stay:
        _stay(session, sending, job_id, locations or [])
    else:
        _reveal(session, sending, view, claim, locations or [])


def _check_locations(locations: list[str]) -> None:
    """Raise Failure for locations that the chain would refuse when the turn comes, perhaps days later."""
    message = tx_pb2.Reveal(model_digest=bytes(DIGEST_BYTES), salt=bytes(SALT_BYTES), locations=locations)
    try:
        check_reveal(message)
    except reasons.BadLocations as error:
        raise Failure("--location cannot be taken", error.hint, exit_codes.USAGE) from None


def _measure_worst(
    session: Session,
    view: JobView,
    model: Path,
    evaluations: int,
    job_class: pb.EvaluationClass,
    registries: list[str],
) -> int:
    """Return the worst loss of several evaluations. Raises Failure for anything a checker could hold against it."""
    from learningchain.cli import worker_tools

    terms = view.job.terms
    losses = []
    for number in range(1, evaluations + 1):
        session.say(f"evaluation {number} of {evaluations} …")
        found = worker_tools.evaluate(session, terms.eval_image or terms.image, model, job_class, registries)
        if not found.has_score:
            raise Failure(
                f"evaluation {number} gave no valid score: {found.detail}",
                "checkers would find the same: look at the model, and at the files that the image expects",
            )
        if found.usage.largest > MAX_USE:
            raise Failure(
                f"the evaluation used {found.usage.largest:.0%} of a limit of its class",
                "slower checkers could not finish it: use a smaller model",
            )
        session.say(f"evaluation {number} of {evaluations}: {format_loss(found.loss_nano)}")
        losses.append(found.loss_nano)
    if max(losses) - min(losses) > terms.tolerance:
        raise Failure(
            "the evaluations differ by more than the job's tolerance",
            "the contractor's image does not score alike each time: leave this job",
        )
    return max(losses)


def _require_possible(session: Session, sending: Sending, view: JobView, secured: bool, loss: int = BEST_LOSS) -> None:
    """Raise WouldBeRefused if the chain would refuse to take the announcement now."""
    client, entry = session.client(), sending.entry
    me = client.get_account(entry.account)
    if me is None:
        raise WouldBeRefused(reasons.UnknownAccount.code)
    if me.get_nonce(entry.public_key) is None:
        raise WouldBeRefused(reasons.UnknownKey.code)
    objection = find_objection(view, me, client.get_status().time_ms, client.get_chain().params, secured, loss)
    if objection is not None and not sending.was_sent(f"{_get_intent(view.job.id)} "):
        raise WouldBeRefused(objection.code)


def _get_intent(job_id: int, *details: object) -> str:
    return " ".join(map(str, ("Announce", job_id, *details)))


def _check_worth(session: Session, view: JobView, account: bytes, loss: int) -> None:
    job = view.job
    if loss > job.terms.loss_ceiling:
        raise Failure(
            f"{format_loss(loss)} is above the job's ceiling of {format_loss(job.terms.loss_ceiling)}", "train on"
        )
    if not is_leading(job.candidates, account, loss, job.terms.min_improvement):
        needed = job.candidates[0].ranked_loss - job.terms.min_improvement
        message = f"{format_loss(loss)} does not take the lead, which needs {format_loss(needed)}"
        if not job.terms.runner_ups:
            raise Failure(message, "train on")
        session.say(f"{message}; it may take a runner-up place")


def _make_claim(
    session: Session, sending: Sending, job_id: int, model: Path, known: tuple[bytes, int], loss: int
) -> Claim:
    """Keep a copy of the model and what opens the commitment, before anything is sent.

    `known` are digest and size of what was evaluated: nothing else may be announced with its loss.
    """
    claims = Claims(session.settings.home)
    make_private_folder(claims.folder)
    digest, size = known
    kept = claims.folder / f"{digest.hex()}.model"
    if not (kept.exists() and hash_file(kept) == (digest, size)):  # a power cut may have left less
        partial = kept.with_suffix(".part")
        try:
            shutil.copyfile(model, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            if hash_file(partial) != (digest, size):
                raise Failure(f"{model} has changed since it was evaluated", _COPY)
            partial.replace(kept)
        finally:
            partial.unlink(missing_ok=True)
    tag = session.client().get_chain().chain_tag
    account, salt = sending.entry.account, secrets.token_bytes(SALT_BYTES)
    claim = Claim(tag, job_id, account, digest, size, salt, loss, str(kept.absolute()))
    claims.save(claim)
    return claim


def _find_claim(session: Session, sending: Sending, view: JobView) -> Claim | None:
    """Return what opens the announcement that stands, be it one that an earlier run sent."""
    own = [entry for entry in view.job.candidates if entry.account == sending.entry.account]
    return Claims(session.settings.home).find(own[0].commitment) if own else None


def _has_turn(view: JobView, claim: Claim) -> bool:
    return view.job.state == pb.JOB_STATE_REVEAL and view.job.candidates[0].commitment == claim.commitment


def _stay(session: Session, sending: Sending, job_id: int, locations: list[str]) -> None:
    try:
        _wait_and_reveal(session, sending, job_id, locations)
    except KeyboardInterrupt:
        line = _suggest_reveal(session, sending, job_id)
        raise Failure("stopped by Ctrl-C; the announcement stands", line, exit_codes.INTERRUPTED) from None
    if sending.forgone:
        hint = f"correct this before you send more; look at {session.suggest(f'job show {job_id}')}"
        raise Failure(f"the reveal went on without the list of what was sent: {sending.forgone}", hint)


def _note(session: Session, text: str) -> None:
    """Tell how it goes. A reveal must not fail because nobody can be told: what it could lose is on the chain."""
    with suppress(OSError):
        session.say(text)


def _suggest_reveal(session: Session, sending: Sending, job_id: int) -> str:
    """Return the command that waits for the turn and reveals, with the same key as this one."""
    key = "" if sending.key is None else f" --from {sending.key}"
    return session.suggest(f"job reveal {job_id} --stay{key}")


def _wait_and_reveal(session: Session, sending: Sending, job_id: int, locations: list[str]) -> None:
    """Wait until this account's announcement has its turn, then reveal; returns when the turn never comes.

    While the turn lasts a reveal that fails is tried again: a default may cost the deposit. Raises its last failure,
    and at once one that waiting does not change.
    """
    _ = sending.secret  # its password is asked for now: when the turn comes nobody may be there to type it
    _note(session, "waiting for the expiry and the turn; keep this running")
    failed: Exception | None = None
    height, is_able = 0, False
    while True:
        sending.lift_patience()
        try:
            view = require_job(session, job_id)
            claim = _find_claim(session, sending, view)
            if claim is None:
                break
            if view.job.state not in UNSETTLED:
                _note(session, "the job is settled")
                return
            if _has_turn(view, claim):
                failed = _try_to_reveal(session, sending, view, claim, locations)
                if failed is None:
                    return
                continue
            if not is_able:
                _require_able(session, sending, claim, locations)
                is_able = True
            failed = None  # the reveal was carried out though its result was not seen
            height = session.client().wait_for_block(max(height, view.height), WAIT_S)
        except (WaitTimeout, NodeUnreachable) as error:
            _note(session, f"{error}; trying again")
            time.sleep(RETRY_S)
    if failed is not None:
        raise failed
    _note(session, "the announcement does not stand any more: it was undercut, or the turn is over")


def _require_able(session: Session, sending: Sending, claim: Claim, locations: list[str]) -> None:
    """Raise WouldBeRefused for what would stand in the way when the turn comes, while there is time to change it."""
    signed = sending.sender.prepare(_build_reveal(claim, locations))
    found = session.client().check_tx(signed.tx)
    if found.code in LASTING:
        raise WouldBeRefused(found.code)


def _try_to_reveal(
    session: Session, sending: Sending, view: JobView, claim: Claim, locations: list[str]
) -> Exception | None:
    """Reveal, or return why it did not work. Raises what waiting does not change.

    What this machine's disk refuses is no reason to lose a deposit: the chain takes one Reveal of a turn, so nothing is
    done twice where the list of what was sent cannot be kept.
    """
    sending.renew_patience()
    try:
        _reveal(session, sending, view, claim, locations)
    except (Failure, ClientError, JournalError, FileError, OSError) as error:
        if isinstance(error, TxError) and error.code in LASTING:
            raise
        report = describe(error)
        if not (sending.forgone or isinstance(error, Failure | ClientError | JournalBusy)):
            sending.forgo_journal(report.message)
        _note(session, f"{report.message}: {report.hint}; trying again")
        time.sleep(RETRY_S)
        return error
    return None


def _reveal(session: Session, sending: Sending, view: JobView, claim: Claim, locations: list[str]) -> None:
    from learningchain.cli import worker_tools

    if not _has_turn(view, claim):
        raise Failure(
            "it is not this announcement's turn", f"wait for it: {_suggest_reveal(session, sending, claim.job_id)}"
        )
    client = session.client()
    seconds = (view.job.deadline_ms - client.get_status().time_ms) / 2_000  # the Reveal is in time without relays too
    uploading = worker_tools.upload(claim, sending.secret, client.list_relays(), session.allows_loopback(), seconds)
    reached = client.run(uploading)
    if not reached and not locations:
        raise Failure("there is no relay", "serve the model yourself and name it with --location URL")
    _note(session, f"uploaded to {len(reached)} relay(s)")
    sending.send(_build_reveal(claim, locations))


def _build_reveal(claim: Claim, locations: list[str]) -> tx_pb2.Reveal:
    return tx_pb2.Reveal(
        job_id=claim.job_id, model_digest=claim.digest, size=claim.size, salt=claim.salt, locations=locations
    )
