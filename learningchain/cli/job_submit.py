"""`lc job submit`: publish a job."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from abci_app.pb.learningchain.v1 import state_pb2, tx_pb2
from abci_app.protocol.limits import (
    MAX_ABOUT_BYTES,
    MAX_ACCELERATOR_BYTES,
    MAX_GPU_MIB,
    MAX_GPUS,
    MAX_METRIC_BYTES,
    MAX_MIB,
    MAX_MILLI_CPUS,
    MAX_TITLE_BYTES,
    MIB,
)
from learningchain.amounts import format_credits, format_duration, format_loss
from learningchain.cli import exit_codes
from learningchain.cli.command import Sending, Session, command
from learningchain.cli.failure import Failure
from learningchain.cli.job_app import app
from learningchain.cli.parse import read_credits, read_duration, read_loss, read_margin, read_text
from learningchain.client import Pending, TxResult
from learningchain.registry import CONTRACT_LABEL, CONTRACT_VERSION, BadReference, Image, ImageError, resolve_image
from learningchain.terms import (
    TRAINING_DISK_MIB,
    TRAINING_MEMORY_MIB,
    TRAINING_MILLI_CPUS,
    Choices,
    Cost,
    Terms,
    check_choices,
    complete_terms,
    compute_checker_supply,
    compute_cost,
)

_JOB: Final = "Terms"
_NEEDS: Final = "What training needs (told to workers, not enforced)"
_PUBLIC: Final = """\
Everything becomes public, for ever: the image with its data, code and test labels, the title, and the model.
Whoever unpacks the image can read the test labels and train on them; do not put secrets or personal data into it."""
_WITHOUT_RUNNER_UPS: Final = """\
With --runner-ups 0, if the winner turns out to be a cheat you get the bounty back, but no model. With --runner-ups 1
or more the next best candidate gets its turn, so a false announcement gains nothing; it costs one more verify fee each,
and what is not used comes back. Recommended: --runner-ups 1 or 2."""

Amount = Annotated[str | None, typer.Option(rich_help_panel=_JOB)]


@command(app, "submit")
def submit(
    session: Session,
    sending: Sending,
    image: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG (resolved to its digest) or …@sha256:DIGEST")],
    bounty: Annotated[str, typer.Option(help="Credits for the best model", rich_help_panel=_JOB)],
    open_for: Annotated[
        str, typer.Option("--for", help="How long workers may announce: 40s, 90m, 3h, 2d", rich_help_panel=_JOB)
    ],
    title: Annotated[str, typer.Option(help="At most 128 bytes")] = "",
    about: Annotated[str, typer.Option(help="Who, what for, licence, link; at most 512 bytes")] = "",
    metric: Annotated[str, typer.Option(help="Name of the loss, for people")] = "loss",
    eval_image: Annotated[str, typer.Option(help="Smaller image for predict and score; default: the same")] = "",
    job_class: Annotated[int, typer.Option("--class", min=0, help="Evaluation class", rich_help_panel=_JOB)] = 0,
    runner_ups: Annotated[
        int, typer.Option(min=0, help="Candidates kept in reserve; 1 or 2 recommended", rich_help_panel=_JOB)
    ] = 0,
    verify_fee: Annotated[
        str | None, typer.Option(help="Credits for the checkers of one round", rich_help_panel=_JOB)
    ] = None,
    deposit: Annotated[
        str | None,
        typer.Option(help="Credits a candidate locks; default 0 up to 10 credits, else a tenth", rich_help_panel=_JOB),
    ] = None,
    free_places: Annotated[
        int | None, typer.Option(min=0, help="Candidates without deposit", rich_help_panel=_JOB)
    ] = None,
    reveal_window: Annotated[str | None, typer.Option(help="Time to hand over the model", rich_help_panel=_JOB)] = None,
    loss_ceiling: Annotated[
        str | None, typer.Option(help="Pay only for a loss up to this", rich_help_panel=_JOB)
    ] = None,
    tolerance: Annotated[str | None, typer.Option(help="Loss noise between machines", rich_help_panel=_JOB)] = None,
    ban_margin: Annotated[str | None, typer.Option(help="Loss gap that makes a lie", rich_help_panel=_JOB)] = None,
    min_improvement: Annotated[
        str | None, typer.Option(help="Loss gap that takes the lead", rich_help_panel=_JOB)
    ] = None,
    cpus: Annotated[
        float, typer.Option(min=0, max=MAX_MILLI_CPUS / 1000, help="Cores", rich_help_panel=_NEEDS)
    ] = TRAINING_MILLI_CPUS / 1000,
    memory: Annotated[int, typer.Option(min=0, max=MAX_MIB, help="MiB", rich_help_panel=_NEEDS)] = TRAINING_MEMORY_MIB,
    disk: Annotated[int, typer.Option(min=0, max=MAX_MIB, help="MiB", rich_help_panel=_NEEDS)] = TRAINING_DISK_MIB,
    gpus: Annotated[int, typer.Option(min=0, max=MAX_GPUS, help="GPUs", rich_help_panel=_NEEDS)] = 0,
    gpu_memory: Annotated[int, typer.Option(min=0, max=MAX_GPU_MIB, help="MiB", rich_help_panel=_NEEDS)] = 0,
    accelerator: Annotated[str, typer.Option(help='Like "cuda>=12.4"', rich_help_panel=_NEEDS)] = "",
    train_time: Annotated[str, typer.Option(help="Longest useful training", rich_help_panel=_NEEDS)] = "1h",
    yes_public: Annotated[
        bool, typer.Option("--yes-public", help="Agree that everything becomes public and the cost is locked")
    ] = False,
) -> None:
    """Publish a job: resolve the image to a digest anybody can pull, show the cost, ask, and lock the credits."""
    choices = Choices(
        bounty=read_credits(bounty, "--bounty"),
        open_ms=read_duration(open_for, "--for"),
        job_class=job_class,
        verify_fee=None if verify_fee is None else read_credits(verify_fee, "--verify-fee"),
        deposit=None if deposit is None else read_credits(deposit, "--deposit"),
        runner_ups=runner_ups,
        free_places=free_places,
        reveal_window_ms=None if reveal_window is None else read_duration(reveal_window, "--reveal-window"),
        tolerance=None if tolerance is None else read_margin(tolerance, "--tolerance"),
        ban_margin=None if ban_margin is None else read_margin(ban_margin, "--ban-margin"),
        min_improvement=None if min_improvement is None else read_margin(min_improvement, "--min-improvement"),
        loss_ceiling=None if loss_ceiling is None else read_loss(loss_ceiling, "--loss-ceiling"),
    )
    texts = {
        "title": read_text(title, MAX_TITLE_BYTES, "--title"),
        "about": read_text(about, MAX_ABOUT_BYTES, "--about"),
        "metric": read_text(metric, MAX_METRIC_BYTES, "--metric"),
    }
    needs = tx_pb2.TrainingNeeds(
        milli_cpus=round(cpus * 1000),
        memory_mib=memory,
        disk_mib=disk,
        gpus=gpus,
        gpu_memory_mib=gpu_memory,
        accelerator=read_text(accelerator, MAX_ACCELERATOR_BYTES, "--accelerator"),
        seconds=read_duration(train_time, "--train-time") // 1000,
    )
    contractor, client = sending.entry.account, session.client()
    params = client.get_chain().params
    try:
        terms = complete_terms(choices, params, client.get_status().time_ms)
        check_choices(choices, params)
    except ValueError as error:
        raise Failure("the terms cannot be used", str(error), exit_codes.USAGE) from None
    trained, evaluated = check_images(session, image, eval_image, params.classes[terms.job_class].image_mib)
    cost = compute_cost(terms, params)
    _show_terms(session, trained, evaluated, terms, cost, open_for)
    # What was asked for, the same for the same words: two runs of one command are one job.
    asked = [repr(choices), trained.reference, evaluated.reference, title, about, metric, str(needs)]
    intent = "SubmitJob " + hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    try:
        _check_market(session, contractor, terms, cost, params)
    except Failure:
        if sending.generate_only or not sending.was_sent(intent):
            raise
    if not sending.generate_only:
        session.confirm(f"Publish this and lock {format_credits(cost.total)} credits?", "--yes-public", yes_public)
    _ = sending.secret  # its password is asked for now: what people take to answer is not to shorten the job
    terms = replace(terms, expiry_ms=client.get_status().time_ms + choices.open_ms)
    message = _build_message(terms, trained, evaluated, texts, needs)

    def describe(pending: Pending, result: TxResult | None) -> Mapping[str, object]:
        expiry_ms = _read_expiry(pending)
        return {
            "job_id": _find_job_id(result),
            "image": trained.reference,
            "expiry_ms": str(expiry_ms),
            "open_until": _format_time(expiry_ms),
            "locked": str(cost.total),
            "locked_credits": format_credits(cost.total),
        }

    def tell_next(result: TxResult) -> str:
        return f"next: {session.suggest(f'job watch {_find_job_id(result)}')}"

    sending.send(message, intent, describe, tell_next)


def _build_message(
    terms: Terms, trained: Image, evaluated: Image, texts: Mapping[str, str], needs: tx_pb2.TrainingNeeds
) -> tx_pb2.SubmitJob:
    return tx_pb2.SubmitJob(
        image=trained.reference,
        eval_image="" if evaluated.reference == trained.reference else evaluated.reference,
        title=texts["title"],
        about=texts["about"],
        metric=texts["metric"],
        bounty=terms.bounty,
        job_class=terms.job_class,
        verify_fee=terms.verify_fee,
        deposit=terms.deposit,
        runner_ups=terms.runner_ups,
        free_places=terms.free_places,
        expiry_ms=terms.expiry_ms,
        reveal_window_ms=terms.reveal_window_ms,
        tolerance=terms.tolerance,
        ban_margin=terms.ban_margin,
        min_improvement=terms.min_improvement,
        loss_ceiling=terms.loss_ceiling,
        needs=needs,
    )


def check_images(session: Session, image: str, eval_image: str, limit_mib: int) -> tuple[Image, Image]:
    """Resolve the images that train and evaluate, and refuse what no checker could run. Raises Failure.

    `eval_image` is empty if one image does both; `limit_mib` is that of the class for evaluation. What an image
    unpacks to is not known before it is fetched: see `lc job try`.
    """
    trained = _check_image(session, image, None if eval_image else limit_mib)
    return trained, _check_image(session, eval_image, limit_mib) if eval_image else trained


def _check_image(session: Session, text: str, limit_mib: int | None) -> Image:
    session.say(f"resolving {text}, as anybody would pull it …")
    try:
        image = resolve_image(text)
    except ImageError as error:
        code = exit_codes.USAGE if isinstance(error, BadReference) else exit_codes.FAILED
        raise Failure(str(error), error.hint, code) from error
    if image.labels.get(CONTRACT_LABEL) != CONTRACT_VERSION:
        raise Failure(
            f"the image does not say that it follows the job contract {CONTRACT_VERSION}",
            f'build it as docs/job-image.md tells, with LABEL {CONTRACT_LABEL}="{CONTRACT_VERSION}"',
        )
    if image.volumes:
        raise Failure("the image declares VOLUME, which breaks the job contract", "remove VOLUME and push it again")
    if limit_mib is not None and image.size > limit_mib * MIB:
        raise Failure(
            f"the image has {image.size // MIB} MiB, its class allows {limit_mib} MiB unpacked",
            "choose a larger --class, or give a smaller --eval-image for predict and score",
        )
    return image


def _show_terms(session: Session, trained: Image, evaluated: Image, terms: Terms, cost: Cost, open_for: str) -> None:
    session.say(f"image       {trained.reference} ({trained.size / MIB:.1f} MiB to pull)")
    if evaluated is not trained:
        session.say(f"evaluation  {evaluated.reference} ({evaluated.size / MIB:.1f} MiB to pull)")
    session.say(
        f"cost        bounty {format_credits(cost.bounty)} + verify fees {format_credits(cost.verify_fees)} "
        f"+ network fee {format_credits(cost.network_fee)} = {format_credits(cost.total)} credits"
    )
    asked = (
        f"{format_credits(terms.deposit)} credits, {terms.free_places} place(s) without" if terms.deposit else "none"
    )
    session.say(f"deposit     {asked}")
    session.say(f"runner-ups  {terms.runner_ups}")
    session.say(
        f"losses      tolerance {format_loss(terms.tolerance)}, ban margin {format_loss(terms.ban_margin)}, "
        f"minimum improvement {format_loss(terms.min_improvement)}"
    )
    session.say(
        f"windows     open for {open_for} from its publication, reveal {format_duration(terms.reveal_window_ms)}"
    )
    if not terms.runner_ups:
        session.say(_WITHOUT_RUNNER_UPS)
    session.say(_PUBLIC)


def _check_market(session: Session, contractor: bytes, terms: Terms, cost: Cost, params: state_pb2.Params) -> None:
    """Show who could check the job, and refuse early what the chain would refuse."""
    client = session.client()
    supply = compute_checker_supply(client.get_checker_table(), contractor, terms.job_class)
    name = params.classes[terms.job_class].name
    session.say(
        f"checkers    {supply.accounts} bonded account(s) of class {terms.job_class} ({name}), "
        f"{format_credits(supply.bond)} of {format_credits(supply.total_bond)} bonded credits"
    )
    if not supply.is_enough:
        raise Failure(
            "too few others can check a job of this class: they need a third of the bonded credits",
            "choose another --class, or wait until more checkers are bonded (lc query checkers)",
            exit_codes.REFUSED,
        )
    view = client.get_account(contractor)
    balance = 0 if view is None else view.account.balance
    if balance < cost.total:
        raise Failure(
            f"the balance is {format_credits(balance)} credits, the job locks {format_credits(cost.total)}",
            "lower the bounty, or earn or receive credits first",
            exit_codes.REFUSED,
        )


def _find_job_id(result: TxResult | None) -> str | None:
    for event in result.events if result is not None else ():
        if event.type == "job.submitted":
            return dict(event.attributes)["job_id"]
    return None


def _read_expiry(pending: Pending) -> int:
    """Return the expiry of the job that a transaction submits, in ms."""
    body = tx_pb2.TxBody.FromString(tx_pb2.SignedTx.FromString(pending.tx).body_bytes)
    return body.submit_job.expiry_ms


def _format_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
