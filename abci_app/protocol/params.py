"""Parameters of a chain: their units, their hard bounds, and the values of the four sets.

A set is a starting point for a genesis: `devnet` for one machine, `public` for a network of strangers, `minimal` for
tests (small caps, so that every cap can be reached) and `bench` for load (quota out of the way).
"""

from typing import Final, NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MAX_INT64, MAX_MIB, MAX_TRAIN_SECONDS, MAX_VERIFY_FEE, UCREDIT

SETS: Final = ("devnet", "public", "minimal", "bench")
"""The names of the parameter sets, in the order of the columns below."""

MAX_CLASSES: Final = 16
MAX_CLASS_NAME_BYTES: Final = 32

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_YEAR: Final = 366 * _DAY


class BadParams(ValueError):
    """A parameter lies outside its hard bound or contradicts another one."""


class Rule(NamedTuple):
    """One parameter: its unit, its hard bounds (both allowed) and its value in each set."""

    name: str
    unit: str
    low: int
    high: int
    devnet: int
    public: int
    minimal: int
    bench: int


RULES: Final = (
    Rule("registration_bits", "bits", 0, 64, 12, 24, 4, 4),
    Rule("max_registrations_per_block", "transactions", 1, 10_000, 100, 100, 3, 100),
    Rule("tx_burst", "transactions", 1, 10_000_000, 200, 50, 50, 1_000_000),
    Rule("tx_per_minute", "transactions per minute", 1, 100_000_000, 600, 60, 60, 1_000_000),
    Rule("poor_burst", "transactions", 1, 10_000_000, 50, 5, 5, 50),
    Rule("poor_per_minute", "transactions per minute", 1, 100_000_000, 60, 1, 1, 60),
    Rule("max_tx_lifetime", "blocks", 1, 1_000_000, 1_000, 10_000, 100, 1_000),
    Rule("min_bounty", "ucredit", 1, MAX_VERIFY_FEE, UCREDIT, UCREDIT, UCREDIT, UCREDIT),
    Rule("max_open_jobs", "jobs", 1, 1_000_000, 1_000, 100, 10, 1_000_000),
    Rule("min_job_ms", "ms", _SECOND, _YEAR, 5 * _SECOND, 10 * _MINUTE, 5 * _SECOND, 5 * _SECOND),
    Rule("max_job_ms", "ms", _SECOND, _YEAR, _DAY, 90 * _DAY, _DAY, _DAY),
    Rule("max_runner_ups", "places", 0, 16, 4, 4, 4, 4),
    Rule("network_fee_bps", "1/10 000 of the bounty", 0, 10_000, 0, 200, 200, 0),
    Rule("min_tolerance", "1e-9", 1, 2**57, 1_000, 1_000, 1_000, 1_000),
    Rule("open_candidacies", "jobs", 0, 64, 2, 2, 2, 2),
    Rule("min_reveal_window_ms", "ms", _SECOND, _YEAR, 10 * _SECOND, 30 * _MINUTE, 10 * _SECOND, 10 * _SECOND),
    Rule("max_reveal_window_ms", "ms", _SECOND, _YEAR, _MINUTE, _DAY, _MINUTE, _MINUTE),
    Rule("vote_window_ms", "ms", _SECOND, _YEAR, 10 * _SECOND, 10 * _MINUTE, 10 * _SECOND, 10 * _SECOND),
    Rule("vote_image_ms_per_mib", "ms per MiB", 0, _MINUTE, 20, 250, 20, 20),
    Rule("vote_model_ms_per_mib", "ms per MiB", 0, _MINUTE, 100, _SECOND, 100, 100),
    Rule("tally_window_ms", "ms", _SECOND, _YEAR, 5 * _SECOND, 10 * _MINUTE, 5 * _SECOND, 5 * _SECOND),
    Rule("outage_ms", "ms", _SECOND, _YEAR, 5 * _SECOND, 2 * _MINUTE, 5 * _SECOND, 5 * _SECOND),
    Rule("epoch_ms", "ms", _SECOND, _YEAR, 10 * _SECOND, 2 * _HOUR, 10 * _SECOND, 10 * _SECOND),
    Rule("committee_seats", "seats", 1, 1_000, 15, 31, 15, 15),
    Rule("quorum_bps", "1/10 000 of the seats", 1, 10_000, 3_334, 3_334, 3_334, 3_334),
    Rule("min_bond", "ucredit", 1, MAX_VERIFY_FEE, UCREDIT, UCREDIT, UCREDIT, UCREDIT),
    Rule("max_checkers", "accounts", 1, 10_000, 1_000, 1_000, 16, 1_000),
    Rule("max_missed_votes", "rounds", 1, 1_000_000, 20, 20, 3, 20),
    Rule("silence_ms", "ms", 0, _YEAR, _MINUTE, 12 * _HOUR, _MINUTE, _MINUTE),
    Rule("suspension_ms", "ms", _SECOND, _YEAR, _MINUTE, _HOUR, _MINUTE, _MINUTE),
    Rule("unjail_ms", "ms", _SECOND, _YEAR, 10 * _SECOND, _HOUR, 10 * _SECOND, 10 * _SECOND),
    Rule("unbonding_ms", "ms", _SECOND, _YEAR, _MINUTE, 21 * _DAY, _MINUTE, _MINUTE),
    Rule("unbonding_blocks", "blocks", 2, 100_000_000, 102, 1_000_002, 12, 102),
    Rule("min_validator_bond", "ucredit", 1, MAX_INT64, 100 * UCREDIT, 1_000 * UCREDIT, 100 * UCREDIT, 100 * UCREDIT),
    Rule("power_unit", "ucredit", 1, MAX_INT64, UCREDIT, UCREDIT, UCREDIT, UCREDIT),
    Rule("max_validators", "accounts", 1, 1_000, 100, 100, 4, 100),
    Rule("signed_window", "blocks", 2, 100_000, 100, 10_000, 10, 100),
    Rule("max_missed_blocks", "blocks", 1, 99_999, 50, 5_000, 5, 50),
    Rule("max_due_per_block", "jobs", 1, 10_000, 500, 500, 5, 500),
    Rule("max_released_per_block", "unbonding entries", 1, 10_000, 500, 500, 3, 500),
    Rule("max_pruned_per_block", "jobs", 1, 10_000, 500, 500, 3, 500),
    Rule("job_retention_ms", "ms", _SECOND, _YEAR, _DAY, 30 * _DAY, _MINUTE, _DAY),
    Rule("model_retention_ms", "ms", _SECOND, _YEAR, _DAY, 30 * _DAY, _MINUTE, _DAY),
)

