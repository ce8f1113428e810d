"""Ctrl-C counts until a command has done its work: what it stops can be run again, what is done must not be."""

import signal

_is_ours = False
"""Whether Ctrl-C is this program's: not where it was started to be deaf, nor inside another program."""


def take_over() -> None:
    """Have `ignore` and `heed` work from now on: this process does nothing else than one command."""
    global _is_ours
    _is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler


def ignore() -> None:
    """Let Ctrl-C do nothing until the process has ended: it takes a moment, and its exit code is decided."""
    if _is_ours:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def heed() -> None:
    """Let Ctrl-C stop the command again."""
    if _is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
