"""Small chain views for the worker's tests: one open job, this worker, and what a test changes of them."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from learningchain.client.interface import AccountView
from worker import events as ev
from worker.policy import Policy
from worker.state import Memory, WorkerState
from worker.view import ChainView

ME, CONTRACTOR, RIVAL = b"m" * 20, b"c" * 20, b"r" * 20
TAG = b"t" * 8
NOW = 1_000_000
IMAGE = "registry.example:5000/digits@sha256:" + "a" * 64
MODEL, SALT = b"d" * 32, b"s" * 32


def make_job(**changes: object) -> pb.Job:
    """An open job of the contractor with nobody in its list; `terms` fields and record fields may be changed."""
    terms = tx_pb2.SubmitJob(
        image=IMAGE, bounty=50 * UCREDIT, free_places=1, tolerance=1_000, ban_margin=10_000, min_improvement=2_000,
        loss_ceiling=10**10, needs=tx_pb2.TrainingNeeds(milli_cpus=500, memory_mib=512, disk_mib=64),
    )  # fmt: skip
    job = pb.Job(
        id=1, contractor=CONTRACTOR, terms=terms, state=pb.JOB_STATE_OPEN, bounty=terms.bounty,
        submitted_ms=NOW - 10_000, deadline_ms=NOW + 60_000, window_opened_ms=NOW - 10_000,
    )  # fmt: skip
    for name, value in changes.items():
        target = job if name in pb.Job.DESCRIPTOR.fields_by_name else job.terms
        if name == "candidates":
            job.candidates.extend(value)  # type: ignore[arg-type]
        elif name == "needs":
            job.terms.needs.CopyFrom(value)  # type: ignore[arg-type]
        else:
            setattr(target, name, value)
    return job


def make_view(*jobs: pb.Job, height: int = 10, now_ms: int = NOW, **changes: object) -> ChainView:
    """A view with these jobs. `account` and `standing` are this worker's records."""
    account = changes.pop("account", pb.Account(balance=0))
    standing = changes.pop("standing", pb.Standing())
    me = AccountView(ME, account, standing, pb.Profile(), height)  # type: ignore[arg-type]
    return ChainView(
        height=height, now_ms=now_ms, params=get_params("devnet"), me=me, jobs={job.id: job for job in jobs}, **changes  # type: ignore[arg-type]
    )  # fmt: skip


def make_candidate(account: bytes, loss: int, *, secured: bool = False, commitment: bytes = b"x" * 32) -> pb.Candidate:
    """A candidate ranked by its announced loss."""
    return pb.Candidate(
        account=account, loss=loss, ranked_loss=loss, height=5, index=0, secured=secured, commitment=commitment
    )


def commit_to(digest: bytes) -> bytes:
    """This worker's commitment to a model of job 1."""
    return compute_model_commitment(TAG, 1, ME, digest, SALT)


def start(*jobs: pb.Job, policy: Policy | None = None, memory: Memory | None = None) -> WorkerState:
    state = WorkerState(policy or Policy(), memory or Memory(TAG))
    state.handle(ev.Observed(make_view(*jobs)))
    return state


def observe(state: WorkerState, *jobs: pb.Job, **view: object) -> list[ev.Instruction]:
    return state.handle(ev.Observed(make_view(*jobs, **view)))  # type: ignore[arg-type]