CLASS_BOUNDS: Final = (
    ("cores", "cores", 1, 1_024),
    ("memory_mib", "MiB", 1, MAX_MIB),
    ("seconds", "s", 1, MAX_TRAIN_SECONDS),
    ("image_mib", "MiB", 1, MAX_MIB),
    ("model_mib", "MiB", 1, MAX_MIB),
    ("predictions_mib", "MiB", 1, MAX_MIB),
    ("min_verify_fee", "ucredit", 0, MAX_VERIFY_FEE),
)
"""Name, unit and hard bounds of what an evaluation class fixes."""

_SMALL: Final = ("small", 2, 4_096, 120, 2_048, 64, 16, UCREDIT // 10)
_MEDIUM: Final = ("medium", 4, 16_384, 900, 8_192, 2_048, 256, UCREDIT)
_LARGE: Final = ("large", 8, 65_536, 3_600, 32_768, 16_384, 1_024, 10 * UCREDIT)
_LAPTOP: Final = ("laptop", 1, 1_024, 30, 2_048, 16, 16, UCREDIT // 10)
_TINY: Final = ("tiny", 1, 256, 10, 64, 4, 4, UCREDIT // 10)
_CLASSES: Final = {
    "devnet": (_LAPTOP,),
    "public": (_SMALL, _MEDIUM, _LARGE),
    "minimal": (_TINY, _LAPTOP),
    "bench": (_LAPTOP,),
}

_ORDERED: Final = (
    ("min_job_ms", "max_job_ms"),
    ("min_reveal_window_ms", "max_reveal_window_ms"),
    ("poor_burst", "tx_burst"),
    ("poor_per_minute", "tx_per_minute"),
    ("power_unit", "min_validator_bond"),
)
"""Pairs of which the first must not exceed the second."""


def get_params(name: str) -> pb.Params:
    """Return the parameters of a set, a fresh message. Raises KeyError for an unknown set."""
    classes = [_build_class(row) for row in _CLASSES[name]]
    return pb.Params(classes=classes, **{rule.name: getattr(rule, name) for rule in RULES})


def check_params(params: pb.Params) -> None:
    """Raise BadParams, naming parameter and bound, unless all parameters are usable."""
    for rule in RULES:
        _check_bound(rule.name, rule.unit, getattr(params, rule.name), rule.low, rule.high)
    for lower, upper in _ORDERED:
        if getattr(params, lower) > getattr(params, upper):
            raise BadParams(f"{lower} must not exceed {upper}")
    if params.max_missed_blocks >= params.signed_window:
        raise BadParams("max_missed_blocks must be less than signed_window")
    _check_classes(params)


def _check_classes(params: pb.Params) -> None:
    if not 1 <= len(params.classes) <= MAX_CLASSES:
        raise BadParams(f"there must be 1 to {MAX_CLASSES} evaluation classes")
    for number, row in enumerate(params.classes):
        data = row.name.encode("utf-8")
        if not 1 <= len(data) <= MAX_CLASS_NAME_BYTES or not row.name.isascii() or not row.name.isprintable():
            raise BadParams(f"class {number}: its name has 1 to {MAX_CLASS_NAME_BYTES} printable ASCII characters")
        for name, unit, low, high in CLASS_BOUNDS:
            _check_bound(f"class {number}: {name}", unit, getattr(row, name), low, high)


def _check_bound(name: str, unit: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadParams(f"{name} is {value} {unit}; it must lie from {low} to {high}")


def _build_class(row: tuple[str, int, int, int, int, int, int, int]) -> pb.EvaluationClass:
    name, *numbers = row
    return pb.EvaluationClass(name=name, **dict(zip((bound[0] for bound in CLASS_BOUNDS), numbers, strict=True)))
