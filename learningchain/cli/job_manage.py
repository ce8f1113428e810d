"""`lc job cancel|raise`."""

from typing import Annotated

import typer

from abci_app.pb.learningchain.v1 import tx_pb2
from learningchain.cli.command import Sending, Session, command
from learningchain.cli.job_app import app
from learningchain.cli.parse import JobId, read_credits


@command(app, "cancel")
def cancel(session: Session, sending: Sending, job_id: JobId) -> None:
    """Take back a job that nobody has announced anything for; everything is refunded."""
    if not sending.generate_only:
        session.confirm(f"Cancel job {job_id}?")
    sending.send(tx_pb2.CancelJob(job_id=job_id))


@command(app, "raise")
def raise_bounty(
    session: Session,
    sending: Sending,
    job_id: JobId,
    amount: Annotated[str, typer.Argument(help="Credits to add to the bounty")],
) -> None:
    """Add to the bounty of an open job. It cannot be lowered again."""
    del session
    sending.send(tx_pb2.RaiseBounty(job_id=job_id, amount=read_credits(amount)))
