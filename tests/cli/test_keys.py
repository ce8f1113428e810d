"""`lc keys` and `lc config`."""

import errno
from pathlib import Path

import pytest

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.wallet import Keystore, SecretKey
from tests.cli.terminal import QUICK, Terminal, run_lc

PASSWORD = "correct horse battery"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\nsecond line\n")
    return str(path)


def test_a_new_key_is_encrypted_and_its_words_are_shown_once_on_stderr(terminal: Terminal, password_file: str) -> None:
    done = terminal.json("keys", "add", "alice", "--password-file", password_file)
    assert done.code == 0
    assert done.data["encrypted"] is True
    key = Keystore(terminal.home / "keys", QUICK).open("alice", lambda: PASSWORD)
    assert key.get_words() in done.err
    assert key.get_words() not in done.out
    assert done.data["account"] == encode_address(key.address)
    assert key.get_seed().hex() not in done.out + done.err


def test_the_words_of_a_new_key_are_shown_though_another_file_is_broken(terminal: Terminal, password_file: str) -> None:
    assert terminal.run("keys", "add", "bob", "--unencrypted").code == 0
    (terminal.home / "keys" / "bob.json").write_text("{}")
    done = terminal.json("keys", "add", "alice", "--password-file", password_file)
    assert done.code == 0
    assert Keystore(terminal.home / "keys", QUICK).open("alice", lambda: PASSWORD).get_words() in done.err


