"""The terms of a job: defaults that protect a contractor, and what they cost. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.jobs import compute_network_fee
from abci_app.protocol.limits import MAX_LOSS, MAX_MARGIN, MIN_BAN_MARGIN_TOLERANCES, UCREDIT
from learningchain.amounts import format_credits, format_duration

SMALL_BOUNTY: Final = 10 * UCREDIT
"""Up to here jobs ask no deposit, so that newcomers without credits can take part."""
DEPOSIT_SHARE: Final = 10
"""Above it the deposit is a tenth of the bounty: about the chance to get away with a lie (docs/protocol.md)."""
BAN_MARGIN_TOLERANCES: Final = 10 * MIN_BAN_MARGIN_TOLERANCES
"""Honest machines differ by a few 1e-9; a wide margin keeps them far from a ban."""
REVEAL_WINDOWS: Final = 4
"""Default reveal window in smallest allowed windows: time to upload, also for a machine that sleeps."""
TRAINING_MILLI_CPUS: Final = 1_000
TRAINING_MEMORY_MIB: Final = 1_024
TRAINING_DISK_MIB: Final = 1_024
"""What training needs when the contractor does not say; the training workers of a devnet allow as much."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a contractor chose; None stands for the default. Amounts in ucredit, losses in 1e-9, times in ms."""

    bounty: int
    open_ms: int
    job_class: int = 0
    verify_fee: int | None = None
    deposit: int | None = None
    runner_ups: int = 0
    free_places: int | None = None
    reveal_window_ms: int | None = None
    tolerance: int | None = None
    ban_margin: int | None = None
    min_improvement: int | None = None
    loss_ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms in full, as SubmitJob carries them. Units as in Choices."""

    bounty: int
    job_class: int
    verify_fee: int
    deposit: int
    runner_ups: int
    free_places: int
    expiry_ms: int
    reveal_window_ms: int
    tolerance: int
    ban_margin: int
    min_improvement: int
    loss_ceiling: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a submission takes from the balance, in ucredit. What is not used of the verify fees comes back."""

    bounty: int
    verify_fees: int
    network_fee: int

    @property
    def total(self) -> int:
        """Everything that is locked."""
        return self.bounty + self.verify_fees + self.network_fee


@dataclass(frozen=True, slots=True)
class CheckerSupply:
    """Who could check a job: accounts of the class other than the contractor, and their share of all bond."""

    accounts: int
    bond: int
    total_bond: int

    @property
    def is_enough(self) -> bool:
        """Whether the chain accepts the job: a third of all bond in the table."""
        return self.accounts > 0 and 3 * self.bond >= self.total_bond


def complete_terms(choices: Choices, params: pb.Params, now_ms: int) -> Terms:
    """Fill in the defaults. `now_ms` is block time. Raises ValueError for a class that does not exist."""
    if not 0 <= choices.job_class < len(params.classes):
        names = ", ".join(f"{number} ({entry.name})" for number, entry in enumerate(params.classes))
        raise ValueError(f"there is no class {choices.job_class}: choose one of {names}")
    verify_fee = _or(choices.verify_fee, params.classes[choices.job_class].min_verify_fee)
    tolerance = _or(choices.tolerance, params.min_tolerance)
    deposit = _or(choices.deposit, compute_default_deposit(choices.bounty, verify_fee))
    window = min(params.max_reveal_window_ms, REVEAL_WINDOWS * params.min_reveal_window_ms)
    return Terms(
        bounty=choices.bounty,
        job_class=choices.job_class,
        verify_fee=verify_fee,
        deposit=deposit,
        runner_ups=choices.runner_ups,
        free_places=_or(choices.free_places, 1 if deposit else 1 + choices.runner_ups),
        expiry_ms=now_ms + choices.open_ms,
        reveal_window_ms=_or(choices.reveal_window_ms, window),
        tolerance=tolerance,
        ban_margin=_or(choices.ban_margin, min(BAN_MARGIN_TOLERANCES * tolerance, MAX_MARGIN)),
        min_improvement=_or(choices.min_improvement, min(2 * tolerance, MAX_MARGIN)),
        loss_ceiling=_or(choices.loss_ceiling, MAX_LOSS),
    )


def check_choices(choices: Choices, params: pb.Params) -> None:
    """Raise ValueError, naming the bounds, for what the chain would refuse and people often miss."""
    least, most = format_duration(params.min_job_ms), format_duration(params.max_job_ms)
    if not params.min_job_ms < choices.open_ms <= params.max_job_ms:
        raise ValueError(f"on this chain a job is open for more than {least} and at most {most}: choose another --for")
    if choices.bounty < params.min_bounty:
        raise ValueError(f"the least bounty on this chain is {format_credits(params.min_bounty)} credits")
    if choices.runner_ups > params.max_runner_ups:
        raise ValueError(f"at most {params.max_runner_ups} runner-ups are allowed on this chain")


def compute_default_deposit(bounty: int, verify_fee: int) -> int:
    """Return the deposit asked when the contractor does not say: none for small bounties."""
    if bounty <= SMALL_BOUNTY:
        return 0
    return min(bounty, max(verify_fee, bounty // DEPOSIT_SHARE))


def compute_cost(terms: Terms, params: pb.Params) -> Cost:
    """Return what submitting costs."""
    fees = (1 + terms.runner_ups) * terms.verify_fee
    return Cost(terms.bounty, fees, compute_network_fee(params, terms.bounty))


def compute_checker_supply(table: pb.CheckerTable, contractor: bytes, job_class: int) -> CheckerSupply:
    """Return who of the present checker table could check a job of this class."""
    entries: Sequence[pb.TableEntry] = table.entries
    eligible = [entry for entry in entries if entry.account != contractor and entry.highest_class >= job_class]
    return CheckerSupply(len(eligible), sum(entry.bond for entry in eligible), sum(entry.bond for entry in entries))


def _or(chosen: int | None, default: int) -> int:
    return default if chosen is None else chosen
