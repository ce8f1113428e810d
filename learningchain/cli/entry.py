"""What `lc` starts with. It loads nothing itself: the command line takes a fifth of a second to load, and Ctrl-C counts
from the first moment on."""

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from learningchain.cli.main import main as run

        run()
    except KeyboardInterrupt:
        from learningchain.cli.exit_codes import INTERRUPTED

        sys.exit(INTERRUPTED)
