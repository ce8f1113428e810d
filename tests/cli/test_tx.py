"""`lc tx`, `lc query`, and the manners that all commands share."""

import base64
import json
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.transaction import parse
from learningchain.cli import exit_codes
from learningchain.client.transport import QueryAnswer
from learningchain.wallet import Keystore
from tests.cli.terminal import QUICK, Terminal


def test_a_transfer_shows_its_block(carl: Terminal) -> None:
    to = encode_address(carl.market.address("worker0"))
    before = carl.market.balance("worker0")
    done = carl.json("tx", "transfer", to, "12.5", "--memo", "thank you")
    assert (done.code, done.data["code"]) == (0, 0)
    assert done.data["height"] == str(carl.market.height)
    assert done.data["events"][0]["amount"] == "12500000"
    assert carl.market.balance("worker0") - before == 12_500_000


def test_the_hash_is_told_before_waiting(carl: Terminal) -> None:
    carl.transport.auto_ms = None
    done = carl.json("tx", "bond", "1", "--timeout", "0.1")
    assert done.code == exit_codes.TIMEOUT
    assert "sent" in done.err.splitlines()[0]
    assert done.out == ""
    assert "run the same command again" in done.error["hint"]


def test_the_same_command_after_a_timeout_pays_once(carl: Terminal) -> None:
    to = encode_address(carl.market.address("worker0"))
    before = carl.market.balance("worker0")
    carl.transport.auto_ms = None
    assert carl.run("tx", "transfer", to, "3", "--timeout", "0.1").code == exit_codes.TIMEOUT
    carl.market.block()
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    again = carl.json("tx", "transfer", to, "3")
    assert again.code == 0
    assert "by an earlier run" in again.err
    assert carl.market.balance("worker0") - before == 3 * UCREDIT


def test_another_command_tells_what_became_of_the_one_before(carl: Terminal) -> None:
    carl.transport.auto_ms = None
    assert carl.run("tx", "bond", "1", "--timeout", "0.1").code == exit_codes.TIMEOUT
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    done = carl.run("tx", "bond", "2")
    assert "an earlier Bond was carried out in block" in done.err
    assert carl.market.account("carl").bond == 3 * UCREDIT


def test_a_list_of_what_was_sent_that_cannot_be_used_is_named(carl: Terminal) -> None:
    assert carl.run("tx", "bond", "1").code == 0
    path = next((carl.home / "journal").glob("*.json"))
    path.write_text("{")
    damaged = carl.json("tx", "bond", "1")
    assert damaged.code == exit_codes.FAILED
    assert damaged.error["message"].startswith(f"{path} is damaged (")
    assert damaged.error["hint"].startswith("it holds transactions that may still be carried out")
    path.unlink()
    path.symlink_to("elsewhere")
    linked = carl.json("tx", "bond", "1")
    assert (linked.code, str(path) in linked.error["message"]) == (exit_codes.FAILED, True)
    assert "symbolic link" in linked.error["hint"]


def test_without_waiting_only_the_hash_is_shown(carl: Terminal) -> None:
    done = carl.json("tx", "bond", "1", "--no-wait")
    assert set(done.data) == {"tx_hash"}


def test_a_signed_transaction_can_be_shown_instead_and_sent_later(carl: Terminal, tmp_path: Path) -> None:
    done = carl.json("tx", "bond", "7", "--generate-only")
    assert done.code == 0
    assert carl.transport.broadcasts == []
    tx = bytes.fromhex(done.data["tx_hex"])
    assert base64.b64decode(done.data["tx_base64"]) == tx
    assert parse(tx).is_signature_valid()
    request = json.loads(done.data["curl"].partition("-d '")[2].partition("'")[0])
    assert (request["method"], base64.b64decode(request["params"]["tx"])) == ("broadcast_tx_sync", tx)
    path = tmp_path / "tx"
    for form in ("tx_hex", "tx_base64"):
        path.write_text(done.data[form] + "\n")
        assert carl.json("tx", "send", str(path)).data["tx_hash"] == done.data["tx_hash"]
    path.write_text(done.out)
    assert carl.json("tx", "send", str(path)).data["tx_hash"] == done.data["tx_hash"]
    lines = carl.run("tx", "bond", "7", "--generate-only").out
    for text in (lines, lines.splitlines()[0], lines.splitlines()[1]):
        assert carl.json("tx", "send", "-", text=text).data["tx_hash"] == done.data["tx_hash"]
    carl.transport.make_block()
    assert carl.market.account("carl").bond == 7 * UCREDIT
    assert carl.json("query", "tx", done.data["tx_hash"]).data["height"] == str(carl.market.height)


