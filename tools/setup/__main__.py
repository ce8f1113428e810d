"""Entry point; its syntax is that of Python 3.6, so that an old Python can say that it is too old."""

import os
import shutil
import subprocess
import sys

NEWER = [f"python3.{minor}" for minor in range(20, 10, -1)]


def runs(python: str) -> bool:
    """Tell whether a Python starts; a shim of pyenv may stand for a version that is not chosen."""
    return subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) == 0


def main() -> int:
    """Go on with this Python, or with a newer one on PATH."""
    if sys.version_info < (3, 11):  # noqa: UP036
        found = [path for path in map(shutil.which, NEWER) if path and runs(path)]
        if not found:
            print(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
            print("next: install python3.11 or newer (or: uv python install 3.11) and put it on PATH", file=sys.stderr)
            return 1
        os.execv(found[0], [found[0], "-m", "tools.setup", *sys.argv[1:]])
    from tools.setup.cli import main as go

    return go()


if __name__ == "__main__":
    sys.exit(main())
