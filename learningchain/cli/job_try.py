"""`lc job try`: what checkers and workers will do with an image, before it is paid for."""

from typing import Annotated, Any

import typer

from abci_app.protocol.limits import MAX_MIB, MAX_MILLI_CPUS
from learningchain.amounts import format_loss
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command
from learningchain.cli.failure import Failure
from learningchain.cli.job_announce import MAX_USE
from learningchain.cli.job_app import app
from learningchain.cli.job_submit import check_images
from learningchain.terms import TRAINING_DISK_MIB, TRAINING_MEMORY_MIB, TRAINING_MILLI_CPUS


@command(app, "try")
def try_(
    session: Session,
    image: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG, as it would be published")],
    eval_image: Annotated[str, typer.Option(help="Smaller image for predict and score; default: the same")] = "",
    job_class: Annotated[int, typer.Option("--class", min=0, help="Evaluation class")] = 0,
    cpus: Annotated[
        float, typer.Option(min=0.05, max=MAX_MILLI_CPUS / 1000, help="Cores for training")
    ] = TRAINING_MILLI_CPUS / 1000,
    memory: Annotated[int, typer.Option(min=64, max=MAX_MIB, help="MiB for training")] = TRAINING_MEMORY_MIB,
    disk: Annotated[int, typer.Option(min=1, max=MAX_MIB, help="MiB for training")] = TRAINING_DISK_MIB,
) -> None:
    """Try an image in the sandbox before it is paid for: its sample, training up to the first model, and that model.

    Nothing is sent to the chain; only the limits of its classes are asked for.
    """
    from learningchain.cli import worker_tools

    classes = session.client().get_chain().params.classes
    if job_class >= len(classes):
        raise Failure(
            f"class {job_class} does not exist here", f"choose one of 0 to {len(classes) - 1}", exit_codes.USAGE
        )
    trained, evaluated = check_images(session, image, eval_image, classes[job_class].image_mib)
    found = worker_tools.try_job(
        session, trained.reference, evaluated.reference, classes[job_class], round(cpus * 1000), memory, disk
    )
    largest = max(found.sample.usage.largest, found.first.usage.largest)
    data: dict[str, Any] = {
        "image": trained.reference,
        "eval_image": evaluated.reference,
        "packed_bytes": str(trained.size),
        "sample_loss": format_loss(found.sample.loss_nano),
        "first_model_loss": format_loss(found.first.loss_nano),
        "first_model_bytes": str(found.first_bytes),
        "seconds": f"{found.first.seconds:.3f}",
        "largest_use": f"{largest:.2f}",
        "is_usable": largest <= MAX_USE,
    }
    session.out.show(data)
    if largest > MAX_USE:
        raise Failure(
            f"an evaluation used {largest:.0%} of a limit of its class: no worker would announce a model",
            f"stay below {MAX_USE:.0%}, since checkers may be slower: make it smaller, or choose a larger --class",
        )
