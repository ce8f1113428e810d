"""The worker's decisions as a pure object: what happened goes in, what to do comes out. No clock, no I/O.

Every decision is derived anew from the chain's queried state and from what this machine has measured, so a lost
event, a restart or a doubled notification changes nothing. `memory` holds what the journal keeps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.hashing import compute_model_commitment
from worker import events as ev
from worker.filters import Refusal, find_check_refusal, find_refusal, is_refused
from worker.places import find_place
from worker.policy import Policy
from worker.view import ChainView

RETRY_BLOCKS = 5
"""Blocks to wait before an instruction that ended is given again."""
MAX_USE_PERCENT = 50
"""Share of any limit of the class above which an own evaluation stays silent: slower checkers would overrun."""
KEPT_RESULTS = 16
"""Results remembered of a job, the best ones: of models run as often as an announcement needs, and of others."""
MAX_CHECKS = 64
"""Checks under way: most of them wait for a model, and only one evaluates at a time (see `measuring.py`). One of less
bounty gives way to one of more: the models of many cheap jobs that never come would else keep it from being checked."""


@dataclass(slots=True)
class Memory:
    """What must survive a crash; the journal writes and restores it."""

    chain_tag: bytes
    taken: dict[int, str] = field(default_factory=dict)
    """Jobs ever taken up, with the name of the attempt: a random number, so that an image cannot know whose it is.
    Empty once the job is over and nothing of the attempt is left."""
    over: dict[int, str] = field(default_factory=dict)
    """Jobs not trained (again), with the reason."""
    fresh: dict[int, bytes] = field(default_factory=dict)
    """The newest checkpoint of each job; a training that has ended does not write it again after a crash."""
    evaluated: dict[tuple[int, bytes], ev.Evaluated] = field(default_factory=dict)
    announced: dict[tuple[int, bytes], ev.Announced] = field(default_factory=dict)
    votes: dict[tuple[int, int], ev.Measured] = field(default_factory=dict)
    uploaded: dict[tuple[int, bytes], None] = field(default_factory=dict)
    shunned: dict[bytes, str] = field(default_factory=dict)
    """Contractors whose images scored differently from run to run."""


class WorkerState:
    """Takes one happening at a time and returns the instructions that follow from it."""

    def __init__(self, policy: Policy, memory: Memory) -> None:
        """Begin with what the journal restored."""
        self.policy = policy
        self.memory = memory
        self.view: ChainView | None = None
        self.running: dict[ev.Instruction, None] = {}
        self.refusals: dict[int, Refusal] = {}
        self._not_before: dict[ev.Instruction, int] = {}

    def handle(self, happening: ev.Happening) -> list[ev.Instruction]:
        """Take in what happened and return what to start now; nothing is asked for twice while it runs."""
        self._take_in(happening)
        out: list[ev.Instruction] = []
        if self.view is not None:
            for instruction in self._plan(self.view):
                if self._may_start(instruction):
                    self.running[instruction] = None
                    out.append(instruction)
        return out

    def _take_in(self, happening: ev.Happening) -> None:
        match happening:
            case ev.Observed(view):
                self.view = view
                self._not_before = {i: height for i, height in self._not_before.items() if height > view.height}
            case ev.TrainingEnded(job_id, reason, final):
                self._end_training(job_id, reason, final)
            case ev.Evaluated():
                self._take_evaluation(happening)
            case ev.ModelLost(job_id, digest):
                self._lose_model(job_id, digest)
            case ev.Done(instruction):
                self._finish(instruction)
            case ev.Failed(instruction):
                self._put_off(instruction)
            case _:
                self._remember(happening)

    def _remember(self, happening: ev.Taken | ev.CheckpointSaved | ev.Measured | ev.Announced) -> None:
        match happening:
            case ev.Taken(job_id, attempt):
                self.memory.taken[job_id] = attempt
            case ev.CheckpointSaved(job_id, digest):
                self.memory.fresh[job_id] = digest
            case ev.Measured(job_id, number):
                self.memory.votes[job_id, number] = happening
            case ev.Announced(job_id, digest):
                self.memory.announced.pop((job_id, digest), None)  # the newest stands last
                self.memory.announced[job_id, digest] = happening

    def _end_training(self, job_id: int, reason: str, final: bool) -> None:
        self._put_off(ev.Train(job_id))
        if final:
            self.memory.over[job_id] = reason
        elif self.view is not None and self.view.jobs.get(job_id, pb.Job()).state == pb.JOB_STATE_OPEN:
            self.refusals[job_id] = Refusal("not_now", reason)  # shown until it starts again

    def _take_evaluation(self, result: ev.Evaluated) -> None:
        self.memory.evaluated.pop((result.job_id, result.digest), None)  # the newest stands last
        self.memory.evaluated[result.job_id, result.digest] = result
        self._drop_results(result)
        self.running.pop(ev.Evaluate(result.job_id, result.digest), None)
        job = None if self.view is None else self.view.jobs.get(result.job_id)
        if job is not None and result.spread > job.terms.tolerance:
            reason = "its evaluation of the same model differs by more than the tolerance"
            self.memory.shunned[job.contractor] = reason
            self.memory.over[result.job_id] = reason

    def _drop_results(self, newest: ev.Evaluated) -> None:
        """Forget results of a job that no decision needs any more: a long training has thousands of checkpoints."""
        job_id = newest.job_id
        scored = sorted(self._list_scored(job_id), key=lambda result: (result.worst, result.digest))
        whole = [result.digest for result in scored if self._is_measured(result)]
        left = [result.digest for result in scored if not self._is_measured(result)]
        kept = {*whole[:KEPT_RESULTS], *left[:KEPT_RESULTS], newest.digest, self.memory.fresh.get(job_id)}
        for key in [key for key in self.memory.evaluated if key[0] == job_id and key[1] not in kept]:
            del self.memory.evaluated[key]

    def _lose_model(self, job_id: int, digest: bytes) -> None:
        """Choose it no more: it cannot be handed over. What was announced stays: it opens a commitment."""
        self.memory.evaluated.pop((job_id, digest), None)
        if self.memory.fresh.get(job_id) == digest:
            del self.memory.fresh[job_id]

    def _finish(self, instruction: ev.Instruction) -> None:
        # The chain shows the effect of a transaction one view later: do not send it again meanwhile.
        self._put_off(instruction)
        if isinstance(instruction, ev.Upload):
            self.memory.uploaded[instruction.job_id, instruction.digest] = None
        elif isinstance(instruction, ev.Forget):
            self._forget(instruction.job_id)

    def _put_off(self, instruction: ev.Instruction) -> None:
        """Note that an instruction runs no more, and give it again some blocks later only."""
        self.running.pop(instruction, None)
        if self.view is not None:
            self._not_before[instruction] = self.view.height + RETRY_BLOCKS

    def _forget(self, job_id: int) -> None:
        memory = self.memory
        memory.evaluated = {k: v for k, v in memory.evaluated.items() if k[0] != job_id}
        memory.announced = {k: v for k, v in memory.announced.items() if k[0] != job_id}
        memory.votes = {k: v for k, v in memory.votes.items() if k[0] != job_id}
        memory.uploaded = {k: v for k, v in memory.uploaded.items() if k[0] != job_id}
        if job_id in memory.taken:
            memory.taken[job_id] = ""
        memory.over.pop(job_id, None)
        memory.fresh.pop(job_id, None)
        self._not_before = {i: height for i, height in self._not_before.items() if i.job_id != job_id}

    def _may_start(self, instruction: ev.Instruction) -> bool:
        if instruction in self.running:
            return False
        return self.view is not None and self.view.height >= self._not_before.get(instruction, 0)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _plan(self, view: ChainView) -> Iterator[ev.Instruction]:
        if view.me.account.banned:
            yield from (ev.StopTraining(i.job_id, forget=True) for i in list(self.running) if isinstance(i, ev.Train))
            return
        self.refusals = {job_id: refusal for job_id, refusal in self.refusals.items() if job_id in view.jobs}
        jobs = sorted(view.jobs.values(), key=lambda job: (-job.bounty, job.id))  # highest bounty first
        for job in jobs:
            yield from self._plan_votes(view, job)
            yield from self._plan_reveal(view, job)
        measurable = {*self.memory.fresh, *(job_id for job_id, _ in self.memory.evaluated)}
        for job in jobs:
            if job.id in measurable:  # looking through all results for each of thousands of open jobs takes seconds
                yield from self._plan_evaluation(job)
                yield from self._plan_announcement(view, job)
            yield from self._plan_training(view, job)
        for instruction in list(self.running):
            if isinstance(instruction, ev.Train) and instruction.job_id not in view.jobs:
                yield ev.StopTraining(instruction.job_id, forget=True)
        for job_id in self.get_held_jobs():
            # One that is not among the unsettled ones should be over, which is asked before anything is lost.
            if job_id not in view.jobs and ev.Train(job_id) not in self.running:
                yield ev.Forget(job_id)

    def _plan_votes(self, view: ChainView, job: pb.Job) -> Iterator[ev.Instruction]:
        seat = view.get_seat(job.id)
        if seat is None:
            return
        own = self.memory.votes.get((job.id, job.round))
        if job.state == pb.JOB_STATE_VOTE and not seat.commitment:
            if own is not None:
                yield ev.CommitVote(job.id, job.round)
            else:
                yield from self._plan_check(view, job)
        elif job.state == pb.JOB_STATE_TALLY and seat.commitment and not seat.finding and own is not None:
            yield ev.RevealVote(job.id, job.round)

    def _plan_check(self, view: ChainView, job: pb.Job) -> Iterator[ev.Instruction]:
        check = ev.Check(job.id, job.round)
        if not self._may_check(job) or not self._may_start(check):
            return
        under_way = [view.jobs.get(todo.job_id, pb.Job()) for todo in self.running if isinstance(todo, ev.Check)]
        if len(under_way) < MAX_CHECKS:
            yield check
        elif min(other.bounty for other in under_way) < job.bounty:
            yield ev.MakeWay(job.id, job.round)

    def _may_check(self, job: pb.Job) -> bool:
        if not self.policy.check:
            return False
        refusal = find_check_refusal(self.policy, job)
        if refusal is not None:
            self.refusals[job.id] = refusal
        return refusal is None

    def _plan_reveal(self, view: ChainView, job: pb.Job) -> Iterator[ev.Instruction]:
        turn = view.get_turn(job.id)
        if turn is None or turn.account != view.me.address or job.state == pb.JOB_STATE_TALLY:
            return
        digest = self._find_model(job.id, turn)
        if digest is None:
            return
        is_uploaded = (job.id, digest) in self.memory.uploaded
        if not is_uploaded:
            yield ev.Upload(job.id, digest)  # also after the Reveal: relays take it until the votes are in
        if job.state == pb.JOB_STATE_REVEAL and (is_uploaded or self._is_last_third(view, job)):
            yield ev.Reveal(job.id, digest)

    def _is_last_third(self, view: ChainView, job: pb.Job) -> bool:
        """With no relay reached, reveal all the same while there is time: own locations may do."""
        window = job.deadline_ms - job.window_opened_ms
        return 3 * (job.deadline_ms - view.now_ms) < window

    def _find_model(self, job_id: int, turn: pb.Candidate) -> bytes | None:
        """Return the digest that opens the commitment of the turn, if this machine made it."""
        known = [digest for job, digest in self.memory.announced if job == job_id]
        return next((digest for digest in known if self._opens(job_id, digest, turn)), None)

    def _opens(self, job_id: int, digest: bytes, entry: pb.Candidate) -> bool:
        salt = self.memory.announced[job_id, digest].salt
        opened = compute_model_commitment(self.memory.chain_tag, job_id, entry.account, digest, salt)
        return opened == entry.commitment

    def _plan_evaluation(self, job: pb.Job) -> Iterator[ev.Instruction]:
        if job.state != pb.JOB_STATE_OPEN:
            return
        for digest in self._list_unmeasured(job.id):
            # One of each job: an image that does not come holds up its own only; `measuring.py` gives the turns.
            if any(isinstance(i, ev.Evaluate) and i.job_id == job.id for i in self.running):
                return
            yield ev.Evaluate(job.id, digest)

    def _list_unmeasured(self, job_id: int) -> list[bytes]:
        """Return the newest checkpoint unless it was measured, then those left half measured that would now place."""
        fresh = self.memory.fresh.get(job_id)
        unseen = [] if fresh is None or (job_id, fresh) in self.memory.evaluated else [fresh]
        left = [result for result in self._list_scored(job_id) if not self._is_measured(result)]
        left.sort(key=lambda result: (result.worst, result.digest))
        return unseen + [result.digest for result in left if self.would_place(job_id, result.worst)]

    def would_place(self, job_id: int, loss: int) -> bool:
        """Return whether an own model with this loss (1e-9) would take a place of the job now."""
        view = self.view
        if view is None or job_id not in view.jobs:
            return False
        return find_place(self.policy, view, view.jobs[job_id], loss) is not None

    def _plan_announcement(self, view: ChainView, job: pb.Job) -> Iterator[ev.Instruction]:
        if job.state != pb.JOB_STATE_OPEN or view.now_ms >= job.deadline_ms or job.contractor in self.memory.shunned:
            return
        if any(isinstance(i, ev.Announce) and i.job_id == job.id for i in self.running):
            return
        best = self._find_best(job.id)
        if best is None:
            return
        place = find_place(self.policy, view, job, best.worst)
        if place is not None:
            yield ev.Announce(job.id, best.digest, best.worst, place.secured)

    def _find_best(self, job_id: int) -> ev.Evaluated | None:
        fit = [result for result in self._list_scored(job_id) if self._is_measured(result)]
        return min(fit, key=lambda result: (result.worst, result.digest), default=None)

    def _list_scored(self, job_id: int) -> list[ev.Evaluated]:
        results = [result for (job, _), result in self.memory.evaluated.items() if job == job_id]
        return [result for result in results if result.has_score and result.largest_use <= MAX_USE_PERCENT]

    def _is_measured(self, result: ev.Evaluated) -> bool:
        """Whether it was run as often as an announcement needs: no single run shows that the next one agrees."""
        return len(result.losses) >= self.policy.evaluations

    def _plan_training(self, view: ChainView, job: pb.Job) -> Iterator[ev.Instruction]:
        train = ev.Train(job.id)
        if train in self.running:
            if job.state != pb.JOB_STATE_OPEN or job.id in self.memory.over:
                yield ev.StopTraining(job.id, forget=True)
            return
        if job.state != pb.JOB_STATE_OPEN:
            return
        refusal = self._find_refusal(view, job)
        if refusal is None:
            if self._may_start(train):
                self.refusals.pop(job.id, None)
            yield train
        else:
            self.refusals[job.id] = refusal

    def _find_refusal(self, view: ChainView, job: pb.Job) -> Refusal | None:
        if job.contractor in self.memory.shunned:
            return Refusal("contractor_noise", self.memory.shunned[job.contractor])
        if job.id in self.memory.over:
            return Refusal("over", self.memory.over[job.id])
        trainings = [todo.job_id for todo in self.running if isinstance(todo, ev.Train)]
        running = [view.jobs[job_id] for job_id in trainings if job_id in view.jobs]
        taken = len(self.memory.taken) - (job.id in self.memory.taken)  # going on with a job is not another one
        return find_refusal(self.policy, view, job, taken, running)

    def list_held_models(self) -> set[bytes]:
        """Return the models that must not get lost: newest checkpoints, and what may have to be revealed.

        That is what stands in a list, and the last announcement of each job, which may be on its way there. Models of
        earlier ones need not stay: a race has hundreds.
        """
        memory = self.memory
        last = {key[0]: key[1] for key in memory.announced}
        return {*memory.fresh.values(), *last.values(), *(key[1] for key in memory.announced if self._may_stand(*key))}

    def _may_stand(self, job_id: int, digest: bytes) -> bool:
        """Tell whether an announced model is in its job's list, as far as this is known."""
        if self.view is None:
            return True
        own = self.view.get_candidacy(job_id)
        return own is not None and self._opens(job_id, digest, own)

    def rank_job(self, view: ChainView, job: pb.Job) -> tuple[bool, int, int]:
        """Return what orders open jobs where not all can be remembered: those to train first, by their bounties."""
        is_useless = job.id in self.memory.over or job.contractor in self.memory.shunned
        return is_useless or is_refused(self.policy, view, job), -job.bounty, job.id

    def list_stakes(self) -> list[int]:
        """Return the jobs that have to stay in view: where something is done, announced, voted or left."""
        keyed = (*self.memory.announced, *self.memory.votes, *self.memory.evaluated)
        busy = [*(todo.job_id for todo in self.running), *(key[0] for key in keyed)]
        return list(dict.fromkeys([*busy, *self.get_held_jobs()]))

    def get_held_jobs(self) -> list[int]:
        """Return the jobs of which this machine holds models, results, votes or the state of a training."""
        memory = self.memory
        trained = [job_id for job_id, attempt in memory.taken.items() if attempt]
        keyed = (*memory.evaluated, *memory.announced, *memory.votes, *memory.uploaded)
        return sorted({*trained, *memory.fresh, *(key[0] for key in keyed), *memory.over})
