"""What happens to the decision maker (`state.py`) and what it asks for: plain values, no behaviour."""

from dataclasses import dataclass

from abci_app.protocol.limits import RESERVED_LOSS
from worker.view import ChainView

# --- instructions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Train:
    """Start, or go on with, the training of a job. Runs until `TrainingEnded`."""

    job_id: int


@dataclass(frozen=True, slots=True)
class StopTraining:
    """End the training of a job; `forget` also removes what it would resume from."""

    job_id: int
    forget: bool


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Evaluate an own model as often as the policy says, in fresh sandboxes."""

    job_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Announce:
    """Commit to an own model and announce the loss measured for it."""

    job_id: int
    digest: bytes
    loss: int
    secured: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring the model whose turn it is to relays."""

    job_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reveal:
    """Name the model whose turn it is."""

    job_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """Fetch and evaluate the model that a round is about."""

    job_id: int
    round: int


@dataclass(frozen=True, slots=True)
class MakeWay:
    """End a check of less bounty that does not evaluate yet: as many as may be are under way, and this round waits."""

    job_id: int
    round: int


@dataclass(frozen=True, slots=True)
class CommitVote:
    """Commit to what was measured in a round."""

    job_id: int
    round: int


@dataclass(frozen=True, slots=True)
class RevealVote:
    """Open the committed vote of a round."""

    job_id: int
    round: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Release models of a job that is over."""

    job_id: int


Instruction = (
    Train | StopTraining | Evaluate | Announce | Upload | Reveal | Check | MakeWay | CommitVote | RevealVote | Forget
)

# --- happenings ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of the chain at a new height."""

    view: ChainView


@dataclass(frozen=True, slots=True)
class Taken:
    """A job was taken up under this name of its attempt."""

    job_id: int
    attempt: str


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """Training left a new model, which is in the model store under its digest."""

    job_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """The training container is gone. `final`: it is not worth another start."""

    job_id: int
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An own model was measured. `losses` are in 1e-9, one a run, the reserved loss for one that ended by itself
    without a score, and none when one was stopped; `largest_use` is in % of a limit, rounded up.
    """

    job_id: int
    digest: bytes
    losses: tuple[int, ...]
    largest_use: int

    @property
    def worst(self) -> int:
        """The loss to announce."""
        return max(self.losses)

    @property
    def spread(self) -> int:
        """How far the runs lie apart, in 1e-9; a run without a score lies far from any with one."""
        return max(self.losses, default=0) - min(self.losses, default=0)

    @property
    def has_score(self) -> bool:
        """Whether every run gave a valid score."""
        return bool(self.losses) and RESERVED_LOSS not in self.losses


@dataclass(frozen=True, slots=True)
class Measured:
    """What this machine found in a round; kept in the journal before anything is said about it."""

    job_id: int
    round: int
    finding: int
    loss: int
    receipt: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement is on its way or on the chain: its commitment is in the journal."""

    job_id: int
    digest: bytes
    salt: bytes
    loss: int


@dataclass(frozen=True, slots=True)
class ModelLost:
    """An own model is not in the model store any more: it made room for others."""

    job_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """An instruction was carried out."""

    instruction: Instruction


@dataclass(frozen=True, slots=True)
class Failed:
    """An instruction failed: it is given again after some blocks if it is still wanted."""

    instruction: Instruction


Happening = (
    Observed | Taken | CheckpointSaved | TrainingEnded | Evaluated | Measured | Announced | ModelLost | Done | Failed
)
