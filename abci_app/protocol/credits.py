"""The only place where credits move. Every function keeps: balances + escrow + deposits + bonds + unbonding + burned.

Amounts are in ucredit. What is owed to a banned account is burned, whenever and for whatever reason.
"""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors, keys
from abci_app.protocol.accounts import edit_account, require_account
from abci_app.protocol.context import BlockContext
from abci_app.protocol.limits import MAX_INT64
from abci_app.protocol.quota import receive_credits
from abci_app.protocol.state import StateRead, StateWrite


def check_amount(amount: int) -> None:
    """Raise BadAmount unless 1 <= amount < 2^63."""
    if not 1 <= amount <= MAX_INT64:
        raise errors.BadAmount


def check_balance(state: StateRead, address: bytes, amount: int) -> None:
    """Raise InsufficientBalance unless the account holds `amount`."""
    if require_account(state, address).balance < amount:
        raise errors.InsufficientBalance


def get_supply(state: StateRead) -> pb.Supply:
    """Return the running totals, not to be changed."""
    supply = state.get(keys.SUPPLY, pb.Supply)
    if supply is None:
        raise LookupError("the state has no supply record")
    return supply


def _edit_supply(state: StateWrite) -> pb.Supply:
    return state.edit(keys.SUPPLY, pb.Supply)


def transfer(state: StateWrite, context: BlockContext, sender: bytes, recipient: bytes, amount: int) -> None:
    """Move credits between two balances."""
    edit_account(state, sender).balance -= amount
    _receive(state, context, recipient, amount)


def escrow(state: StateWrite, address: bytes, job: pb.Job, amount: int) -> None:
    """Move credits of a contractor into the escrow of its job; `job` is the caller's editable record."""
    edit_account(state, address).balance -= amount
    job.escrow += amount
    supply = _edit_supply(state)
    supply.balances -= amount
    supply.escrow += amount


def pay_from_escrow(state: StateWrite, context: BlockContext, job: pb.Job, address: bytes | None, amount: int) -> int:
    """Pay out of a job's escrow; None or a banned account: burned. Return what the account received."""
    job.escrow -= amount
    _edit_supply(state).escrow -= amount
    return _credit(state, context, address, amount)


def lock_deposit(state: StateWrite, address: bytes, candidate: pb.Candidate, amount: int) -> None:
    """Lock a candidate's deposit."""
    edit_account(state, address).balance -= amount
    candidate.deposit += amount
    supply = _edit_supply(state)
    supply.balances -= amount
    supply.deposits += amount


def pay_from_deposit(
    state: StateWrite, context: BlockContext, candidate: pb.Candidate, address: bytes, amount: int
) -> int:
    """Pay out of a locked deposit; a banned account: burned. Return what the account received."""
    candidate.deposit -= amount
    _edit_supply(state).deposits -= amount
    return _credit(state, context, address, amount)


def burn_deposit(state: StateWrite, candidate: pb.Candidate) -> int:
    """Burn what a candidate has locked and return how much it was."""
    burned = candidate.deposit
    candidate.deposit = 0
    supply = _edit_supply(state)
    supply.deposits -= burned
    supply.burned += burned
    return burned


def bond(state: StateWrite, address: bytes, amount: int) -> None:
    """Move credits from the balance to the bond."""
    account = edit_account(state, address)
    account.balance -= amount
    account.bond += amount
    supply = _edit_supply(state)
    supply.balances -= amount
    supply.bonds += amount


def start_unbonding(state: StateWrite, address: bytes, entry: pb.Unbonding) -> None:
    """Move `entry.amount` from the bond into a new unbonding entry."""
    account = edit_account(state, address)
    account.bond -= entry.amount
    account.unbonding.append(entry)
    supply = _edit_supply(state)
    supply.bonds -= entry.amount
    supply.unbonding += entry.amount


def release_unbonding(state: StateWrite, context: BlockContext, address: bytes, number: int) -> int:
    """Move the unbonding entry with this number back to the balance and return its amount."""
    account = edit_account(state, address)
    position = [entry.number for entry in account.unbonding].index(number)
    amount = account.unbonding[position].amount
    del account.unbonding[position]
    _receive(state, context, address, amount)
    supply = _edit_supply(state)
    supply.unbonding -= amount
    supply.balances += amount
    return amount


def burn_account(state: StateWrite, address: bytes) -> int:
    """Burn balance, bond and unbonding of an account and return the sum."""
    account = edit_account(state, address)
    unbonding = sum(entry.amount for entry in account.unbonding)
    burned = account.balance + account.bond + unbonding
    supply = _edit_supply(state)
    supply.balances -= account.balance
    supply.bonds -= account.bond
    supply.unbonding -= unbonding
    supply.burned += burned
    account.balance = account.bond = 0
    del account.unbonding[:]
    return burned


def _credit(state: StateWrite, context: BlockContext, address: bytes | None, amount: int) -> int:
    supply = _edit_supply(state)
    if address is None or require_account(state, address).banned:
        supply.burned += amount
        return 0
    _receive(state, context, address, amount)
    supply.balances += amount
    return amount


def _receive(state: StateWrite, context: BlockContext, address: bytes, amount: int) -> None:
    receive_credits(edit_account(state, address), context.params, context.time_ms, amount)