def test_the_words_of_a_new_key_are_shown_though_the_settings_cannot_be_written(
    terminal: Terminal, password_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("learningchain.cli.keys.save_setting", fail)
    done = terminal.json("keys", "add", "alice", "--password-file", password_file)
    assert done.code == exit_codes.FAILED
    assert Keystore(terminal.home / "keys", QUICK).open("alice", lambda: PASSWORD).get_words() in done.err


def test_an_unencrypted_key_takes_a_flag_and_is_warned_about(terminal: Terminal) -> None:
    done = terminal.run("keys", "add", "server", "--unencrypted")
    assert done.code == 0
    assert "not encrypted" in done.err
    assert "NO" in terminal.run("keys", "list").out


def test_without_a_terminal_a_password_file_is_asked_for(terminal: Terminal) -> None:
    done = terminal.run("keys", "add", "alice")
    assert done.code == exit_codes.FAILED
    assert "--password-file" in done.err
    assert not (terminal.home / "keys").exists()


def test_words_bring_a_key_back(terminal: Terminal) -> None:
    key = SecretKey(b"w" * 32)
    done = terminal.json("keys", "add", "again", "--recover", "--unencrypted", text=key.get_words() + "\n")
    assert done.data["public_key"] == key.public_key.hex()


def test_mistaken_words_are_refused(terminal: Terminal) -> None:
    done = terminal.run("keys", "add", "again", "--recover", "--unencrypted", text="abandon abandon\n")
    assert done.code == exit_codes.FAILED
    assert "24 words" in done.err


def test_words_are_shown_again_with_consent_only(terminal: Terminal) -> None:
    key = terminal.add_wallet("alice")
    refused = terminal.run("keys", "show", "alice", "--words")
    assert refused.code == exit_codes.FAILED
    assert key.get_words() not in refused.out + refused.err
    assert terminal.json("keys", "show", "alice", "--words", "--yes").data["words"] == key.get_words()


def test_a_key_is_shown_without_its_secret(terminal: Terminal) -> None:
    key = terminal.add_wallet("alice")
    for wanted in ("alice", encode_address(key.address)):
        done = terminal.json("keys", "show", wanted)
        assert done.data["public_key"] == key.public_key.hex()
        assert key.get_seed().hex() not in done.out + done.err


def test_an_unknown_key_says_how_to_make_one(terminal: Terminal) -> None:
    done = terminal.run("keys", "show", "nobody")
    assert done.code == exit_codes.NOT_FOUND
    assert f"lc keys add --home {terminal.home} nobody" in done.err


def test_a_password_is_changed_and_a_wrong_one_changes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    old, new, wrong = tmp_path / "old", tmp_path / "new", tmp_path / "wrong"
    for path, text in ((old, PASSWORD), (new, "another good one"), (wrong, "mistaken one")):
        path.write_text(text + "\n")
    terminal.run("keys", "add", "alice", "--password-file", str(old))
    before = (terminal.home / "keys" / "alice.json").read_bytes()
    change = ("keys", "password", "alice", "--new-password-file", str(new), "--password-file")
    assert terminal.run(*change, str(wrong)).code == exit_codes.FAILED
    assert (terminal.home / "keys" / "alice.json").read_bytes() == before
    assert terminal.run(*change, str(old)).code == 0
    Keystore(terminal.home / "keys", QUICK).open("alice", lambda: "another good one")


def test_the_first_key_becomes_the_default_and_further_ones_do_not(terminal: Terminal) -> None:
    terminal.run("keys", "add", "first", "--unencrypted")
    terminal.run("keys", "add", "second", "--unencrypted")
    assert terminal.json("config", "show").data["key"] == "first"


def test_with_several_keys_and_no_default_one_has_to_be_chosen(terminal: Terminal) -> None:
    terminal.add_wallet("carl")
    terminal.add_wallet("worker0")
    done = terminal.run("query", "account")
    assert done.code == exit_codes.FAILED
    assert "carl, worker0" in done.err
    assert "--from" in done.err


def test_a_key_of_another_account_is_kept_with_it(terminal: Terminal) -> None:
    owner = encode_address(terminal.add_wallet("carl").address)
    done = terminal.json("keys", "add", "work", "--unencrypted", "--account", owner)
    assert done.data["account"] == owner
    assert done.data["address"] != owner


def test_settings_are_written_without_losing_comments(terminal: Terminal) -> None:
    terminal.home.mkdir(mode=0o700)
    path = terminal.home / "client.toml"
    path.write_text('# mine\noutput = "text" # as I like it\n')
    assert terminal.run("config", "set", "node", "unix:///run/rpc.sock").code == 0
    text = path.read_text()
    assert "# mine" in text
    assert "# as I like it" in text
    assert terminal.json("config", "show").data["node"] == "unix:///run/rpc.sock"


@pytest.mark.parametrize(("name", "value"), [("nonsense", "1"), ("home", "/x"), ("output", "xml"), ("chain_tag", "zz")])
def test_settings_that_make_no_sense_are_refused(terminal: Terminal, name: str, value: str) -> None:
    done = terminal.run("config", "set", name, value)
    assert done.code == exit_codes.USAGE
    assert "error:" in done.err
    assert not (terminal.home / "client.toml").exists()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("node", "ftp://x", exit_codes.USAGE),
        ("node", "", exit_codes.USAGE),
        ("node", "unix://relative", exit_codes.USAGE),
        ("key", "nobody", exit_codes.NOT_FOUND),
        ("key", "A B", exit_codes.USAGE),
    ],
)
def test_a_node_or_key_that_cannot_be_is_not_written(terminal: Terminal, name: str, value: str, code: int) -> None:
    done = terminal.json("config", "set", name, value)
    assert (done.code, done.out) == (code, "")
    assert done.error["hint"]
    assert not (terminal.home / "client.toml").exists()


def test_a_key_is_chosen_by_name_or_address_and_taken_back(terminal: Terminal) -> None:
    address = encode_address(terminal.add_wallet("carl").address)
    for value in ("carl", address, ""):
        assert terminal.run("config", "set", "key", value).code == 0
        assert terminal.json("config", "show").data["key"] == value


