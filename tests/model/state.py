"""The model's state and the movements of credits on which everything else stands."""

from collections import Counter
from dataclasses import dataclass, field

from abci_app.pb.learningchain.v1 import state_pb2
from tests.model.records import CREDIT, TX_UNITS, UNSETTLED, Account, Entry, Job, Round, Validator


@dataclass
class State:
    """Everything the chain knows, and the block that is being made."""

    params: state_pb2.Params
    tag: bytes
    accounts: dict[bytes, Account] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    rounds: dict[tuple[int, int], Round] = field(default_factory=dict)
    validators: dict[bytes, Validator] = field(default_factory=dict)
    tables: dict[int, list[Entry]] = field(default_factory=dict)
    table_epoch: int = -1
    epoch: int = -1
    next_job: int = 1
    next_unbonding: int = 0
    burned: int = 0
    recent: int = 0  # registrations
    period: int = 0
    outage_end: int = 0
    height: int = 0
    now: int = 0
    block_hash: bytes = b""
    proposer: bytes | None = None
    index: int = 0  # of the transaction in its block
    registered: int = 0  # in this block
    seen: Counter[str] = field(default_factory=Counter)  # what has happened, to tell how far a comparison has looked

    def pay(self, account: bytes, amount: int) -> None:
        """Give credits to an account; whatever is owed to a banned one is burned."""
        if self.accounts[account].banned:
            self.burned += amount
        else:
            self.receive(account, amount)

    def receive(self, account: bytes, amount: int) -> None:
        """Add to a balance. Who is poor no longer has waited at the slower rate until now."""
        receiver = self.accounts[account]
        held = receiver.balance + receiver.bond
        if held < CREDIT <= held + amount:
            receiver.bucket, receiver.bucket_ms = self.filled(receiver), self.now
        receiver.balance += amount

    def rate(self, account: Account) -> tuple[int, int]:
        """Return burst and rate per minute that hold for an account now."""
        p = self.params
        poor = account.balance + account.bond < CREDIT
        return (p.poor_burst, p.poor_per_minute) if poor else (p.tx_burst, p.tx_per_minute)

    def capacity(self, account: Account) -> int:
        """Return the units of a full bucket."""
        return self.rate(account)[0] * TX_UNITS

    def filled(self, account: Account) -> int:
        """Return what the bucket holds now."""
        gained = (self.now - account.bucket_ms) * self.rate(account)[1]
        return min(self.capacity(account), account.bucket + gained)

    def total(self) -> int:
        """Return all credits there are, each counted where it lies."""
        held = sum(a.balance + a.bond + sum(u.amount for u in a.unbonding) for a in self.accounts.values())
        locked = sum(job.escrow + sum(c.deposit for c in job.candidates) for job in self.jobs.values())
        return held + locked + self.burned

    def standing_in(self, account: bytes) -> list[Job]:
        """Return the unsettled jobs whose list holds this account."""
        return [j for j in self.jobs.values() if any(c.account == account for c in j.candidates)]

    def unsecured(self, account: bytes) -> int:
        """Return in how many jobs this account stands with nothing at stake."""
        jobs = self.standing_in(account)
        return sum(not c.secured for job in jobs for c in job.candidates if c.account == account)

    def open_jobs(self, contractor: bytes) -> list[Job]:
        """Return the unsettled jobs of a contractor."""
        return [j for j in self.jobs.values() if j.contractor == contractor and j.state in UNSETTLED]

    def eligible(self, epoch: int, job_class: int) -> list[Entry]:
        """Return the entries of a checker table that evaluate this class."""
        return [e for e in self.tables.get(epoch, []) if e.highest_class >= job_class]


def strike(s: State, address: bytes) -> None:
    """Suspend an account that is not suspended, each time for twice as long."""
    account = s.accounts[address]
    if s.now < account.suspended_until:
        return
    account.count("strikes")
    exponent = min(account.counters["strikes"] - 1, 7)
    account.suspended_until = s.now + s.params.suspension_ms * 2**exponent


def count_miss(s: State, address: bytes) -> None:
    """Count a round without a vote; jail a checker that has been silent for long."""
    account = s.accounts[address]
    account.count("votes_missed")
    account.missed_in_a_row += 1
    if account.missed_in_a_row < s.params.max_missed_votes or s.now - account.silent_since < s.params.silence_ms:
        return
    account.checker_jailed_ms = s.now
    s.seen["jailed as checker"] += 1


def fix_table(s: State) -> None:
    """Fix the checker table of the epoch, at its first block; stored only when it differs from the one before."""
    epoch = s.now // s.params.epoch_ms
    if epoch == s.epoch:
        return
    s.epoch = epoch
    able = [
        (-a.bond, address)
        for address, a in s.accounts.items()
        if a.checker and not a.banned and not a.checker_jailed_ms and a.bond >= s.params.min_bond
    ]
    chosen = sorted(address for _, address in sorted(able)[: s.params.max_checkers])
    table = [Entry(x, s.accounts[x].bond, s.accounts[x].checker - 1) for x in chosen]
    if s.tables.get(s.table_epoch) != table:
        s.table_epoch = epoch
        s.tables[epoch] = table


def release_unbondings(s: State) -> None:
    """Give back what has been unbonding for long enough, in time and in blocks."""
    due = sorted(
        (u.release_ms, u.release_height, u.number, address)
        for address, account in s.accounts.items()
        for u in account.unbonding
        if u.release_ms <= s.now and u.release_height <= s.height
    )
    s.seen["more releases than a block takes"] += len(due) > s.params.max_released_per_block
    for _, _, number, address in due[: s.params.max_released_per_block]:
        s.seen["released"] += 1
        account = s.accounts[address]
        entry = next(u for u in account.unbonding if u.number == number)
        account.unbonding.remove(entry)
        s.receive(address, entry.amount)


def count_commits(s: State, missed: tuple[bytes, ...]) -> None:
    """Note who of the set signed the last block; jail who missed too many of the last ones."""
    for key, validator in s.validators.items():
        validator.signed = validator.power > 0 and s.height > 1 and key not in missed
        if validator.signed or validator.power == 0 or s.height == 1:
            continue
        commit = s.height - 1
        oldest = commit - s.params.signed_window
        validator.missed = [height for height in validator.missed if height > oldest] + [commit]
        operator = s.accounts[validator.operator]
        may_be_jailed = not operator.banned and not operator.validator_jailed_ms
        if len(validator.missed) > s.params.max_missed_blocks and may_be_jailed:
            operator.validator_jailed_ms = s.now
            s.seen["jailed as validator"] += 1


def choose_validators(s: State) -> None:
    """Give power to the largest bonds; the last one that signs does not leave before another one has signed."""
    able = []
    for key, validator in s.validators.items():
        account = s.accounts[validator.operator]
        if account.bond >= s.params.min_validator_bond and not account.banned and not account.validator_jailed_ms:
            able.append((-account.bond, validator.operator, key))
    powers = {key: -bond // s.params.power_unit for bond, _, key in sorted(able)[: s.params.max_validators]}
    leaving = [key for key, validator in s.validators.items() if validator.power and key not in powers]
    if leaving and not any(s.validators[key].signed for key in powers):
        signing = [key for key in leaving if s.validators[key].signed]
        stays = min(signing or leaving, key=lambda key: (-s.validators[key].power, key))
        powers[stays] = s.validators[stays].power
    for key, validator in s.validators.items():
        validator.power = powers.get(key, 0)
