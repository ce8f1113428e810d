"""Room that the store's file keeps free, so that a block is written into a part of it instead of all over it.

LMDB writes a changed page to a new place and uses the old one again soon after. With hardly any other room in the file
each block goes exactly where the one before last has left holes, which is anywhere, and a disk takes long for pages
that are far from each other. Where more room is free LMDB takes it in ascending order, a part of the file at a time.
"""

from __future__ import annotations  # lmdb's classes are generic in its stubs only

from typing import Any, Final

from lmdb import Environment, Transaction

from abci_app.store.lmdb_view import Databases, naming_damage

SHARE: Final = 5
"""One free page for so many in use: more would make the file larger, and a block hardly quicker."""


class FreePages:
    """Holds a reader while too little of the file is free: LMDB then uses no page again and makes the file longer.

    For the thread that commits.
    """

    def __init__(self, environment: Environment, databases: Databases) -> None:
        """Hold if it is needed."""
        self._environment = environment
        self._databases = databases
        self._reader: Transaction[bytes] | None = None
        self.adjust()

    def adjust(self) -> None:
        """Begin or end to hold; to be called after each commit. Raises StoreDamagedError."""
        if not self._is_short():
            self.release()
        elif self._reader is None:
            self._reader = self._environment.begin()

    def release(self) -> None:
        """Hold nothing, until `adjust`."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    def _is_short(self) -> bool:
        with naming_damage(self._environment), self._environment.begin() as txn:
            used = sum(_count_pages(txn, database) for database in self._databases)
        return (self._environment.info()["last_pgno"] - used) * SHARE < used


def _count_pages(txn: Transaction[bytes], database: Any) -> int:
    facts = txn.stat(database)
    return facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"]
