"""The token bucket that stands where other chains have fees, in units of 1/60 000 transaction, refilled by block time."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.accounts import is_poor
from abci_app.protocol.limits import BUCKET_UNIT


def compute_bucket(account: pb.Account, params: pb.Params, now_ms: int) -> int:
    """Return the units the account has now: refilled at the present rate, cut to the present burst."""
    if is_poor(account):
        burst, rate = params.poor_burst, params.poor_per_minute
    else:
        burst, rate = params.tx_burst, params.tx_per_minute
    elapsed = max(0, now_ms - account.bucket_ms)
    return min(account.bucket_units + elapsed * rate, burst * BUCKET_UNIT)


def get_full_bucket(params: pb.Params) -> int:
    """Return the units a new account starts with; what its capacity does not allow is cut at the first use."""
    return max(params.tx_burst, params.poor_burst) * BUCKET_UNIT


def fill_bucket(account: pb.Account, params: pb.Params, now_ms: int, spent: int) -> None:
    """Bring the bucket up to now and take `spent` units out of it."""
    account.bucket_units = compute_bucket(account, params, now_ms) - spent
    account.bucket_ms = now_ms
