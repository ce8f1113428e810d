"""The command line in a test: real commands, a chain in memory behind them, streams apart."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from learningchain.cli import job_model, job_submit, session
from learningchain.cli.main import app
from learningchain.cli.output import Output
from learningchain.client import Client
from learningchain.registry import CONTRACT_LABEL, MODEL_NAME_LABEL, Image, ImageError
from learningchain.wallet import KdfCost, Keystore, SecretKey
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport
from tests.support.wallets import Wallet

QUICK = KdfCost(operations=1, memory_bytes=8192)
IMAGE = "registry.example/me/job"
DIGEST = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON on stdout; all of stdout must be it."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The last JSON error on stderr."""
        found: dict[str, Any] = json.loads(self.err.strip().splitlines()[-1])["error"]
        return found


@contextlib.contextmanager
def no_room_for_the_next_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the line with the next step fail, as when stderr is a file on a full disk."""
    tell = Output.say

    def fail(out: Output, text: str) -> None:
        if text.startswith("next: "):
            raise OSError(errno.ENOSPC, "No space left on device")
        tell(out, text)

    with monkeypatch.context() as patch:
        patch.setattr(Output, "say", fail)
        yield


class Terminal:
    """Runs commands of one user with one home against one chain."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.market = Market()
        self.transport = MemoryTransport(self.market, auto_ms=1_000)
        self.market.block()
        self.images: dict[str, Image] = {f"{IMAGE}:1": make_image()}
        self.resolved: list[dict[str, bool]] = []
        monkeypatch.setattr(session, "connect", lambda *_: Client(self.transport))
        monkeypatch.setattr(job_submit, "resolve_image", self._resolve)
        monkeypatch.setattr(job_model, "resolve_image", self._resolve)
        for name in ("LC_HOME", "LC_NODE", "LC_KEY", "LC_OUTPUT", "LC_CHAIN_TAG", "LC_PASSWORD_FILE"):
            monkeypatch.delenv(name, raising=False)

    def add_wallet(self, name: str) -> SecretKey:
        """Give the user the key of an account of the chain, without password."""
        key = SecretKey(Wallet(name).seed)
        Keystore(self.home / "keys", QUICK).add(name, key, None)
        return key

    def run(self, *words: str, text: str | None = None) -> Outcome:
        """Run a command; `text` is typed on stdin, which is no terminal."""
        result = CliRunner().invoke(app, [*words, "--home", str(self.home)], input=text)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.stderr, result.stderr
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str, text: str | None = None) -> Outcome:
        """Run a command with --output json."""
        return self.run(*words, "--output", "json", text=text)

    def _resolve(self, text: str, **given: bool) -> Image:
        self.resolved.append(given)
        found = self.images.get(text) or next(
            (image for image in self.images.values() if image.reference == text), None
        )
        if found is None:
            raise ImageError(f"{text} has no such tag or digest", "push the image first, check the name")
        return found


def make_image(**changed: Any) -> Image:
    """Return an image that is fit for a job."""
    fields: dict[str, Any] = {
        "reference": f"{IMAGE}@{DIGEST}",
        "size": 1_000_000,
        "labels": {CONTRACT_LABEL: "1", MODEL_NAME_LABEL: "model.npz"},
        "volumes": (),
    }
    return Image(**{**fields, **changed})


BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}
"""What a shell gives the program: a machine that runs tests may have output go out unbuffered."""


def run_lc(*words: str, stdout: int = subprocess.PIPE, env: Mapping[str, str] | None = None) -> Any:
    """Run the program as a shell does."""
    return subprocess.run(
        [sys.executable, "-m", "learningchain.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env={**BUFFERED, **(env or {})},
    )