def test_a_transaction_that_was_carried_out_is_told_when_it_is_sent_again(carl: Terminal) -> None:
    text = carl.json("tx", "bond", "7", "--generate-only").out
    rival = carl.json("tx", "bond", "1", "--generate-only").out
    assert carl.json("tx", "send", "-", text=text).code == 0
    carl.transport.make_block()
    carl.transport._known.clear()  # the node was started again
    again = carl.json("tx", "send", "-", text=text)
    assert (again.code, again.data["height"]) == (0, str(carl.market.height))
    assert "carried out before" in again.err
    refused = carl.json("tx", "send", "-", text=rival)
    assert (refused.code, refused.error["name"]) == (exit_codes.REFUSED, "wrong_nonce")


def test_what_is_no_transaction_is_not_sent(carl: Terminal) -> None:
    for text in ("~~~", "\N{EURO SIGN}", "{}", '{"tx_hex": 1}', "[" * 100_000, "{" * 100_000, "00" * 100_000):
        assert carl.run("tx", "send", "-", text=text).code == exit_codes.USAGE
    refused = carl.json("tx", "send", "-", text="00")
    assert (refused.code, refused.error["code"]) == (exit_codes.REFUSED, 2)
    long = carl.json("tx", "send", "-", text="00" * 20_000)
    assert (long.code, long.error["name"]) == (exit_codes.REFUSED, "too_large")
    path = carl.home / "tx"
    path.write_bytes(b"\xff")
    assert carl.run("tx", "send", str(path)).code == exit_codes.USAGE
    assert carl.transport.broadcasts == [b"\x00"]


def test_a_refusal_carries_number_name_and_advice(carl: Terminal) -> None:
    to = encode_address(carl.market.address("worker0"))
    done = carl.json("tx", "transfer", to, "99999999")
    assert done.code == exit_codes.REFUSED
    assert (done.error["code"], done.error["name"], done.error["exit_code"]) == (102, "insufficient_balance", 4)
    assert done.out == ""


def test_a_failure_in_a_block_has_its_own_exit_code(carl: Terminal) -> None:
    to = encode_address(carl.market.address("worker0"))
    carl.transport.auto_ms = None
    carl.run("tx", "transfer", to, "600", "--no-wait")
    second = carl.run("tx", "transfer", to, "700", "--no-wait")
    assert second.code == 0
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    done = carl.json("tx", "transfer", to, "700")
    assert (done.code, done.error["name"]) == (exit_codes.FAILED_IN_BLOCK, "insufficient_balance")


def test_an_unreachable_node_says_so(carl: Terminal) -> None:
    carl.transport.failing = True
    done = carl.json("query", "supply")
    assert done.code == exit_codes.UNREACHABLE
    assert "--node" in done.error["hint"]


def test_what_does_not_exist_has_its_own_exit_code(carl: Terminal) -> None:
    for words in (
        ("query", "account", encode_address(bytes(20))),
        ("query", "tx", "00" * 32),
        ("query", "committee", "9"),
        ("job", "show", "9"),
    ):
        assert carl.json(*words).code == exit_codes.NOT_FOUND, words


@pytest.mark.parametrize(
    "words",
    [
        ("tx", "transfer", "lc1nonsense", "1"),
        ("tx", "bond", "1e3"),
        ("tx", "bond", "-1"),
        ("tx", "set-checker", "9"),
        ("tx", "set-checker", "9" * 5_000),
        ("tx", "set-key", "carl", "--scope", "king"),
        ("tx", "set-key", "00" * 32, "--proof", "zz"),
        ("query", "tx", "zz"),
        ("job", "list", "--state", "nonsense"),
        ("nonsense",),
        ("tx", "bond"),
        ("tx", "bond", "1", "--output", "xml"),
    ],
)
def test_mistakes_on_the_command_line_are_usage_errors(carl: Terminal, words: tuple[str, ...]) -> None:
    done = carl.run(*words)
    assert done.code == exit_codes.USAGE
    assert done.out == ""
    assert done.err


