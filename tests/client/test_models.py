"""Fetching a model: from any source, but only exactly its bytes."""

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from learningchain.addresses import Target
from learningchain.client import Relay
from learningchain.models import (
    ModelError,
    WantedModel,
    fetch_model,
    get_model_url,
    hash_file,
    is_safe_name,
    looks_like_pickle,
    order_relays,
)
from tests.support import slow_server
from tests.support.slow_server import serve_pieces

MODEL = bytes(range(256)) * 5000
WANTED = WantedModel(hashlib.sha256(MODEL).digest(), len(MODEL))


@contextmanager
def serve(files: Mapping[str, bytes], redirect: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(302 if redirect else 404 if content is None else 200)
            if redirect:
                self.send_header("Location", redirect)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def drip(clock: list[float]) -> Iterator[str]:
    """A source that never ends and never is silent for long; with its first bytes the clock goes on, up to 90 s."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the reader left
                while not ended.wait(0.01):
                    clock[0] = min(clock[0] + 30.0, 90.0)
                    self.wfile.write(b"x")

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/m"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(path: Path, *sources: str, loopback: bool = True) -> str:
    return fetch_model(WANTED, sources, path, 600, allow_loopback=loopback)


def test_the_first_source_that_has_it_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    told: list[int] = []
    with serve({"/m": MODEL}) as node:
        sources = [f"{node}/nothing", f"{node}/m", f"{node}/never-asked"]
        assert fetch_model(WANTED, sources, path, 10, True, told.append) == f"{node}/m"
    assert path.read_bytes() == MODEL
    assert told[-1] == len(MODEL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("content", [MODEL[:-1], MODEL + b"x", b"", b"y" + MODEL[1:]])
def test_other_bytes_are_not_the_model_and_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    with serve({"/m": content}) as node, pytest.raises(ModelError, match=r"other bytes|too much"):
        fetch(tmp_path / "model", f"{node}/m")
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with (
        serve({"/m": MODEL}) as other,
        serve({}, redirect=f"{other}/m") as node,
        pytest.raises(ModelError, match="302"),
    ):
        fetch(tmp_path / "model", f"{node}/m")


def test_a_source_at_an_inner_address_is_no_source(tmp_path: Path) -> None:
    with serve({"/m": MODEL}) as node, pytest.raises(ModelError, match="public"):
        fetch(tmp_path / "model", f"{node}/m", loopback=False)


def test_a_source_that_drips_does_not_keep_the_next_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learningchain.models.PATIENCE_S", 60.0)
    monkeypatch.setattr("learningchain.models.SLOWEST", 1 << 30)
    clock = [0.0]
    monkeypatch.setattr("learningchain.models.time", SimpleNamespace(monotonic=lambda: clock[0]))
    with serve({"/m": MODEL}) as node, drip(clock) as slow:
        assert fetch(tmp_path / "model", slow, f"{node}/m") == f"{node}/m"


def test_a_source_whose_headers_drip_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learningchain.models.PATIENCE_S", 0.1)
    monkeypatch.setattr("learningchain.models.SLOWEST", 1 << 30)
    with (
        serve_pieces(slow_server.drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000, 0.01)) as node,
        pytest.raises(ModelError, match="too slow"),
    ):
        fetch(tmp_path / "model", f"{node}/m")
    assert list(tmp_path.iterdir()) == []


def test_without_sources_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nobody"):
        fetch(tmp_path / "model")


def test_an_unreachable_source_is_named_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:1/m"):
        fetch(tmp_path / "model", "http://127.0.0.1:1/m")


@pytest.mark.parametrize("text", ["http://8。8。8。8/m", "http://[::1%25x/m", f"http://127.0.0.1:1/{'x' * 70_000}"])
def test_a_source_that_cannot_be_asked_keeps_nobody_from_the_next(tmp_path: Path, text: str) -> None:
    with serve({"/m": MODEL}) as node:
        assert fetch(tmp_path / "model", text, f"{node}/m") == f"{node}/m"


def test_a_host_that_http_cannot_say_is_a_failure_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("http://127.0.0.1:1/m", {"Host": "8。8。8。8"}, {})
    monkeypatch.setattr("learningchain.models.resolve", lambda url, allow_loopback: target)
    with pytest.raises(ModelError, match=r"here: .*ascii.*; there: .*ascii"):
        fetch(tmp_path / "model", "here", "there")


def test_the_url_of_a_model_has_one_form() -> None:
    assert get_model_url("http://x/", b"\x01" * 32) == "http://x/v1/models/" + "01" * 32


@pytest.mark.parametrize(
    ("name", "safe"),
    [("digits.npz", True), ("..", False), (".x", False), ("a/b", False), ("", False), ("a" * 65, False), ("é", False)],
)
def test_names_from_labels_are_checked(name: str, safe: bool) -> None:
    assert is_safe_name(name) is safe


def test_pickles_are_noticed(tmp_path: Path) -> None:
    plain, archive, data = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    plain.write_bytes(b"\x80\x04\x95")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"")
    data.write_bytes(MODEL)
    assert [looks_like_pickle(path) for path in (plain, archive, data)] == [True, True, False]
    assert hash_file(data) == (WANTED.digest, WANTED.size)


RELAYS = [Relay(bytes([number]) * 20, f"http://relay{number}.example") for number in range(40)]


def test_who_leaves_out_a_relay_or_knows_one_more_has_the_same_order_as_others() -> None:
    """Checkers leave out themselves: with another order they would ask for a model where it was not brought to."""
    for number in range(100):
        digest = hashlib.sha256(b"%d" % number).digest()
        order = order_relays(RELAYS, digest)
        assert sorted(order, key=RELAYS.index) == RELAYS
        for missing in RELAYS[:3]:
            others = [relay for relay in RELAYS if relay != missing]
            assert order_relays(others, digest) == [relay for relay in order if relay != missing]


def test_relays_are_ordered_by_the_hash_of_digest_and_account() -> None:
    """Every model begins elsewhere, and other programs must find the same place."""
    orders = []
    for number in range(100):
        digest = hashlib.sha256(b"%d" % number).digest()
        places = {hashlib.sha256(digest + relay.account).hexdigest(): relay for relay in RELAYS}
        orders.append(order_relays(RELAYS, digest))
        assert orders[-1] == [places[place] for place in sorted(places)]
    assert len({order[0].account for order in orders}) > len(RELAYS) // 2


def test_accounts_with_like_addresses_do_not_follow_each_other() -> None:
    """Who has some that begin alike would else get all copies of a model, and could lose it."""
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(100)]
    neighbours = RELAYS[10:20]  # a quarter of all
    starts = [order_relays(RELAYS, digest)[:3] for digest in digests]
    assert sum(all(relay in neighbours for relay in start) for start in starts) < 10


def test_an_endpoint_counts_once_however_many_accounts_name_it() -> None:
    relays = [*RELAYS, *(Relay(bytes([number]) * 20, "http://one.example") for number in range(50, 60))]
    endpoints = [relay.endpoint for relay in order_relays(relays, WANTED.digest)]
    assert len(endpoints) == len(set(endpoints)) == len(RELAYS) + 1
