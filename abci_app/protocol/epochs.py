"""Checker tables: who may be drawn for a committee, fixed at the first block of each epoch.

A table is stored only when it differs from the one before, under the epoch in which it was fixed. It stays while it is
the current one or an unsettled job refers to it.
"""

from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.limits import ADDRESS_BYTES
from abci_app.protocol.state import BlockState, StateDelta, StateRead, StateWrite

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


def retain_table(state: StateWrite, epoch: int) -> None:
    """Keep the table for one more unsettled job."""
    get_table(state, epoch)
    state.edit(keys.checker_table(epoch), pb.CheckerTable).jobs += 1


def release_table(state: StateWrite, epoch: int) -> None:
    """Take back one `retain_table`; a table that nothing needs any more is removed."""
    if get_table(state, epoch).jobs == 1 and epoch != get_current_epoch(state):
        state.delete(keys.checker_table(epoch))
    else:
        state.edit(keys.checker_table(epoch), pb.CheckerTable).jobs -= 1


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
    if current is not None and get_table(state, current.table_epoch).jobs == 0:
        delta.delete(keys.checker_table(current.table_epoch))
    delta.edit(keys.checker_table(epoch), pb.CheckerTable).CopyFrom(table)
    delta.edit(keys.CURRENT_EPOCH, pb.CurrentEpoch).table_epoch = epoch
    delta.apply()


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