def test_bond_unbond_checker_profile_and_keys_change_the_account(carl: Terminal) -> None:
    assert carl.run("tx", "bond", "20").code == 0
    assert carl.run("tx", "unbond", "5").code == 0
    assert carl.run("tx", "set-checker", "1").code == 0
    assert carl.run("tx", "set-profile", "--name", "Carl").code == 0
    assert carl.run("tx", "set-profile", "--endpoint", "http://carl.example").code == 0
    account = carl.market.account("carl")
    assert (account.bond, account.checker) == (15 * UCREDIT, 2)
    assert carl.run("tx", "set-checker", "off").code == 0
    assert carl.market.account("carl").checker == 0
    view = carl.json("query", "account").data
    assert view["profile"] == {"name": "Carl", "endpoint": "http://carl.example"}
    assert view["account"]["bond"] == "15000000"


@pytest.mark.parametrize(
    "words",
    [
        (),
        *(
            ("--endpoint", endpoint)
            for endpoint in ("foo", "ftp://host", "http://", "http://a b", "http://host:99999", "http://me:pw@host")
        ),
    ],
)
def test_a_profile_without_change_or_with_an_endpoint_nobody_follows_is_not_sent(
    carl: Terminal, words: tuple[str, ...]
) -> None:
    done = carl.json("tx", "set-profile", *words)
    assert (done.code, done.out) == (exit_codes.USAGE, "")
    assert carl.transport.broadcasts == []


def test_an_endpoint_can_be_taken_back(carl: Terminal) -> None:
    assert carl.run("tx", "set-profile", "--endpoint", "https://host:8443/models").code == 0
    assert carl.run("tx", "set-profile", "--endpoint", "").code == 0
    assert carl.json("query", "account").data["profile"]["endpoint"] == ""


def test_a_work_key_of_this_machine_is_added_and_removed(carl: Terminal) -> None:
    owner = encode_address(carl.market.address("carl"))
    carl.run("keys", "add", "work", "--unencrypted", "--account", owner)
    assert carl.run("tx", "set-key", "work", "--from", "carl").code == 0
    assert carl.run("tx", "set-profile", "--name", "by work", "--from", "work").code == 0
    refused = carl.json("tx", "bond", "1", "--from", "work")
    assert refused.error["name"] == "scope_too_small"
    assert carl.run("tx", "set-key", "work", "--scope", "removed", "--from", "carl").code == 0
    assert carl.json("tx", "set-profile", "--name", "x", "--from", "work").error["name"] == "key_removed"


def test_a_key_that_is_kept_for_another_account_is_added_with_a_word_about_that(carl: Terminal) -> None:
    owner = encode_address(carl.market.address("carl"))
    assert carl.run("keys", "add", "mine", "--unencrypted").code == 0
    words = carl.json("keys", "show", "mine", "--words", "--yes").data["words"]
    done = carl.run("tx", "set-key", "mine", "--from", "carl")
    assert (done.code, f"lc keys add --home {carl.home} NAME --recover --account {owner}" in done.err) == (0, True)
    options = ("--unencrypted", "--recover", "--account", owner)
    assert carl.run("keys", "add", "work", *options, text=words).code == 0
    assert carl.run("tx", "set-profile", "--name", "by work", "--from", "work").code == 0
    assert "--recover" not in carl.run("tx", "set-key", "work", "--scope", "owner", "--from", "carl").err


def test_a_key_of_another_machine_is_added_by_its_proof(carl: Terminal, tmp_path: Path) -> None:
    owner = encode_address(carl.market.address("carl"))
    carl.run("keys", "add", "work", "--unencrypted", "--account", owner)
    proof = carl.json("tx", "prove-key", owner, "--from", "work").data
    (carl.home / "keys" / "work.json").rename(tmp_path / "elsewhere.json")
    done = carl.run("tx", "set-key", proof["public_key"], "--proof", proof["proof"], "--scope", "owner")
    assert done.code == 0
    keys = {key.public_key.hex(): key.scope for key in carl.market.account("carl").keys}
    assert keys[proof["public_key"]] == tx_pb2.KEY_SCOPE_OWNER


