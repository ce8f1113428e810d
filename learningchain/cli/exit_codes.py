"""What the exit code of `lc` tells; docs/cli.md explains them to users."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""Something went wrong; the text says what."""
USAGE: Final = 2
"""The command line itself is wrong."""
NOT_FOUND: Final = 3
"""The job, account, transaction, model, key or file asked for does not exist."""
REFUSED: Final = 4
"""The node refused the transaction: nothing happened."""
FAILED_IN_BLOCK: Final = 5
"""The transaction is in a block but failed: only nonce and quota are used up."""
TIMEOUT: Final = 6
"""Not decided in time: a sent transaction may still land."""
UNREACHABLE: Final = 7
"""The node does not answer."""
DIFFERS: Final = 8
"""What was measured differs from what was announced by more than the job's tolerance."""
INTERRUPTED: Final = 130
"""Stopped by Ctrl-C."""
CLOSED: Final = 141
"""Whoever read stdout went away, as `| head` does: what the shell shows for a program that a broken pipe ended."""
