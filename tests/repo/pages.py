"""The pages of the project as its readers see them: paths, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "chain-config").glob("*.md")]
)
_FENCE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_BLOCK_LINE: Final = re.compile(r"^ {4}(?!\s)(.+)$", re.MULTILINE)
_PROGRAMS: Final = ("lc ", "make ", "python ", "pytest ", "cometbft ")


def read(page: str) -> str:
    """Return the text of a page, named by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def read_flat(page: str) -> str:
    """Return the text of a page with single spaces in place of line breaks."""
    return " ".join(read(page).split())


def list_inline_code(page: str) -> list[str]:
    """Return what stands between backticks in running text and tables, on one line each."""
    prose = _FENCE.sub("", read(page))
    return [" ".join(code.replace(r"\|", "|").split()) for code in re.findall(r"`([^`]+)`", prose)]


def list_block_commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command that stands in a block of a page, as a shell would take it."""
    text = read(page)
    lines = _BLOCK_LINE.findall(_FENCE.sub("", text))
    for block in re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        lines += block.splitlines()
    for line in lines:
        if line.startswith(_PROGRAMS):
            yield from split_commands(line)


def split_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word != "&&":
            words.append(word)
        elif words:
            yield words
            words = []