def test_registering_makes_an_account_once(terminal: Terminal) -> None:
    terminal.run("keys", "add", "new", "--unencrypted")
    first = terminal.json("tx", "register")
    assert first.code == 0
    assert "hashes" in first.err
    assert f"transaction {first.data['tx_hash']} sent" in first.err
    address = Keystore(terminal.home / "keys", QUICK).get("new").address
    assert first.data["account"] == encode_address(address)
    assert "exists already" in terminal.json("tx", "register").err


def test_a_key_of_another_account_is_not_registered_as_its_own(carl: Terminal) -> None:
    owner = encode_address(carl.market.address("carl"))
    carl.run("keys", "add", "work", "--unencrypted", "--account", owner)
    done = carl.json("tx", "register", "--from", "work")
    assert (done.code, owner in done.error["message"]) == (exit_codes.FAILED, True)
    assert f"lc tx set-key --home {carl.home} work --from OWNER" in done.error["hint"]
    assert carl.run("tx", "set-key", "work", "--from", "carl").code == 0


def test_a_signed_register_can_be_shown_and_sent_later(terminal: Terminal) -> None:
    terminal.run("keys", "add", "new", "--unencrypted")
    shown = terminal.json("tx", "register", "--generate-only").data
    assert terminal.transport.broadcasts == []
    assert terminal.json("tx", "send", "-", text=shown["tx_hex"]).code == 0
    terminal.transport.make_block()
    assert terminal.json("query", "account", shown["account"]).code == 0


def test_nothing_to_unjail_is_refused_with_words(carl: Terminal) -> None:
    done = carl.json("tx", "unjail")
    assert done.code == exit_codes.REFUSED
    assert done.error["hint"]


def test_questions_show_views_with_64_bit_numbers_as_text(carl: Terminal) -> None:
    supply = carl.json("query", "supply").data
    assert supply["sum"] == supply["supply"]["genesis"]
    assert carl.json("query", "params").data["params"]["min_bounty"] == "1000000"
    assert len(carl.json("query", "checkers").data["table"]["entries"]) == 5
    assert carl.json("query", "validators").data["validators"]
    assert carl.json("query", "relays").data["relays"] == []
    assert carl.json("query", "view", "/chain").data["chain_id"] == "test-chain"
    assert carl.json("query", "view", "/nonsense").code == exit_codes.FAILED


def test_every_error_number_is_listed(terminal: Terminal) -> None:
    from abci_app.protocol.errors import REASONS

    assert [entry["code"] for entry in terminal.json("query", "errors").data["errors"]] == sorted(REASONS)


def test_text_of_strangers_cannot_steer_the_terminal(carl: Terminal) -> None:
    evil = "\N{RIGHT-TO-LEFT OVERRIDE}\x9b31m[bold red]x[/]"
    assert carl.run("tx", "set-profile", "--name", evil).code == 0
    shown = carl.run("query", "account").out
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in shown
    assert "\x9b" not in shown
    assert "[bold red]x[/]" in shown
    assert carl.json("query", "account").data["profile"]["name"] == evil


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", b"0.5"])
def test_a_number_that_no_view_has_is_a_bad_answer(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, number: bytes
) -> None:
    async def answer(*_: object, **__: object) -> QueryAnswer:
        return QueryAnswer(0, "", b'{"height": ' + number + b"}", 1)

    monkeypatch.setattr(carl.transport, "query", answer)
    done = carl.json("query", "view", "/chain")
    assert (done.code, done.out) == (exit_codes.FAILED, "")


@pytest.mark.parametrize(
    ("line", "view"),
    [
        ("query account carl", {"account": {"balance": "many"}}),
        ("query account carl", {"account": []}),
        ("query supply", {"supply": ["many"]}),
        ("query supply", {}),
    ],
)
def test_a_view_in_another_form_is_no_defect_of_the_program(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, line: str, view: dict[str, object]
) -> None:
    async def answer(*_: object, **__: object) -> QueryAnswer:
        return QueryAnswer(0, "", json.dumps(view).encode(), 1)

    monkeypatch.setattr(carl.transport, "query", answer)
    done = carl.json(*line.split())
    assert done.code in (exit_codes.OK, exit_codes.FAILED)
    assert done.code == exit_codes.OK or "unusable" in done.error["message"]
