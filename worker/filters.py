"""Which jobs a worker trains. Each filter is one function that returns the reason of a refusal in words, or None."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from worker.policy import Policy
from worker.resources import find_shortage
from worker.view import ChainView

MIN_SETTLED_JOBS = 4
"""Settled jobs of a contractor from which on its share of refunds counts."""

HUB = "docker.io"
_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")
HTTPS_PORT = "443"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job is not trained: the name of the filter and its reason for people."""

    filter: str
    reason: str


def find_refusal(policy: Policy, view: ChainView, job: pb.Job, taken: int, running: Sequence[pb.Job]) -> Refusal | None:
    """Return the first filter that refuses a job; `taken` jobs were ever taken up, `running` train now."""
    for name, check in _FILTERS.items():
        reason = check(policy, view, job)
        if reason is not None:
            return Refusal(name, reason)
    if policy.max_executions and taken >= policy.max_executions:
        return Refusal("max_executions", f"{taken} jobs were taken up, as many as allowed")
    if len(running) >= policy.max_parallel:
        return Refusal("max_parallel", f"{len(running)} jobs train already, as many as allowed")
    if (reason := find_shortage(policy, job.terms.needs, [other.terms.needs for other in running])) is not None:
        return Refusal("resources", reason)
    return None


def is_refused(policy: Policy, view: ChainView, job: pb.Job) -> bool:
    """Tell whether a filter of its own refuses a job, however much trains now. An unknown contractor is trusted."""
    is_known = job.contractor in view.contractors
    checks = (check for name, check in _FILTERS.items() if is_known or name != "contractor_trust")
    return any(check(policy, view, job) is not None for check in checks)


def find_check_refusal(policy: Policy, job: pb.Job) -> Refusal | None:
    """Return the filter that keeps this machine from running a job's eval image for a vote: whose image, and whence.

    The other filters are about the worth of training; a seat that stays silent counts as missed.
    """
    if (reason := _find_owner_reason(policy, job)) is not None:
        return Refusal("owners", reason)
    if (reason := _find_registry_reason(policy, job.terms.eval_image or job.terms.image)) is not None:
        return Refusal("registries", reason)
    return None


def _refuse_mode(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    return None if policy.train else "this worker only checks"


def _refuse_bond(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    """Keep work and bond apart, as a ban for what was announced takes all that the account holds."""
    account = view.me.account
    bond = account.bond + sum(entry.amount for entry in account.unbonding)
    if policy.risk_bond or not bond:
        return None
    return (
        f"a ban would take this account's bond of {_credits(bond)} credits: train with a worker of another account, "
        "or set jobs.risk_bond"
    )


def _refuse_own(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    return "the contractor is this account" if job.contractor == view.me.address else None


def _refuse_suspended(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    until = view.me.standing.suspended_until_ms
    return f"this account may not announce until {until} ms" if view.now_ms < until else None


def _refuse_bounty(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    if job.bounty < policy.min_bounty:
        return f"bounty {_credits(job.bounty)} is below {_credits(policy.min_bounty)}"
    return None


def _refuse_trust(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    paid_out = view.contractors.get(job.contractor, pb.Standing()).bounties_paid_out
    if job.bounty > policy.base_bounty + paid_out:
        return f"bounty {_credits(job.bounty)} is more than {_credits(policy.base_bounty)} and what it paid out before"
    return None


def _refuse_counters(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    standing = view.contractors.get(job.contractor, pb.Standing())
    bad = standing.jobs_refunded + standing.jobs_faulty
    settled = standing.jobs_paid + standing.jobs_refunded
    if settled >= MIN_SETTLED_JOBS and 100 * bad > policy.max_refunded_share * settled:
        return f"{bad} of the contractor's {settled} settled jobs were refunded or faulty"
    return None


def _refuse_owner(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    return _find_owner_reason(policy, job)


def _find_owner_reason(policy: Policy, job: pb.Job) -> str | None:
    if job.contractor in policy.refused_owners:
        return f"{encode_address(job.contractor)} is refused"
    if policy.allowed_owners and job.contractor not in policy.allowed_owners:
        return f"{encode_address(job.contractor)} is not among the allowed owners"
    return None


def _refuse_registry(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    images = (job.terms.image, job.terms.eval_image or job.terms.image)
    return next(filter(None, (_find_registry_reason(policy, image) for image in images)), None)


def _find_registry_reason(policy: Policy, image: str) -> str | None:
    registry = get_registry(image)
    refused = {_normalise(host) for host in policy.refused_registries}
    if registry in refused or _split_port(registry)[0] in refused:  # without a port: at every port
        return f"registry {registry} is refused"
    if policy.allowed_registries and registry not in {_normalise(host) for host in policy.allowed_registries}:
        return f"registry {registry} is not among the allowed ones"
    return None


def _refuse_time(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    left = max(0, job.deadline_ms - view.now_ms)
    return f"{left} ms are left, less than {policy.min_time_left_ms}" if left < policy.min_time_left_ms else None


def _refuse_needs(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    needs = job.terms.needs
    return f"needs {needs.gpus} GPUs, 0 are allowed" if needs.gpus else find_shortage(policy, needs, ())


def _refuse_image(policy: Policy, view: ChainView, job: pb.Job) -> str | None:
    allowed = view.params.classes[job.terms.job_class].image_mib
    return f"its class allows images of {allowed} MiB" if allowed > policy.max_image_mib else None


_FILTERS: dict[str, Callable[[Policy, ChainView, pb.Job], str | None]] = {
    "mode": _refuse_mode,
    "bond": _refuse_bond,
    "own_job": _refuse_own,
    "suspended": _refuse_suspended,
    "min_bounty": _refuse_bounty,
    "contractor_trust": _refuse_trust,
    "contractor_counters": _refuse_counters,
    "owners": _refuse_owner,
    "registries": _refuse_registry,
    "min_time_left": _refuse_time,
    "resources": _refuse_needs,
    "image_size": _refuse_image,
}


@lru_cache(maxsize=16_384)  # asked for all open jobs whenever anything happens
def get_registry(image: str) -> str:
    """Return the registry host of an image reference in its one form, `docker.io` if it names none."""
    first, _, rest = image.partition("/")
    return _normalise(first) if rest and ("." in first or ":" in first or first == "localhost") else HUB


def _normalise(host: str) -> str:
    """Return the one form of the many in which `HOST[:PORT]` can be written: case, zeros, the usual port, aliases."""
    name, port = _split_port(host.lower())
    name = HUB if name in _HUB_ALIASES else name
    with suppress(ValueError):
        name = f"[{IPv6Address(name.strip('[]'))}]"
    return name if port in ("", HTTPS_PORT) else f"{name}:{port}"


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port.lstrip("0")) if colon and port.isdigit() else (host, "")


def _credits(amount: int) -> str:
    return f"{amount // UCREDIT}.{amount % UCREDIT:06d}"
