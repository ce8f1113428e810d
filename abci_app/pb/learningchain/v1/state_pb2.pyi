from abci_app.pb.learningchain.v1 import tx_pb2 as _tx_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_OPEN: _ClassVar[JobState]
    JOB_STATE_REVEAL: _ClassVar[JobState]
    JOB_STATE_VOTE: _ClassVar[JobState]
    JOB_STATE_TALLY: _ClassVar[JobState]
    JOB_STATE_PAID: _ClassVar[JobState]
    JOB_STATE_REFUNDED: _ClassVar[JobState]
    JOB_STATE_EXPIRED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_UNVERIFIED: _ClassVar[Outcome]
    OUTCOME_FAULTY_JOB: _ClassVar[Outcome]
    OUTCOME_CONVICTED: _ClassVar[Outcome]
    OUTCOME_REJECTED: _ClassVar[Outcome]
    OUTCOME_ACCEPTED: _ClassVar[Outcome]
    OUTCOME_DEFAULTED: _ClassVar[Outcome]
    OUTCOME_BANNED: _ClassVar[Outcome]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_OPEN: JobState
JOB_STATE_REVEAL: JobState
JOB_STATE_VOTE: JobState
JOB_STATE_TALLY: JobState
JOB_STATE_PAID: JobState
JOB_STATE_REFUNDED: JobState
JOB_STATE_EXPIRED: JobState
JOB_STATE_CANCELLED: JobState
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_UNVERIFIED: Outcome
OUTCOME_FAULTY_JOB: Outcome
OUTCOME_CONVICTED: Outcome
OUTCOME_REJECTED: Outcome
OUTCOME_ACCEPTED: Outcome
OUTCOME_DEFAULTED: Outcome
OUTCOME_BANNED: Outcome

class Key(_message.Message):
    __slots__ = ("public_key", "scope", "expires_at_ms", "nonce")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    scope: _tx_pb2.KeyScope
    expires_at_ms: int
    nonce: int
    def __init__(self, public_key: _Optional[bytes] = ..., scope: _Optional[_Union[_tx_pb2.KeyScope, str]] = ..., expires_at_ms: _Optional[int] = ..., nonce: _Optional[int] = ...) -> None: ...

