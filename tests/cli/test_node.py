"""`lc node` without a node; the tests with a real one are in tests/e2e."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from abci_app.protocol.genesis_json import parse_genesis
from learningchain.cli import exit_codes, node
from learningchain.node_home import NodeError, NodeHome, NodeIdentity, NodeSettings
from tests.cli.terminal import Terminal
from tests.support.genesis_files import change, make_genesis
from tests.support.slow_server import HEAD, drip, serve_pieces

PEER = "ab" * 20 + "@y.example:1"


@pytest.fixture
def homes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NodeHome, NodeSettings]]:
    """What would be made, instead of calling CometBFT."""
    made: list[tuple[NodeHome, NodeSettings]] = []

    def create(home: NodeHome, settings: NodeSettings) -> NodeIdentity:
        made.append((home, settings))
        home.genesis.parent.mkdir(parents=True, exist_ok=True)
        return NodeIdentity("aa" * 20, b"c" * 32)

    monkeypatch.setattr(node, "create_home", create)
    return made


def test_a_new_chain_has_its_founder_as_only_validator(
    carl: Terminal, homes: list[tuple[NodeHome, NodeSettings]]
) -> None:
    done = carl.json("node", "init", "--new-chain", "mine", "--moniker", "m", "--rpc-port", "1234", "--peer", PEER)
    assert done.code == 0
    home, settings = homes[0]
    assert home.root == carl.home / "node"
    assert (settings.moniker, settings.rpc_port, settings.persistent_peers) == ("m", 1234, (PEER,))
    document = json.loads(home.genesis.read_bytes())
    genesis = parse_genesis(json.dumps(document["app_state"]).encode())
    assert (document["chain_id"], done.data["chain_id"]) == ("mine", "mine")
    assert [account.public_key for account in genesis.accounts] == [carl.market.wallet("carl").public_key]
    assert genesis.validators[0].consensus_key == b"c" * 32


def test_an_existing_chain_is_joined_by_its_genesis(
    terminal: Terminal, homes: list[tuple[NodeHome, NodeSettings]], tmp_path: Path
) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(make_genesis())
    done = terminal.json("node", "init", "--genesis", str(genesis))
    assert done.data["chain_id"] == "theirs"
    assert homes[0][0].genesis.read_bytes() == genesis.read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--new-chain", "x", "--params", "nonsense"),
        ("--new-chain", "x", "--transport", "pigeon"),
        ("--new-chain", "x", "--rpc-port", "99999"),
        ("--new-chain", "x", "--rpc-port", "4000", "--p2p-port", "4000"),
        ("--new-chain", ""),
        ("--new-chain", "a" * 51),
        ("--new-chain", "\u00e4" * 26),
        ("--new-chain", "two\nlines"),
        ("--new-chain", "x", "--peer", "foo"),
        ("--new-chain", "x", "--peer", PEER + ",foo"),
        ("--new-chain", "x", "--peer", "ab" * 20 + "@host:99999"),
        ("--new-chain", "x", "--peer", "ab" * 20 + "@host:0"),
        ("--new-chain", "x", "--moniker", " "),
        ("--new-chain", "x", "--moniker", "n\u00e4me"),
        ("--new-chain", "x", "--genesis", "/dev/null"),
    ],
)
def test_what_makes_no_node_is_a_usage_error(
    carl: Terminal, homes: list[tuple[NodeHome, NodeSettings]], words: tuple[str, ...]
) -> None:
    assert carl.run("node", "init", *words).code == exit_codes.USAGE
    assert homes == []


def test_a_genesis_file_that_is_not_there_is_not_found(
    terminal: Terminal, homes: list[tuple[NodeHome, NodeSettings]]
) -> None:
    assert terminal.run("node", "init", "--genesis", "/no/such/file").code == exit_codes.NOT_FOUND
    assert homes == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b'{"chain_id": "theirs"}',
        b'{"chain_id": "theirs", "app_state": {}}',
        b"\xff",
        make_genesis().replace(b'"theirs"', b"7"),
        make_genesis().replace(b'"theirs"', b'""'),
        make_genesis().replace(b'"theirs"', b'"' + b"a" * 51 + b'"'),
        make_genesis().replace(b'"power": "', b'"power": "9'),
    ],
)
def test_what_is_no_genesis_file_makes_no_node(
    terminal: Terminal, homes: list[tuple[NodeHome, NodeSettings]], tmp_path: Path, content: bytes
) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(content)
    done = terminal.json("node", "init", "--genesis", str(genesis))
    assert (done.code, done.out) == (exit_codes.FAILED, "")
    assert "no genesis file of this software" in done.error["message"]
    assert homes == []


def test_a_node_that_has_blocks_is_left_as_it_is(
    carl: Terminal, homes: list[tuple[NodeHome, NodeSettings]], tmp_path: Path
) -> None:
    own, other = tmp_path / "own.json", tmp_path / "other.json"
    own.write_bytes(make_genesis("mine"))
    other.write_bytes(make_genesis("theirs"))
    home = NodeHome(carl.home / "node")
    (home.cometbft / "data" / "state.db").mkdir(parents=True)
    home.genesis.parent.mkdir()
    home.genesis.write_bytes(own.read_bytes())
    for words in (("--new-chain", "mine", "--rpc-port", "41821"), ("--genesis", str(other))):
        done = carl.json("node", "init", *words)
        assert done.code == exit_codes.FAILED
        assert "holds a node of the chain mine" in done.error["message"]
    assert homes == []
    assert carl.json("node", "init", "--genesis", str(own), "--rpc-port", "41821").code == 0
    assert homes[0][1].rpc_port == 41821
    home.genesis.unlink()
    assert "does not tell" in carl.json("node", "init", "--genesis", str(own)).error["message"]
    assert len(homes) == 1


def test_starting_where_no_node_is_says_to_make_one(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "cometbft"
    program.touch()
    monkeypatch.setenv("LC_COMETBFT", str(program))
    done = terminal.json("node", "start")
    assert done.code == exit_codes.FAILED
    assert "lc node init" in done.error["hint"]


def test_a_node_that_does_not_answer_says_to_start_one(terminal: Terminal) -> None:
    done = terminal.json("node", "status", "--node", "http://127.0.0.1:1")
    assert done.code == exit_codes.UNREACHABLE
    assert "lc node start" in done.error["hint"]


ODD_STATUS = json.dumps(
    {
        "result": {
            "n_peers": float("inf"),
            "node_info": {"network": "c"},
            "sync_info": {"latest_block_height": "1", "latest_app_hash": 5},
        }
    }
).encode()


@pytest.mark.parametrize("answer", [b"[1] no JSON", b"{}", b'{"result": {"sync_info": 5}}', b"[" * 100_000, ODD_STATUS])
def test_what_answers_but_is_no_node_is_told_apart(terminal: Terminal, answer: bytes) -> None:
    with serve(answer) as address:
        done = terminal.json("node", "status", "--node", address)
    assert done.code == exit_codes.FAILED
    assert "is no node" in done.error["message"]


def test_a_node_that_sends_a_byte_now_and_then_is_given_up(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learningchain.node.STATUS_SECONDS", 0.4)
    with serve_pieces(drip(HEAD + b"\r\n" + b" " * 100, 0.1)) as address:
        done = terminal.json("node", "status", "--node", address)
    assert done.code == exit_codes.UNREACHABLE  # all of the answer would be one of what is no node


def test_the_state_of_a_node_is_shown(terminal: Terminal) -> None:
    result = {
        "node_info": {"network": "c", "moniker": "m", "id": "ab"},
        "sync_info": {"latest_block_height": "9007199254740993", "latest_app_hash": "AB", "catching_up": False},
        "n_peers": "3",
    }
    with serve(json.dumps({"result": result}).encode()) as address:
        shown = terminal.json("node", "status", "--node", address).data
    assert (shown["height"], shown["node_id"], shown["peers"]) == ("9007199254740993", "ab", 3)


@contextmanager
def serve(answer: bytes) -> Iterator[str]:
    """Serve one answer to everything at the address that is yielded."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_why_a_node_ended_by_itself_is_in_the_error(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: NodeHome) -> None:
        raise NodeError("the node stopped: cometbft ended with code 1; from a.log:\nERROR: address in use", "see a.log")

    monkeypatch.setattr(node, "run_node", end)
    done = terminal.json("node", "start")
    assert (done.code, done.error["hint"]) == (1, "see a.log")
    assert done.error["message"].endswith("ERROR: address in use")
    assert "ERROR: address in use\nnext: see a.log" in terminal.run("node", "start").err
    monkeypatch.setattr(node, "run_node", lambda _: None)
    assert terminal.run("node", "start").code == 0


@pytest.mark.parametrize(("year", "is_told"), [("2999", True), ("2001", False)])
def test_a_chain_that_begins_later_is_told_at_the_start(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, year: str, is_told: bool
) -> None:
    monkeypatch.setattr(node, "run_node", lambda _: None)
    genesis = NodeHome(terminal.home / "node").genesis
    genesis.parent.mkdir(parents=True)
    genesis.write_bytes(change(("genesis_time",), f"{year}-01-31T12:00:00Z"))
    done = terminal.run("node", "start")
    assert (done.code, f"begins at {year}-01-31 12:00:00 UTC" in done.err) == (0, is_told)
