"""The token bucket that stands where other chains have fees. Unit: 1/60 000 transaction, refilled by block time."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.accounts import is_poor
from abci_app.protocol.limits import BUCKET_UNIT


def compute_bucket(account: pb.Account, params: pb.Params, now_ms: int) -> int:
    """Return the units the account has now: refilled at the present rate, cut to the present burst."""
    rate, full = get_rate_and_full(account, params)
    elapsed = max(0, now_ms - account.bucket_ms)
    return min(account.bucket_units + elapsed * rate, full)


def receive_credits(account: pb.Account, params: pb.Params, now_ms: int, amount: int) -> None:
    """Add ucredit to a balance; if that lifts the account to 1 credit, its bucket is filled at the poor rate up to now.

    Else one credit, handed on from account to account, would fill them all as if each had held it all the time.
    """
    units = compute_bucket(account, params, now_ms) if is_poor(account) else None
    account.balance += amount
    if units is not None and not is_poor(account):
        account.bucket_units, account.bucket_ms = units, now_ms


def get_full_bucket(account: pb.Account, params: pb.Params) -> int:
    """Return the units of a full bucket at what the account holds now; a new account starts with them."""
    return get_rate_and_full(account, params)[1]


def get_rate_and_full(account: pb.Account, params: pb.Params) -> tuple[int, int]:
    """Return what holds for the account now: transactions per minute (units per ms), and the units of a full bucket."""
    if is_poor(account):
        return params.poor_per_minute, params.poor_burst * BUCKET_UNIT
    return params.tx_per_minute, params.tx_burst * BUCKET_UNIT