class Unbonding(_message.Message):
    __slots__ = ("amount", "release_ms", "release_height", "number")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_MS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    amount: int
    release_ms: int
    release_height: int
    number: int
    def __init__(self, amount: _Optional[int] = ..., release_ms: _Optional[int] = ..., release_height: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("keys", "balance", "bond", "bucket_units", "bucket_ms", "banned", "checker", "checker_jailed_ms", "unbonding", "validator_jailed_ms")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    BOND_FIELD_NUMBER: _ClassVar[int]
    BUCKET_UNITS_FIELD_NUMBER: _ClassVar[int]
    BUCKET_MS_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    CHECKER_FIELD_NUMBER: _ClassVar[int]
    CHECKER_JAILED_MS_FIELD_NUMBER: _ClassVar[int]
    UNBONDING_FIELD_NUMBER: _ClassVar[int]
    VALIDATOR_JAILED_MS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    balance: int
    bond: int
    bucket_units: int
    bucket_ms: int
    banned: bool
    checker: int
    checker_jailed_ms: int
    unbonding: _containers.RepeatedCompositeFieldContainer[Unbonding]
    validator_jailed_ms: int
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., balance: _Optional[int] = ..., bond: _Optional[int] = ..., bucket_units: _Optional[int] = ..., bucket_ms: _Optional[int] = ..., banned: _Optional[bool] = ..., checker: _Optional[int] = ..., checker_jailed_ms: _Optional[int] = ..., unbonding: _Optional[_Iterable[_Union[Unbonding, _Mapping]]] = ..., validator_jailed_ms: _Optional[int] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("jobs_posted", "jobs_paid", "jobs_refunded", "jobs_faulty", "network_fees_paid", "bounties_paid_out", "wins", "rejections", "convictions", "defaults", "votes_agreed", "votes_outvoted", "votes_missed", "strikes", "suspended_until_ms", "missed_in_a_row", "silent_since_ms", "open_jobs", "candidacies", "unsecured_candidacies")
    JOBS_POSTED_FIELD_NUMBER: _ClassVar[int]
    JOBS_PAID_FIELD_NUMBER: _ClassVar[int]
    JOBS_REFUNDED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FAULTY_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FEES_PAID_FIELD_NUMBER: _ClassVar[int]
    BOUNTIES_PAID_OUT_FIELD_NUMBER: _ClassVar[int]
    WINS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    CONVICTIONS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    VOTES_AGREED_FIELD_NUMBER: _ClassVar[int]
    VOTES_OUTVOTED_FIELD_NUMBER: _ClassVar[int]
    VOTES_MISSED_FIELD_NUMBER: _ClassVar[int]
    STRIKES_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    MISSED_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    SILENT_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    OPEN_JOBS_FIELD_NUMBER: _ClassVar[int]
    CANDIDACIES_FIELD_NUMBER: _ClassVar[int]
    UNSECURED_CANDIDACIES_FIELD_NUMBER: _ClassVar[int]
    jobs_posted: int
    jobs_paid: int
    jobs_refunded: int
    jobs_faulty: int
    network_fees_paid: int
    bounties_paid_out: int
    wins: int
    rejections: int
    convictions: int
    defaults: int
    votes_agreed: int
    votes_outvoted: int
    votes_missed: int
    strikes: int
    suspended_until_ms: int
    missed_in_a_row: int
    silent_since_ms: int
    open_jobs: int
    candidacies: int
    unsecured_candidacies: int
    def __init__(self, jobs_posted: _Optional[int] = ..., jobs_paid: _Optional[int] = ..., jobs_refunded: _Optional[int] = ..., jobs_faulty: _Optional[int] = ..., network_fees_paid: _Optional[int] = ..., bounties_paid_out: _Optional[int] = ..., wins: _Optional[int] = ..., rejections: _Optional[int] = ..., convictions: _Optional[int] = ..., defaults: _Optional[int] = ..., votes_agreed: _Optional[int] = ..., votes_outvoted: _Optional[int] = ..., votes_missed: _Optional[int] = ..., strikes: _Optional[int] = ..., suspended_until_ms: _Optional[int] = ..., missed_in_a_row: _Optional[int] = ..., silent_since_ms: _Optional[int] = ..., open_jobs: _Optional[int] = ..., candidacies: _Optional[int] = ..., unsecured_candidacies: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("name", "endpoint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    endpoint: str
    def __init__(self, name: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("account", "loss", "ranked_loss", "height", "index", "commitment", "secured", "deposit")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    RANKED_LOSS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SECURED_FIELD_NUMBER: _ClassVar[int]
    DEPOSIT_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    loss: int
    ranked_loss: int
    height: int
    index: int
    commitment: bytes
    secured: bool
    deposit: int
    def __init__(self, account: _Optional[bytes] = ..., loss: _Optional[int] = ..., ranked_loss: _Optional[int] = ..., height: _Optional[int] = ..., index: _Optional[int] = ..., commitment: _Optional[bytes] = ..., secured: _Optional[bool] = ..., deposit: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "contractor", "terms", "state", "bounty", "network_fee", "escrow", "submitted_ms", "submitted_height", "deadline_ms", "window_opened_ms", "renewed", "announced", "candidates", "announcements", "round", "rounds", "table_epoch", "opening_hash", "excluded", "winner", "winning_loss", "outcome", "settled_ms", "settled_height")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTRACTOR_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BOUNTY_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FEE_FIELD_NUMBER: _ClassVar[int]
    ESCROW_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_MS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_OPENED_MS_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    TABLE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPENING_HASH_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    WINNING_LOSS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SETTLED_MS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    id: int
    contractor: bytes
    terms: _tx_pb2.SubmitJob
    state: JobState
    bounty: int
    network_fee: int
    escrow: int
    submitted_ms: int
    submitted_height: int
    deadline_ms: int
    window_opened_ms: int
    renewed: bool
    announced: bool
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    announcements: int
    round: int
    rounds: int
    table_epoch: int
    opening_hash: bytes
    excluded: _containers.RepeatedScalarFieldContainer[bytes]
    winner: bytes
    winning_loss: int
    outcome: Outcome
    settled_ms: int
    settled_height: int
    def __init__(self, id: _Optional[int] = ..., contractor: _Optional[bytes] = ..., terms: _Optional[_Union[_tx_pb2.SubmitJob, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., bounty: _Optional[int] = ..., network_fee: _Optional[int] = ..., escrow: _Optional[int] = ..., submitted_ms: _Optional[int] = ..., submitted_height: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., window_opened_ms: _Optional[int] = ..., renewed: _Optional[bool] = ..., announced: _Optional[bool] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., announcements: _Optional[int] = ..., round: _Optional[int] = ..., rounds: _Optional[int] = ..., table_epoch: _Optional[int] = ..., opening_hash: _Optional[bytes] = ..., excluded: _Optional[_Iterable[bytes]] = ..., winner: _Optional[bytes] = ..., winning_loss: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., settled_ms: _Optional[int] = ..., settled_height: _Optional[int] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("account", "seats", "commitment", "finding", "loss", "receipt", "paid")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SEATS_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    seats: int
    commitment: bytes
    finding: _tx_pb2.Finding
    loss: int
    receipt: bytes
    paid: int
    def __init__(self, account: _Optional[bytes] = ..., seats: _Optional[int] = ..., commitment: _Optional[bytes] = ..., finding: _Optional[_Union[_tx_pb2.Finding, str]] = ..., loss: _Optional[int] = ..., receipt: _Optional[bytes] = ..., paid: _Optional[int] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("job_id", "number", "candidate", "opened_ms", "model_digest", "size", "salt", "locations", "drawable_bond", "class_bond", "votes", "empty_seats", "revealed_ms", "outcome", "decided_ms", "decided_height")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    OPENED_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    DRAWABLE_BOND_FIELD_NUMBER: _ClassVar[int]
    CLASS_BOND_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    EMPTY_SEATS_FIELD_NUMBER: _ClassVar[int]
    REVEALED_MS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DECIDED_MS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    number: int
    candidate: Candidate
    opened_ms: int
    model_digest: bytes
    size: int
    salt: bytes
    locations: _containers.RepeatedScalarFieldContainer[str]
    drawable_bond: int
    class_bond: int
    votes: _containers.RepeatedCompositeFieldContainer[Vote]
    empty_seats: int
    revealed_ms: int
    outcome: Outcome
    decided_ms: int
    decided_height: int
    def __init__(self, job_id: _Optional[int] = ..., number: _Optional[int] = ..., candidate: _Optional[_Union[Candidate, _Mapping]] = ..., opened_ms: _Optional[int] = ..., model_digest: _Optional[bytes] = ..., size: _Optional[int] = ..., salt: _Optional[bytes] = ..., locations: _Optional[_Iterable[str]] = ..., drawable_bond: _Optional[int] = ..., class_bond: _Optional[int] = ..., votes: _Optional[_Iterable[_Union[Vote, _Mapping]]] = ..., empty_seats: _Optional[int] = ..., revealed_ms: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., decided_ms: _Optional[int] = ..., decided_height: _Optional[int] = ...) -> None: ...

class Validator(_message.Message):
    __slots__ = ("operator", "power", "missed_heights")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    POWER_FIELD_NUMBER: _ClassVar[int]
    MISSED_HEIGHTS_FIELD_NUMBER: _ClassVar[int]
    operator: bytes
    power: int
    missed_heights: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, operator: _Optional[bytes] = ..., power: _Optional[int] = ..., missed_heights: _Optional[_Iterable[int]] = ...) -> None: ...

class Supply(_message.Message):
    __slots__ = ("genesis", "balances", "escrow", "deposits", "bonds", "unbonding", "burned")
    GENESIS_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    ESCROW_FIELD_NUMBER: _ClassVar[int]
    DEPOSITS_FIELD_NUMBER: _ClassVar[int]
    BONDS_FIELD_NUMBER: _ClassVar[int]
    UNBONDING_FIELD_NUMBER: _ClassVar[int]
    BURNED_FIELD_NUMBER: _ClassVar[int]
    genesis: int
    balances: int
    escrow: int
    deposits: int
    bonds: int
    unbonding: int
    burned: int
    def __init__(self, genesis: _Optional[int] = ..., balances: _Optional[int] = ..., escrow: _Optional[int] = ..., deposits: _Optional[int] = ..., bonds: _Optional[int] = ..., unbonding: _Optional[int] = ..., burned: _Optional[int] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("next_job_id", "next_unbonding")
    NEXT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_UNBONDING_FIELD_NUMBER: _ClassVar[int]
    next_job_id: int
    next_unbonding: int
    def __init__(self, next_job_id: _Optional[int] = ..., next_unbonding: _Optional[int] = ...) -> None: ...

class RegistrationLoad(_message.Message):
    __slots__ = ("recent", "period")
    RECENT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    recent: int
    period: int
    def __init__(self, recent: _Optional[int] = ..., period: _Optional[int] = ...) -> None: ...

class Outage(_message.Message):
    __slots__ = ("end_ms",)
    END_MS_FIELD_NUMBER: _ClassVar[int]
    end_ms: int
    def __init__(self, end_ms: _Optional[int] = ...) -> None: ...

class TableEntry(_message.Message):
    __slots__ = ("account", "bond", "highest_class")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    BOND_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_CLASS_FIELD_NUMBER: _ClassVar[int]
    account: bytes
    bond: int
    highest_class: int
    def __init__(self, account: _Optional[bytes] = ..., bond: _Optional[int] = ..., highest_class: _Optional[int] = ...) -> None: ...

class CheckerTable(_message.Message):
    __slots__ = ("epoch", "entries", "class_bonds")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CLASS_BONDS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    entries: _containers.RepeatedCompositeFieldContainer[TableEntry]
    class_bonds: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, epoch: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[TableEntry, _Mapping]]] = ..., class_bonds: _Optional[_Iterable[int]] = ...) -> None: ...

class CurrentEpoch(_message.Message):
    __slots__ = ("table_epoch",)
    TABLE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    table_epoch: int
    def __init__(self, table_epoch: _Optional[int] = ...) -> None: ...

class EvaluationClass(_message.Message):
    __slots__ = ("name", "cores", "memory_mib", "seconds", "image_mib", "model_mib", "predictions_mib", "min_verify_fee")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_MIB_FIELD_NUMBER: _ClassVar[int]
    MODEL_MIB_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_MIB_FIELD_NUMBER: _ClassVar[int]
    MIN_VERIFY_FEE_FIELD_NUMBER: _ClassVar[int]
    name: str
    cores: int
    memory_mib: int
    seconds: int
    image_mib: int
    model_mib: int
    predictions_mib: int
    min_verify_fee: int
    def __init__(self, name: _Optional[str] = ..., cores: _Optional[int] = ..., memory_mib: _Optional[int] = ..., seconds: _Optional[int] = ..., image_mib: _Optional[int] = ..., model_mib: _Optional[int] = ..., predictions_mib: _Optional[int] = ..., min_verify_fee: _Optional[int] = ...) -> None: ...

class Params(_message.Message):
    __slots__ = ("registration_bits", "max_registrations_per_block", "tx_burst", "tx_per_minute", "poor_burst", "poor_per_minute", "max_tx_lifetime", "min_bounty", "max_open_jobs", "min_job_ms", "max_job_ms", "max_runner_ups", "network_fee_bps", "min_tolerance", "open_candidacies", "min_reveal_window_ms", "max_reveal_window_ms", "vote_window_ms", "vote_image_ms_per_mib", "vote_model_ms_per_mib", "tally_window_ms", "outage_ms", "epoch_ms", "committee_seats", "quorum_bps", "min_bond", "max_checkers", "max_missed_votes", "silence_ms", "suspension_ms", "unjail_ms", "unbonding_ms", "unbonding_blocks", "min_validator_bond", "power_unit", "max_validators", "signed_window", "max_missed_blocks", "max_due_per_block", "max_released_per_block", "max_pruned_per_block", "job_retention_ms", "model_retention_ms", "classes")
    REGISTRATION_BITS_FIELD_NUMBER: _ClassVar[int]
    MAX_REGISTRATIONS_PER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    TX_BURST_FIELD_NUMBER: _ClassVar[int]
    TX_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    POOR_BURST_FIELD_NUMBER: _ClassVar[int]
    POOR_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    MAX_TX_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    MIN_BOUNTY_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_JOBS_FIELD_NUMBER: _ClassVar[int]
    MIN_JOB_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_JOB_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNER_UPS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FEE_BPS_FIELD_NUMBER: _ClassVar[int]
    MIN_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_CANDIDACIES_FIELD_NUMBER: _ClassVar[int]
    MIN_REVEAL_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_REVEAL_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    VOTE_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    VOTE_IMAGE_MS_PER_MIB_FIELD_NUMBER: _ClassVar[int]
    VOTE_MODEL_MS_PER_MIB_FIELD_NUMBER: _ClassVar[int]
    TALLY_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_MS_FIELD_NUMBER: _ClassVar[int]
    COMMITTEE_SEATS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_BPS_FIELD_NUMBER: _ClassVar[int]
    MIN_BOND_FIELD_NUMBER: _ClassVar[int]
    MAX_CHECKERS_FIELD_NUMBER: _ClassVar[int]
    MAX_MISSED_VOTES_FIELD_NUMBER: _ClassVar[int]
    SILENCE_MS_FIELD_NUMBER: _ClassVar[int]
    SUSPENSION_MS_FIELD_NUMBER: _ClassVar[int]
    UNJAIL_MS_FIELD_NUMBER: _ClassVar[int]
    UNBONDING_MS_FIELD_NUMBER: _ClassVar[int]
    UNBONDING_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    MIN_VALIDATOR_BOND_FIELD_NUMBER: _ClassVar[int]
    POWER_UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_VALIDATORS_FIELD_NUMBER: _ClassVar[int]
    SIGNED_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_MISSED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    MAX_DUE_PER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    MAX_RELEASED_PER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    MAX_PRUNED_PER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    JOB_RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    registration_bits: int
    max_registrations_per_block: int
    tx_burst: int
    tx_per_minute: int
    poor_burst: int
    poor_per_minute: int
    max_tx_lifetime: int
    min_bounty: int
    max_open_jobs: int
    min_job_ms: int
    max_job_ms: int
    max_runner_ups: int
    network_fee_bps: int
    min_tolerance: int
    open_candidacies: int
    min_reveal_window_ms: int
    max_reveal_window_ms: int
    vote_window_ms: int
    vote_image_ms_per_mib: int
    vote_model_ms_per_mib: int
    tally_window_ms: int
    outage_ms: int
    epoch_ms: int
    committee_seats: int
    quorum_bps: int
    min_bond: int
    max_checkers: int
    max_missed_votes: int
    silence_ms: int
    suspension_ms: int
    unjail_ms: int
    unbonding_ms: int
    unbonding_blocks: int
    min_validator_bond: int
    power_unit: int
    max_validators: int
    signed_window: int
    max_missed_blocks: int
    max_due_per_block: int
    max_released_per_block: int
    max_pruned_per_block: int
    job_retention_ms: int
    model_retention_ms: int
    classes: _containers.RepeatedCompositeFieldContainer[EvaluationClass]
    def __init__(self, registration_bits: _Optional[int] = ..., max_registrations_per_block: _Optional[int] = ..., tx_burst: _Optional[int] = ..., tx_per_minute: _Optional[int] = ..., poor_burst: _Optional[int] = ..., poor_per_minute: _Optional[int] = ..., max_tx_lifetime: _Optional[int] = ..., min_bounty: _Optional[int] = ..., max_open_jobs: _Optional[int] = ..., min_job_ms: _Optional[int] = ..., max_job_ms: _Optional[int] = ..., max_runner_ups: _Optional[int] = ..., network_fee_bps: _Optional[int] = ..., min_tolerance: _Optional[int] = ..., open_candidacies: _Optional[int] = ..., min_reveal_window_ms: _Optional[int] = ..., max_reveal_window_ms: _Optional[int] = ..., vote_window_ms: _Optional[int] = ..., vote_image_ms_per_mib: _Optional[int] = ..., vote_model_ms_per_mib: _Optional[int] = ..., tally_window_ms: _Optional[int] = ..., outage_ms: _Optional[int] = ..., epoch_ms: _Optional[int] = ..., committee_seats: _Optional[int] = ..., quorum_bps: _Optional[int] = ..., min_bond: _Optional[int] = ..., max_checkers: _Optional[int] = ..., max_missed_votes: _Optional[int] = ..., silence_ms: _Optional[int] = ..., suspension_ms: _Optional[int] = ..., unjail_ms: _Optional[int] = ..., unbonding_ms: _Optional[int] = ..., unbonding_blocks: _Optional[int] = ..., min_validator_bond: _Optional[int] = ..., power_unit: _Optional[int] = ..., max_validators: _Optional[int] = ..., signed_window: _Optional[int] = ..., max_missed_blocks: _Optional[int] = ..., max_due_per_block: _Optional[int] = ..., max_released_per_block: _Optional[int] = ..., max_pruned_per_block: _Optional[int] = ..., job_retention_ms: _Optional[int] = ..., model_retention_ms: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[EvaluationClass, _Mapping]]] = ...) -> None: ...

class GenesisAccount(_message.Message):
    __slots__ = ("public_key", "balance", "bond", "checker")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    BOND_FIELD_NUMBER: _ClassVar[int]
    CHECKER_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    balance: int
    bond: int
    checker: int
    def __init__(self, public_key: _Optional[bytes] = ..., balance: _Optional[int] = ..., bond: _Optional[int] = ..., checker: _Optional[int] = ...) -> None: ...

class GenesisValidator(_message.Message):
    __slots__ = ("consensus_key", "operator", "power")
    CONSENSUS_KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    POWER_FIELD_NUMBER: _ClassVar[int]
    consensus_key: bytes
    operator: bytes
    power: int
    def __init__(self, consensus_key: _Optional[bytes] = ..., operator: _Optional[bytes] = ..., power: _Optional[int] = ...) -> None: ...

class Genesis(_message.Message):
    __slots__ = ("params", "accounts", "validators")
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATORS_FIELD_NUMBER: _ClassVar[int]
    params: Params
    accounts: _containers.RepeatedCompositeFieldContainer[GenesisAccount]
    validators: _containers.RepeatedCompositeFieldContainer[GenesisValidator]
    def __init__(self, params: _Optional[_Union[Params, _Mapping]] = ..., accounts: _Optional[_Iterable[_Union[GenesisAccount, _Mapping]]] = ..., validators: _Optional[_Iterable[_Union[GenesisValidator, _Mapping]]] = ...) -> None: ...
