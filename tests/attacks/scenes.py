"""What several attacks need: bonds that make committees vary, a block hash at a chosen moment, short questions."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.block import TxResult
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Holding
from tests.support.market import Finding, Market, measured, name_of

START = 1_000 * UCREDIT
"""Balance of a market's accounts at genesis."""
HONEST = measured(0)
LIE = measured(500_000)
UNEQUAL = {f"checker{i}": Holding(bond=(20 + 7 * i) * UCREDIT, checker=2) for i in range(9)}
LOWEST = -(2**62)
"""The lowest loss one can announce."""


def open_reveal(market: Market, job_id: int, block_hash: bytes | None = None, proposer: str = "val0") -> None:
    """Let the job expire in a block of this hash and proposer."""
    market.skip_to(market.job(job_id).deadline_ms - 1_000)
    market.block(dt_ms=1_000, block_hash=block_hash, proposer=proposer)


def outcome(market: Market, job_id: int, number: int = 0) -> str:
    """Return the outcome of a round."""
    return pb.Outcome.Name(market.round(job_id, number).outcome).removeprefix("OUTCOME_")


def state(market: Market, job_id: int) -> str:
    """Return the state of a job."""
    return pb.JobState.Name(market.job(job_id).state).removeprefix("JOB_STATE_")


def refusal(result: TxResult) -> str:
    """Return the stable name of a result, `ok` for success."""
    return name_of(result.code)


def enter(market: Market, worker: str, job_id: int, loss: int, secured: bool = False) -> str:
    """Announce and return how the chain answered."""
    return refusal(market.send(worker, market.announcement(worker, job_id, loss, secured)))


def split(market: Market, job_id: int, first: Finding, then: Finding, seats: int) -> dict[str, Finding]:
    """Return votes of all seated accounts: `first` until they hold `seats` seats, `then` the others."""
    votes: dict[str, Finding] = {}
    for name, held in sorted(market.seats(job_id).items()):
        votes[name] = first if seats > 0 else then
        seats -= held
    return votes


def ban(market: Market, name: str) -> None:
    """Ban a validator's account by evidence."""
    market.block(misbehavior=[(1, name)])


def unbond(amount: int) -> tx_pb2.Unbond:
    """Return an Unbond."""
    return tx_pb2.Unbond(amount=amount)
