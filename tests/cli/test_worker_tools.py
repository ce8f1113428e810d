"""What the command line borrows from the worker: evaluation and uploads to relays."""

import asyncio
import hashlib
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.crypto import is_valid_signature
from learningchain.claims import Claim
from learningchain.cli import worker_tools
from learningchain.cli.failure import Failure
from learningchain.cli.session import Session
from learningchain.client import Relay
from learningchain.wallet import SecretKey
from worker import cli
from worker.models.uploads import UploadClaim, parse_claim
from worker.sandbox import EvaluationLimits, OwnFailureError, SandboxSettings, Step

TAG = b"t" * 8
IMAGE = f"registry.example/job@sha256:{'a' * 64}"
MODEL = b"weights" * 1000
KEY = SecretKey(b"k" * 32)
CLASS = pb.EvaluationClass(cores=2, seconds=30)


@contextmanager
def run_relay(status: int) -> Iterator[tuple[str, list[tuple[UploadClaim, bytes]]]]:
    taken: list[tuple[UploadClaim, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            size = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            digest = bytes.fromhex(self.path.rpartition("/")[2])
            taken.append((parse_claim(headers, digest, size), self.rfile.read(size)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
            part = taken[-1][1][first : last + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    path = tmp_path / "model"
    path.write_bytes(MODEL)
    return Claim(TAG, 3, KEY.address, hashlib.sha256(MODEL).digest(), len(MODEL), b"s" * 32, 5, str(path))


def upload(claim: Claim, *relays: Relay, loopback: bool = True) -> list[str]:
    return asyncio.run(worker_tools.upload(claim, KEY, list(relays), loopback, 60))


def test_a_model_is_uploaded_with_a_signed_claim(claim: Claim) -> None:
    with run_relay(201) as (node, taken):
        assert upload(claim, Relay(b"r" * 20, node)) == [node]
    sent, body = taken[0]
    assert body == MODEL
    assert (sent.job_id, sent.account, sent.digest, sent.salt) == (3, KEY.address, claim.digest, claim.salt)
    assert is_valid_signature(KEY.public_key, sent.get_sign_bytes(TAG, node), sent.signature)


def test_three_relays_are_enough_and_ones_own_is_left_out(claim: Claim) -> None:
    with run_relay(201) as (node, taken):
        relays = [Relay(bytes([number]) * 20, f"{node}/{number}") for number in range(6)]
        reached = upload(claim, Relay(KEY.address, "http://127.0.0.1:1"), *relays)
    assert len(set(reached) & {relay.endpoint for relay in relays}) == len(reached) == 3
    assert len(taken) == 3


def test_a_relay_that_refuses_is_passed_over(claim: Claim) -> None:
    with run_relay(403) as (closed, _), run_relay(201) as (opened, _):
        assert upload(claim, Relay(b"a" * 20, closed), Relay(b"b" * 20, opened)) == [opened]


def test_without_any_relay_that_takes_it_the_reasons_are_told(claim: Claim) -> None:
    with run_relay(507) as (node, _), pytest.raises(Failure, match="507"):
        upload(claim, Relay(b"a" * 20, node))
    with pytest.raises(Failure, match="not at a public address"):
        upload(claim, Relay(b"a" * 20, "http://127.0.0.1:1"), loopback=False)
    assert upload(claim) == []


def test_what_the_sandbox_logs_is_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(*_: object) -> None:
        structlog.get_logger().info("image_pulled")
        structlog.get_logger().warning("outputs_without_hard_caps")

    monkeypatch.setattr(worker_tools, "evaluate_model", evaluate)
    worker_tools.evaluate(
        Session(home=tmp_path), IMAGE, tmp_path / "m", pb.EvaluationClass(cores=2, seconds=30), ["mine"]
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "outputs_without_hard_caps" in shown.err
    assert "image_pulled" not in shown.err


@pytest.mark.parametrize("no_color", ["", "1"])
def test_the_log_has_colours_on_a_terminal_only_and_not_with_no_color(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(worker_tools, "evaluate_model", lambda *_: structlog.get_logger().warning("from the sandbox"))
    worker_tools.evaluate(
        Session(home=tmp_path), IMAGE, tmp_path / "m", pb.EvaluationClass(cores=2, seconds=30), ["mine"]
    )
    cli._configure_logging(as_json=False)
    structlog.get_logger().warning("from the worker")
    lines = screen.getvalue().splitlines()
    assert ["\x1b" in line for line in lines] == [not no_color] * 2, lines


def test_each_layer_of_an_evaluated_image_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fetch(monkeypatch, tmp_path, [(0.0, 0), (0.1, 1), (0.2, 3), (0.3, 0), (0.5, 3)])
    shown = capsys.readouterr()
    assert shown.err == "fetching layer 1 of 2, 3.0 MiB …\n" * 2
    assert shown.out == ""


def test_a_layer_that_takes_long_has_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fetch(monkeypatch, tmp_path, [(0, 0), (9, 0.5), (11, 1), (12, 1.2), (20, 1.5), (22, 2), (40, 3)])
    text = "fetching layer 1 of 2, 3.0 MiB"
    assert capsys.readouterr().err.splitlines() == [
        f"{text} …", f"{text}: 1.0 MiB are here", f"{text}: 2.0 MiB are here",
    ]  # fmt: skip


def test_a_layer_that_takes_long_has_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    _fetch(monkeypatch, tmp_path, [(0, 0), (0.5, 1), (2, 2), (3, 3)])
    assert "2.1/3.1 MB" in screen.getvalue()
    assert "1.0/3.1 MB" not in screen.getvalue()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_a_bar_ends_with_what_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the terminal would stay without a cursor."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(Failure, match="the line is down"):
        _fetch(monkeypatch, tmp_path, [(0, 0), (2, 2)], OwnFailureError("the line is down"))
    assert screen.getvalue().count("\x1b[?25h") == 1


def _fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: list[tuple[float, float]], error: Exception | None = None
) -> None:
    """Have a layer of 3 MiB fetched, of which at each look, so many seconds after the first, so many MiB are here."""

    def evaluate_model(*given: Any) -> None:
        for seconds, mib in looks:
            monkeypatch.setattr(worker_tools, "time", SimpleNamespace(monotonic=lambda at=seconds: 100.0 + at))
            given[-1](Step("fetching layer 1 of 2, 3.0 MiB", int(mib * (1 << 20)), 3 << 20))
        if error is not None:
            raise error

    monkeypatch.setattr(worker_tools, "evaluate_model", evaluate_model)
    worker_tools.evaluate(
        Session(home=tmp_path), IMAGE, tmp_path / "m", pb.EvaluationClass(cores=2, seconds=30), ["mine"]
    )


def test_a_machine_without_an_engine_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path, EvaluationLimits, SandboxSettings]] = []

    def fail(image: str, model: Path, limits: EvaluationLimits, settings: SandboxSettings, _: object) -> None:
        asked.append((image, model, limits, settings))
        raise OwnFailureError("no engine answers")

    monkeypatch.setattr(worker_tools, "evaluate_model", fail)
    session = Session(home=tmp_path)
    with pytest.raises(Failure, match="no engine answers") as error:
        worker_tools.evaluate(session, IMAGE, tmp_path / "m", CLASS, ["mine"])
    assert "Docker" in error.value.hint
    assert (asked[0][2].cores, asked[0][3].home) == (2, tmp_path / "sandbox")
    assert asked[0][3].trusted_registries == ("mine",)  # not that of the image, which is a stranger's
