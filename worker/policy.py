"""What the owner of a machine allows: plain values, read from the settings file once."""

from dataclasses import dataclass

from abci_app.protocol.limits import UCREDIT


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and filters of one worker. Credits in ucredit, times in ms, memory and disk in MiB; 0 = no limit
    for the `max_` counts and times.
    """

    train: bool = True
    check: bool = True
    # Which jobs
    risk_bond: bool = False
    """Train, too, while the account holds a bond, which a ban would take."""
    min_bounty: int = UCREDIT
    base_bounty: int = 100 * UCREDIT
    """Without a history, a contractor's bounty above this is not trusted; what it paid out before is added."""
    min_time_left_ms: int = 10_000
    max_executions: int = 0
    """Jobs this worker ever takes up."""
    max_parallel: int = 1
    allowed_owners: frozenset[bytes] = frozenset()
    refused_owners: frozenset[bytes] = frozenset()
    allowed_registries: frozenset[str] = frozenset()
    refused_registries: frozenset[str] = frozenset()
    max_refunded_share: int = 50
    """Percentage of a contractor's settled jobs that may have been refunded or faulty, from 4 settled jobs on."""
    max_image_mib: int = 8_192
    # What all trainings together may use
    milli_cpus: int = 1_000
    memory_mib: int = 2_048
    disk_mib: int = 8_192
    # Deposits
    max_deposit: int = 0
    """A candidacy with a larger deposit is not secured."""
    checkpoint_ms: int = 5_000
    evaluations: int = 3
    """Fresh evaluations of an own model before it is announced; at least 3."""
