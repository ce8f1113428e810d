from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_SCOPE_UNSPECIFIED: _ClassVar[KeyScope]
    KEY_SCOPE_OWNER: _ClassVar[KeyScope]
    KEY_SCOPE_WORK: _ClassVar[KeyScope]
    KEY_SCOPE_REMOVED: _ClassVar[KeyScope]

class Finding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINDING_UNSPECIFIED: _ClassVar[Finding]
    FINDING_MEASURED: _ClassVar[Finding]
    FINDING_OVERRUN: _ClassVar[Finding]
    FINDING_UNAVAILABLE: _ClassVar[Finding]
    FINDING_UNRUNNABLE: _ClassVar[Finding]
KEY_SCOPE_UNSPECIFIED: KeyScope
KEY_SCOPE_OWNER: KeyScope
KEY_SCOPE_WORK: KeyScope
KEY_SCOPE_REMOVED: KeyScope
FINDING_UNSPECIFIED: Finding
FINDING_MEASURED: Finding
FINDING_OVERRUN: Finding
FINDING_UNAVAILABLE: Finding
FINDING_UNRUNNABLE: Finding

class SignedTx(_message.Message):
    __slots__ = ("body_bytes", "public_key", "signature")
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    body_bytes: bytes
    public_key: bytes
    signature: bytes
    def __init__(self, body_bytes: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class TxBody(_message.Message):
    __slots__ = ("chain_tag", "account", "nonce", "expires_at_height", "register", "set_key", "set_profile", "transfer", "submit_job", "raise_bounty", "cancel_job", "announce", "reveal", "commit_vote", "reveal_vote", "bond", "unbond", "set_checker", "declare_validator", "retire_validator", "unjail")
    CHAIN_TAG_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    SET_KEY_FIELD_NUMBER: _ClassVar[int]
    SET_PROFILE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_JOB_FIELD_NUMBER: _ClassVar[int]
    RAISE_BOUNTY_FIELD_NUMBER: _ClassVar[int]
    CANCEL_JOB_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCE_FIELD_NUMBER: _ClassVar[int]
    REVEAL_FIELD_NUMBER: _ClassVar[int]
    COMMIT_VOTE_FIELD_NUMBER: _ClassVar[int]
    REVEAL_VOTE_FIELD_NUMBER: _ClassVar[int]
    BOND_FIELD_NUMBER: _ClassVar[int]
    UNBOND_FIELD_NUMBER: _ClassVar[int]
    SET_CHECKER_FIELD_NUMBER: _ClassVar[int]
    DECLARE_VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    RETIRE_VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    UNJAIL_FIELD_NUMBER: _ClassVar[int]
    chain_tag: bytes
    account: bytes
    nonce: int
    expires_at_height: int
    register: Register
    set_key: SetKey
    set_profile: SetProfile
    transfer: Transfer
    submit_job: SubmitJob
    raise_bounty: RaiseBounty
    cancel_job: CancelJob
    announce: Announce
    reveal: Reveal
    commit_vote: CommitVote
    reveal_vote: RevealVote
    bond: Bond
    unbond: Unbond
    set_checker: SetChecker
    declare_validator: DeclareValidator
    retire_validator: RetireValidator
    unjail: Unjail
    def __init__(self, chain_tag: _Optional[bytes] = ..., account: _Optional[bytes] = ..., nonce: _Optional[int] = ..., expires_at_height: _Optional[int] = ..., register: _Optional[_Union[Register, _Mapping]] = ..., set_key: _Optional[_Union[SetKey, _Mapping]] = ..., set_profile: _Optional[_Union[SetProfile, _Mapping]] = ..., transfer: _Optional[_Union[Transfer, _Mapping]] = ..., submit_job: _Optional[_Union[SubmitJob, _Mapping]] = ..., raise_bounty: _Optional[_Union[RaiseBounty, _Mapping]] = ..., cancel_job: _Optional[_Union[CancelJob, _Mapping]] = ..., announce: _Optional[_Union[Announce, _Mapping]] = ..., reveal: _Optional[_Union[Reveal, _Mapping]] = ..., commit_vote: _Optional[_Union[CommitVote, _Mapping]] = ..., reveal_vote: _Optional[_Union[RevealVote, _Mapping]] = ..., bond: _Optional[_Union[Bond, _Mapping]] = ..., unbond: _Optional[_Union[Unbond, _Mapping]] = ..., set_checker: _Optional[_Union[SetChecker, _Mapping]] = ..., declare_validator: _Optional[_Union[DeclareValidator, _Mapping]] = ..., retire_validator: _Optional[_Union[RetireValidator, _Mapping]] = ..., unjail: _Optional[_Union[Unjail, _Mapping]] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("solution",)
    SOLUTION_FIELD_NUMBER: _ClassVar[int]
    solution: bytes
    def __init__(self, solution: _Optional[bytes] = ...) -> None: ...

class SetKey(_message.Message):
    __slots__ = ("public_key", "proof", "scope", "expires_at_ms")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    proof: bytes
    scope: KeyScope
    expires_at_ms: int
    def __init__(self, public_key: _Optional[bytes] = ..., proof: _Optional[bytes] = ..., scope: _Optional[_Union[KeyScope, str]] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class SetProfile(_message.Message):
    __slots__ = ("name", "endpoint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    endpoint: str
    def __init__(self, name: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("to", "amount", "memo")
    TO_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    MEMO_FIELD_NUMBER: _ClassVar[int]
    to: bytes
    amount: int
    memo: str
    def __init__(self, to: _Optional[bytes] = ..., amount: _Optional[int] = ..., memo: _Optional[str] = ...) -> None: ...

class TrainingNeeds(_message.Message):
    __slots__ = ("milli_cpus", "memory_mib", "disk_mib", "gpus", "gpu_memory_mib", "accelerator", "seconds")
    MILLI_CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    DISK_MIB_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    milli_cpus: int
    memory_mib: int
    disk_mib: int
    gpus: int
    gpu_memory_mib: int
    accelerator: str
    seconds: int
    def __init__(self, milli_cpus: _Optional[int] = ..., memory_mib: _Optional[int] = ..., disk_mib: _Optional[int] = ..., gpus: _Optional[int] = ..., gpu_memory_mib: _Optional[int] = ..., accelerator: _Optional[str] = ..., seconds: _Optional[int] = ...) -> None: ...

class SubmitJob(_message.Message):
    __slots__ = ("image", "eval_image", "title", "about", "metric", "bounty", "job_class", "verify_fee", "deposit", "runner_ups", "free_places", "expiry_ms", "reveal_window_ms", "tolerance", "ban_margin", "min_improvement", "loss_ceiling", "needs")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    EVAL_IMAGE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BOUNTY_FIELD_NUMBER: _ClassVar[int]
    JOB_CLASS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FEE_FIELD_NUMBER: _ClassVar[int]
    DEPOSIT_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UPS_FIELD_NUMBER: _ClassVar[int]
    FREE_PLACES_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_MS_FIELD_NUMBER: _ClassVar[int]
    REVEAL_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    BAN_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MIN_IMPROVEMENT_FIELD_NUMBER: _ClassVar[int]
    LOSS_CEILING_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    image: str
    eval_image: str
    title: str
    about: str
    metric: str
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
    needs: TrainingNeeds
    def __init__(self, image: _Optional[str] = ..., eval_image: _Optional[str] = ..., title: _Optional[str] = ..., about: _Optional[str] = ..., metric: _Optional[str] = ..., bounty: _Optional[int] = ..., job_class: _Optional[int] = ..., verify_fee: _Optional[int] = ..., deposit: _Optional[int] = ..., runner_ups: _Optional[int] = ..., free_places: _Optional[int] = ..., expiry_ms: _Optional[int] = ..., reveal_window_ms: _Optional[int] = ..., tolerance: _Optional[int] = ..., ban_margin: _Optional[int] = ..., min_improvement: _Optional[int] = ..., loss_ceiling: _Optional[int] = ..., needs: _Optional[_Union[TrainingNeeds, _Mapping]] = ...) -> None: ...

class RaiseBounty(_message.Message):
    __slots__ = ("job_id", "amount")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    amount: int
    def __init__(self, job_id: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class CancelJob(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    def __init__(self, job_id: _Optional[int] = ...) -> None: ...

class Announce(_message.Message):
    __slots__ = ("job_id", "loss", "commitment", "secured")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SECURED_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    loss: int
    commitment: bytes
    secured: bool
    def __init__(self, job_id: _Optional[int] = ..., loss: _Optional[int] = ..., commitment: _Optional[bytes] = ..., secured: _Optional[bool] = ...) -> None: ...

class Reveal(_message.Message):
    __slots__ = ("job_id", "model_digest", "size", "salt", "locations")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    model_digest: bytes
    size: int
    salt: bytes
    locations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_id: _Optional[int] = ..., model_digest: _Optional[bytes] = ..., size: _Optional[int] = ..., salt: _Optional[bytes] = ..., locations: _Optional[_Iterable[str]] = ...) -> None: ...

class CommitVote(_message.Message):
    __slots__ = ("job_id", "round", "commitment")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    round: int
    commitment: bytes
    def __init__(self, job_id: _Optional[int] = ..., round: _Optional[int] = ..., commitment: _Optional[bytes] = ...) -> None: ...

class RevealVote(_message.Message):
    __slots__ = ("job_id", "round", "finding", "loss", "receipt", "salt")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    round: int
    finding: Finding
    loss: int
    receipt: bytes
    salt: bytes
    def __init__(self, job_id: _Optional[int] = ..., round: _Optional[int] = ..., finding: _Optional[_Union[Finding, str]] = ..., loss: _Optional[int] = ..., receipt: _Optional[bytes] = ..., salt: _Optional[bytes] = ...) -> None: ...

class Bond(_message.Message):
    __slots__ = ("amount",)
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    amount: int
    def __init__(self, amount: _Optional[int] = ...) -> None: ...

class Unbond(_message.Message):
    __slots__ = ("amount",)
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    amount: int
    def __init__(self, amount: _Optional[int] = ...) -> None: ...

class SetChecker(_message.Message):
    __slots__ = ("enabled", "highest_class")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_CLASS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    highest_class: int
    def __init__(self, enabled: _Optional[bool] = ..., highest_class: _Optional[int] = ...) -> None: ...

class DeclareValidator(_message.Message):
    __slots__ = ("consensus_key", "proof")
    CONSENSUS_KEY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    consensus_key: bytes
    proof: bytes
    def __init__(self, consensus_key: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class RetireValidator(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Unjail(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