def test_a_broken_settings_file_is_named(terminal: Terminal) -> None:
    terminal.home.mkdir(mode=0o700)
    (terminal.home / "client.toml").write_text("node = [")
    done = terminal.run("keys", "list")
    assert done.code == exit_codes.FAILED
    assert "client.toml" in done.err


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.run("config", "set", "node", "http://file:1")
    assert terminal.json("config", "show").data["node"] == "http://file:1"
    monkeypatch.setenv("LC_NODE", "http://environment:1")
    assert terminal.json("config", "show").data["node"] == "http://environment:1"
    assert terminal.json("config", "show", "--node", "http://line:1").data["node"] == "http://line:1"


def test_a_folder_of_keys_that_cannot_be_listed_is_not_an_empty_one(terminal: Terminal) -> None:
    terminal.home.mkdir(mode=0o700)
    (terminal.home / "keys").touch()
    for words in (("keys", "list"), ("tx", "bond", "1")):
        done = terminal.json(*words)
        assert (done.code, done.out) == (exit_codes.FAILED, "")
        assert done.error["message"] == f"the keys in {terminal.home}/keys cannot be listed (Not a directory)"


def test_a_copy_beside_the_keys_is_named(carl: Terminal) -> None:
    copy = carl.home / "keys" / "carl.old.json"
    copy.write_bytes((carl.home / "keys" / "carl.json").read_bytes())
    done = carl.json("keys", "list")
    assert (done.code, done.error["message"]) == (exit_codes.FAILED, f"{copy} has not the name of a key")
    assert "move it" in done.error["hint"]


@pytest.mark.parametrize("name", ["key", "chain_tag", "password_file"])
def test_an_empty_value_takes_a_setting_back(carl: Terminal, tmp_path: Path, name: str) -> None:
    before = carl.json("config", "show").data
    value = {"key": "carl", "chain_tag": "0" * 16, "password_file": str(tmp_path / "password")}[name]
    assert carl.run("config", "set", name, value).code == 0
    assert carl.json("config", "show").data == {**before, name: value}
    assert carl.run("config", "set", name, "").code == 0
    assert carl.json("config", "show").data == before


def test_an_empty_home_is_not_the_current_folder(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("keys", "add", "mine"), ("worker", "init")):
        done = run_lc(*words, "--unencrypted", "--home", "")
        assert (done.returncode, "it is empty" in done.stderr) == (exit_codes.USAGE, True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_key_is_not_the_only_one(carl: Terminal) -> None:
    done = carl.json("tx", "bond", "1", "--from", "")
    assert (done.code, done.error["message"]) == (exit_codes.USAGE, "'' is not a key name")
    assert carl.transport.broadcasts == []


def test_a_key_that_cannot_be_written_says_what_to_do(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/me")

    monkeypatch.setattr("learningchain.wallet.keystore.make_private_folder", refuse)
    done = terminal.json("keys", "add", "mine", "--unencrypted")
    assert done.code == exit_codes.FAILED
    assert done.error["message"] == "the key mine cannot be written (/home/me, Permission denied)"
    assert "--home" in done.error["hint"]


def test_a_key_that_cannot_be_read_says_what_to_look_at(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error", "/somewhere")

    monkeypatch.setattr("learningchain.wallet.keystore.read_private", refuse)
    done = carl.json("keys", "show", "carl")
    assert "cannot be read (Input/output error)" in done.error["message"]
    assert "the disk" in done.error["hint"]


@pytest.mark.parametrize(
    ("name", "code"), [("carl", exit_codes.FAILED), ("n\u00e4me", exit_codes.USAGE), ("lc1carl", exit_codes.USAGE)]
)
@pytest.mark.parametrize("way", ["--recover", "--password-file"])
def test_a_name_that_cannot_be_is_told_before_anything_is_asked(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, code: int, way: str
) -> None:
    def ask(*_: object) -> str:
        pytest.fail("a password or words are asked for")

    monkeypatch.setattr("learningchain.cli.session.Session.ask_password", ask)
    monkeypatch.setattr("learningchain.cli.keys._recover_key", ask)
    words = ["--recover"] if way == "--recover" else []
    assert carl.json("keys", "add", name, *words).code == code
