"""Commands that a hint tells to run next: for the same home and node as the command that tells them."""

import re
import shlex
from pathlib import Path
from typing import Final

from learningchain.devnet.plan import DevnetHome

_COMMAND: Final = re.compile(r"\blc (?P<group>[a-z]+) (?P<name>[a-z]+(?:-[a-z]+)*)(?![a-z-])(?! --(?:home|node)\b)")
_OF_CHAIN: Final = ("job", "tx", "query")
_OF_HOME: Final = (*_OF_CHAIN, "keys", "config", "node")


def complete_commands(text: str, home: Path | None, node: str | None, has_own_place: bool = False) -> str:
    """Give each command in `text` the home and node of the one that tells it, None for not given, where it uses them.

    `has_own_place` is for the home of a worker or a devnet: other commands use only its keys and settings.
    """

    def complete(found: re.Match[str]) -> str:
        group, name = found["group"], found["name"]
        words = []
        if home is not None and _uses_home(group, home, has_own_place):
            words += ["--home", str(home)]
        if node is not None and not has_own_place and (group in _OF_CHAIN or (group, name) == ("node", "status")):
            words += ["--node", node]
        return " ".join([found[0], shlex.join(words)]) if words else found[0]

    return _COMMAND.sub(complete, text)


def _uses_home(group: str, home: Path, has_own_place: bool) -> bool:
    if has_own_place:
        return group in ("keys", "config")
    return group in _OF_HOME or (group == "devnet" and DevnetHome(home).plan_file.exists())
