"""`python -m abci_app` with a count of its signature checks, written to the file named by the first argument."""

import sys
from pathlib import Path

from abci_app import __main__ as program
from abci_app.protocol import transaction
from abci_app.protocol.crypto import is_valid_signature


def main() -> int:
    """Run the application with counted checks; returns its exit code."""
    count = 0

    def count_and_check(public_key: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal count
        count += 1
        return is_valid_signature(public_key, message, signature)

    setattr(transaction, "is_valid_signature", count_and_check)  # noqa: B010 (mypy knows it as private there)
    code = program.main(sys.argv[2:])
    Path(sys.argv[1]).write_text(f"{count}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
