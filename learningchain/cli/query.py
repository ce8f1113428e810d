"""`lc query`: what the chain knows."""

from typing import Annotated, Any

import typer

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.errors import REASONS
from abci_app.protocol.limits import DIGEST_BYTES
from learningchain.amounts import format_credits
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.cli.job_view import require_job
from learningchain.cli.output import make_table
from learningchain.cli.parse import JobId, read_address, read_hex
from learningchain.cli.sending import describe_result
from learningchain.client.decode import get_record

app = make_group("Questions to the chain.")


@command(app, "account")
def account(
    session: Session,
    address: Annotated[str | None, typer.Argument(help="Address or name of a key here; default: your key")] = None,
) -> None:
    """Show an account: credits, keys, reputation, quota."""
    wanted = session.pick_key(None).account if address is None else read_address(session, address)
    text = encode_address(wanted)
    data = _require(session, f"/account/{text}", f"the account {text}", "register it: lc tx register")
    held = get_record(data, "account", pb.Account)
    session.say(
        f"{format_credits(held.balance)} credits, {format_credits(held.bond)} bonded"
        + (", BANNED" if held.banned else "")
    )
    session.out.show(data)


@command(app, "params")
def params(session: Session) -> None:
    """Show the parameters of the chain."""
    session.out.show(_require(session, "/params", "the parameters", "ask another node"))


@command(app, "supply")
def supply(session: Session) -> None:
    """Show where all credits are; the sum always equals the genesis supply."""
    data = _require(session, "/supply", "the supply", "ask another node")
    held = get_record(data, "supply", pb.Supply)
    parts = {field.name: getattr(held, field.name) for field in pb.Supply.DESCRIPTOR.fields}
    total = sum(value for name, value in parts.items() if name != "genesis")
    rows = [[name, format_credits(value)] for name, value in parts.items()]
    table = make_table(None, ["where", "credits"], [*rows, ["sum without genesis", format_credits(total)]])
    session.out.show({**data, "sum": str(total)}, lambda console: console.print(table))


@command(app, "committee")
def committee(session: Session, job_id: JobId) -> None:
    """Show who checks the winner of a job, and how far they are."""
    require_job(session, job_id)
    hint = f"a committee is drawn when the winner reveals its model: see lc job show {job_id}"
    session.out.show(_require(session, f"/committee/{job_id}", f"a committee of job {job_id}", hint))


@command(app, "checkers")
def checkers(session: Session) -> None:
    """Show the present checker table."""
    session.out.show(_require(session, "/checkers", "the checker table", "wait for the first block"))


@command(app, "relays")
def relays(session: Session) -> None:
    """Show where models are relayed."""
    session.out.show(_require(session, "/relays", "the relays", "ask another node"))


@command(app, "validators")
def validators(session: Session) -> None:
    """Show the validators."""
    session.out.show(_require(session, "/validators", "the validators", "ask another node"))


@command(app, "tx")
def transaction(
    session: Session,
    tx_hash: Annotated[str, typer.Argument(help="Hash of the transaction in hex")],
    blocks: Annotated[int, typer.Option(min=1, max=100_000, help="How many blocks to look back")] = 1000,
) -> None:
    """Look for a transaction in the last blocks."""
    wanted = read_hex(tx_hash, DIGEST_BYTES, "the hash")
    height = session.client().get_status().height
    found = session.client().find_tx(wanted, max(1, height - blocks + 1), height)
    if found is None:
        raise Failure(
            f"the transaction is not in the last {blocks} blocks",
            "look further back with --blocks",
            exit_codes.NOT_FOUND,
        )
    data = describe_result(found)
    if found.code in REASONS:
        data |= {"name": REASONS[found.code].name, "hint": REASONS[found.code].hint}
    session.out.show(data)


@command(app, "view")
def view(session: Session, path: Annotated[str, typer.Argument(help="Path of a query view, like /job/1")]) -> None:
    """Show any query view as it is."""
    session.out.show(_require(session, path, path, "docs/protocol.md lists the views"))


@command(app, "errors")
def errors(session: Session) -> None:
    """List every reason to refuse a transaction, with its number."""
    rows = [[str(code), reason.name, reason.hint] for code, reason in sorted(REASONS.items())]
    data = [{"code": code, "name": reason.name, "hint": reason.hint} for code, reason in sorted(REASONS.items())]
    table = make_table(None, ["number", "name", "what to do"], rows)
    session.out.show({"errors": data}, lambda console: console.print(table))


def _require(session: Session, path: str, what: str, hint: str) -> dict[str, Any]:
    found = session.client().get_view(path)
    if found is None:
        raise Failure(f"the chain does not know {what}", hint, exit_codes.NOT_FOUND)
    return dict(found)
