"""Versions, folders, limits and the one error class of the set-up."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("LC_STATE") or ROOT / ".state").absolute()
"""What services keep: engine, registry, logs. `make clean` removes it."""
CACHE = Path(os.environ.get("LC_CACHE") or ROOT / ".cache").absolute()
"""What was downloaded or built. `make clean` removes it."""
LOGS = STATE / "logs"
TEMPORARY = STATE / "tmp"
"""Temporary folder of the commands that the set-up runs; emptied before and after."""
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"

MIN_PYTHON = (3, 11)

COMETBFT = "v0.38.25"
COMETBFT_OTHER = "v0.40.0"
"""Second target of the tests; it speaks the same ABCI and is never mixed with the first in one network."""
COMETBFT_SAYS = {COMETBFT: "0.38.25", COMETBFT_OTHER: "0.39.0"}
"""What `cometbft version` prints; the release v0.40.0 was published with 0.39.0 in its source."""
GO_NEEDED = {COMETBFT: (1, 22, 11), COMETBFT_OTHER: (1, 25, 0)}
"""The `go` line of each release's go.mod."""

SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux (108 bytes with the final zero)."""

STEP_SECONDS = 900
"""Longest time for one step of the set-up, or one command in it."""
RUN_STOP_SECONDS = 60
"""How long a command may clean up after Ctrl-C before it is killed."""
STOP_SECONDS = 15
"""Patience with a process that was asked to end, before it is killed."""


class SetupError(Exception):
    """A step failed. `remedy` is the one command, or the one thing, to do next."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
