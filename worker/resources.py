"""What trainings take of a machine. A job that names no need gets an equal share of what all of them may use."""

from collections.abc import Iterable
from typing import NamedTuple

from abci_app.pb.learningchain.v1 import tx_pb2
from worker.policy import Policy


class Resources(NamedTuple):
    """Amounts in milli-CPUs and MiB."""

    milli_cpus: int
    memory_mib: int
    disk_mib: int


LEAST = Resources(milli_cpus=50, memory_mib=64, disk_mib=16)
"""What one training needs at least: no engine runs a container in a MiB, and the job would be tried again and again."""

UNITS = ("milli-CPUs", "MiB of memory", "MiB of disk")
"""What each of the amounts counts, for people."""


def get_allowed(policy: Policy) -> Resources:
    """Return what all trainings together may use."""
    return Resources(policy.milli_cpus, policy.memory_mib, policy.disk_mib)


def get_share(policy: Policy) -> Resources:
    """Return what a training gets whose job names no needs."""
    return Resources(*(allowed // policy.max_parallel for allowed in get_allowed(policy)))


def compute_use(policy: Policy, needs: tx_pb2.TrainingNeeds) -> Resources:
    """Return what one training gets: what its job asks for but what runs at all, else its share."""
    wanted = Resources(needs.milli_cpus, needs.memory_mib, needs.disk_mib)
    given = zip(wanted, LEAST, get_share(policy), strict=True)
    return Resources(*(max(amount, least) if amount else share for amount, least, share in given))


def find_shortage(policy: Policy, needs: tx_pb2.TrainingNeeds, running: Iterable[tx_pb2.TrainingNeeds]) -> str | None:
    """Return in words what is too little for one more training beside those that run, None if there is room."""
    others = [compute_use(policy, other) for other in running]
    for number, unit in enumerate(UNITS):
        wanted, allowed = compute_use(policy, needs)[number], get_allowed(policy)[number]
        used = sum(other[number] for other in others)
        if wanted + used > allowed:
            return f"needs {wanted} {unit}, {allowed} are allowed" + (f", {used} of them in use" if used else "")
    return None
