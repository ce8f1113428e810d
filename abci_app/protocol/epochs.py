"""Checker tables: who may be drawn for a committee, fixed at the first block of each epoch.

A table is stored only when it differs from the one before, under the epoch in which it was fixed, and never changes.
It stays while it is the current one or an unsettled job refers to it, which the index knows.
"""

from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.limits import ADDRESS_BYTES
from abci_app.protocol.state import BlockState, StateDelta, StateRead

_NO_CHECKERS: Final = pb.CheckerTable()


def get_current_epoch(state: StateRead) -> int:
    """Return the epoch under which the current table is stored. Raises LookupError before the first block."""
    current = state.get(keys.CURRENT_EPOCH, pb.CurrentEpoch)
    if current is None:
        raise LookupError("there is no checker table before the first block")
    return current.table_epoch


def get_current_table(state: StateRead) -> pb.CheckerTable:
    """Return the current checker table, not to be changed; an empty one before the first block (CheckTx asks then)."""
    current = state.get(keys.CURRENT_EPOCH, pb.CurrentEpoch)
    return _NO_CHECKERS if current is None else get_table(state, current.table_epoch)


def get_table(state: StateRead, epoch: int) -> pb.CheckerTable:
    """Return the checker table stored under `epoch`, not to be changed. Raises LookupError if it is not kept."""
    table = state.get(keys.checker_table(epoch), pb.CheckerTable)
    if table is None:
        raise LookupError("a checker table that the state refers to does not exist")
    return table


def process_epoch(state: BlockState, context: BlockContext, previous_ms: int) -> None:
    """Fix the checker table at the first block of an epoch; `previous_ms` is the block time before."""
    epoch_ms = context.params.epoch_ms
    epoch = context.time_ms // epoch_ms
    current = state.get(keys.CURRENT_EPOCH, pb.CurrentEpoch)
    if current is not None and previous_ms // epoch_ms == epoch:
        return
    table = compute_table(state, context.params, epoch)
    if current is not None and _is_same(table, get_table(state, current.table_epoch)):
        return
    delta = StateDelta(state)
    if current is not None and not _is_in_use(state, current.table_epoch):
        delta.delete(keys.checker_table(current.table_epoch))
    delta.edit(keys.checker_table(epoch), pb.CheckerTable).CopyFrom(table)
    delta.edit(keys.CURRENT_EPOCH, pb.CurrentEpoch).table_epoch = epoch
    delta.apply()


def drop_left_tables(state: BlockState) -> None:
    """Remove the tables whose last job was settled in this block; the current one stays."""
    changed = state.get_changed_index_keys(keys.TABLE_USE)
    delta = StateDelta(state)
    for epoch in dict.fromkeys(keys.split_table_use(key) for key in changed):
        if epoch != get_current_epoch(state) and not _is_in_use(state, epoch):
            delta.delete(keys.checker_table(epoch))
    delta.apply()


def _is_in_use(state: StateRead, epoch: int) -> bool:
    """Tell whether an unsettled job refers to the table stored under `epoch`."""
    return any(True for _ in state.scan(keys.index_table_use(epoch, 0), keys.index_table_use(epoch + 1, 0)))


def compute_table(state: StateRead, params: pb.Params, epoch: int) -> pb.CheckerTable:
    """Return the table of the largest bonds among possible checkers, in address order, with totals per class."""
    start = keys.index_bond(2**64 - 1, bytes(ADDRESS_BYTES))
    end = keys.index_bond(params.min_bond - 1, bytes(ADDRESS_BYTES))
    entries: list[pb.TableEntry] = []
    for key, value in state.scan(start, end):
        if len(entries) == params.max_checkers:
            break
        bond, account = keys.split_bond(key)
        entries.append(pb.TableEntry(account=account, bond=bond, highest_class=value[0] - 1))
    entries.sort(key=lambda entry: entry.account)
    totals = [0] * len(params.classes)
    for entry in entries:
        for number in range(entry.highest_class + 1):
            totals[number] += entry.bond
    return pb.CheckerTable(epoch=epoch, entries=entries, class_bonds=totals)


def _is_same(new: pb.CheckerTable, old: pb.CheckerTable) -> bool:
    return list(new.entries) == list(old.entries)
