"""Fixed limits of the protocol, the same on every chain. Those that differ between chains are in `Params`."""

from typing import Final

UCREDIT: Final = 1_000_000
"""ucredit in one credit."""

MAX_INT64: Final = 2**63 - 1
RESERVED_LOSS: Final = MAX_INT64
"""The measured loss of a run that ended by itself without a valid score; never announced."""
MAX_LOSS: Final = 2**62
"""Bound on the absolute value of announced losses and ceilings, in 1e-9."""
MAX_MARGIN: Final = 2**61
"""Bound on tolerance, ban margin and minimum improvement, in 1e-9: the reserved loss is always a lie."""

MAX_TX_BYTES: Final = 16 * 1024
MAX_SOLUTION_BYTES: Final = 32
MAX_NAME_BYTES: Final = 64
MAX_ENDPOINT_BYTES: Final = 256
MAX_MEMO_BYTES: Final = 128
MAX_IMAGE_BYTES: Final = 512
MAX_TITLE_BYTES: Final = 128
MAX_ABOUT_BYTES: Final = 512
MAX_METRIC_BYTES: Final = 32
MAX_ACCELERATOR_BYTES: Final = 32
MAX_LOCATIONS: Final = 4
MAX_LOCATION_BYTES: Final = 256

ADDRESS_BYTES: Final = 20
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DIGEST_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 8

MAX_ACTIVE_KEYS: Final = 16
MAX_KEYS: Final = 64
"""Keys an account may have had in its whole life."""
MAX_UNBONDINGS: Final = 8
MAX_CANDIDACIES: Final = 64
MAX_VERIFY_FEE: Final = 2**53
MAX_MILLI_CPUS: Final = 2**20
MAX_MIB: Final = 2**24
MAX_GPUS: Final = 2**10
MAX_GPU_MIB: Final = 2**20
MAX_TRAIN_SECONDS: Final = 2**25
MAX_TIME_MS: Final = 2**53
"""Bound on times given in transactions, in ms of block time."""

MIN_BAN_MARGIN_TOLERANCES: Final = 10
MAX_STRIKE_SHIFT: Final = 7
MIN_BOND_MOVE: Final = UCREDIT
POOR_BELOW: Final = UCREDIT
"""Balance plus bond below which an account has the poor quota, in ucredit."""

BUCKET_UNIT: Final = 60_000
"""Bucket units of one transaction: a rate per minute adds that many units per ms."""
REGISTRATION_PERIOD_MS: Final = 600_000
REGISTRATION_STEP: Final = 256
"""Recent registrations per additional doubling: bits grow by the bit length of recent // 256."""
MIB: Final = 1024 * 1024
