"""Keys at rest: encrypted, private, bounded in what they ask of the machine, and quiet about themselves."""

import copy
import errno
import json
import logging
import os
import pickle
import stat
import traceback
from pathlib import Path

import pytest

from abci_app.protocol.crypto import is_valid_signature
from learningchain.wallet import KdfCost, Keystore, KeystoreError, SecretKey
from learningchain.wallet.files import FileError, make_private_folder, read_private, write_private
from learningchain.wallet.format import MAX_MEMORY_BYTES, MAX_OPERATIONS

QUICK = KdfCost(operations=1, memory_bytes=8192)
PASSWORD = "correct horse battery"
SEED = bytes(range(32))


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "home" / "keys", QUICK)


def edit(keystore: Keystore, name: str, **changed: object) -> None:
    """Change fields of a key's file, those of the encryption too."""
    path = keystore.folder / f"{name}.json"
    fields = json.loads(path.read_bytes())
    for key, value in changed.items():
        holder = fields["encrypted_seed"] if key in fields.get("encrypted_seed", {}) else fields
        holder[key] = value
    path.write_text(json.dumps(fields))


def test_a_key_comes_back_with_its_password(keystore: Keystore) -> None:
    key = SecretKey(SEED)
    entry = keystore.add("alice", key, PASSWORD)
    assert entry.encrypted
    assert keystore.open("alice", lambda: PASSWORD).get_seed() == SEED


def test_a_wrong_password_is_refused_and_leaves_the_file_untouched(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    path = keystore.folder / "alice.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(KeystoreError, match="wrong password"):
        keystore.open("alice", lambda: "wrong horse battery")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_folder_and_file_are_private(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    assert stat.S_IMODE(keystore.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(keystore.folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((keystore.folder / "alice.json").stat().st_mode) == 0o600


def test_the_seed_is_nowhere_in_an_encrypted_file(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    text = (keystore.folder / "alice.json").read_text()
    assert SEED.hex() not in text
    assert "unencrypted" not in text


def test_the_default_cost_of_a_guess_is_three_passes_over_256_mib() -> None:
    assert KdfCost() == KdfCost(operations=3, memory_bytes=256 << 20)


def test_an_unencrypted_key_has_to_be_asked_for_and_asks_no_password(keystore: Keystore) -> None:
    def never() -> str:
        raise AssertionError("asked for a password")

    assert not keystore.add("server", SecretKey(SEED), None).encrypted
    assert keystore.open("server", never).get_seed() == SEED


def test_a_key_is_never_overwritten(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    with pytest.raises(KeystoreError, match="already"):
        keystore.add("alice", SecretKey.generate(), PASSWORD)
    assert keystore.open("alice", lambda: PASSWORD).get_seed() == SEED


def test_a_new_password_replaces_the_old_one(keystore: Keystore) -> None:
    key = SecretKey(SEED)
    keystore.add("alice", key, PASSWORD)
    keystore.replace_password("alice", key, "another good one")
    assert keystore.open("alice", lambda: "another good one").get_seed() == SEED
    with pytest.raises(KeystoreError, match="wrong password"):
        keystore.open("alice", lambda: PASSWORD)
    assert stat.S_IMODE((keystore.folder / "alice.json").stat().st_mode) == 0o600


def test_another_key_cannot_take_over_a_file(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    with pytest.raises(KeystoreError, match="another key"):
        keystore.replace_password("alice", SecretKey.generate(), PASSWORD)


def test_a_short_password_is_refused(keystore: Keystore) -> None:
    with pytest.raises(KeystoreError, match="at least 8"):
        keystore.add("alice", SecretKey(SEED), "short")
    assert not (keystore.folder / "alice.json").exists()


@pytest.mark.parametrize("name", ["", "Alice", "../x", "a/b", "-x", "a" * 33, "a.b", "é"])
def test_names_cannot_leave_the_folder(keystore: Keystore, name: str) -> None:
    with pytest.raises(KeystoreError, match="not a key name"):
        keystore.add(name, SecretKey(SEED), PASSWORD)


def test_a_name_that_would_be_read_as_an_address_is_none(keystore: Keystore) -> None:
    with pytest.raises(KeystoreError, match="read as an address"):
        keystore.add("lc1bob", SecretKey(SEED), PASSWORD)
    assert keystore.list_names() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_bytes", MAX_MEMORY_BYTES + 1),
        ("memory_bytes", 64 << 30),
        ("memory_bytes", "8192"),
        ("operations", MAX_OPERATIONS + 1),
        ("operations", 0),
        ("operations", True),
        ("salt", "00"),
        ("nonce", "zz"),
        ("ciphertext", ""),
        ("kdf", "none"),
        ("version", 2),
        ("public_key", "00" * 32),
        ("address", "lc1nothing"),
        ("account", "nonsense"),
    ],
)
def test_a_file_made_by_somebody_else_cannot_ask_for_more_than_is_allowed(
    keystore: Keystore, field: str, value: object
) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    edit(keystore, "alice", **{field: value})
    with pytest.raises(KeystoreError, match="cannot be used"):
        keystore.open("alice", lambda: PASSWORD)


def test_a_seed_of_another_key_is_noticed(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), None)
    edit(keystore, "alice", unencrypted_seed="11" * 32)
    with pytest.raises(KeystoreError, match="another key than it says"):
        keystore.open("alice", lambda: "")


def test_a_renamed_file_is_noticed(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    (keystore.folder / "alice.json").rename(keystore.folder / "bob.json")
    with pytest.raises(KeystoreError, match="belongs to alice"):
        keystore.get("bob")


def test_links_open_modes_and_truncated_files_are_refused(keystore: Keystore) -> None:
    keystore.add("alice", SecretKey(SEED), PASSWORD)
    path = keystore.folder / "alice.json"
    path.chmod(0o644)
    with pytest.raises(KeystoreError, match="chmod 600"):
        keystore.get("alice")
    path.chmod(0o600)
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    with pytest.raises(KeystoreError, match="symbolic link"):
        keystore.get("alice")
    path.unlink()
    write_private(path, b'{"version": 1', overwrite=False)
    with pytest.raises(KeystoreError, match="not a JSON object"):
        keystore.get("alice")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeystoreError, match="not a regular file"):
        keystore.get("alice")


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    with pytest.raises(FileError, match="chmod 700"):
        make_private_folder(folder)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_private(path, b"old", overwrite=False)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full") as failed:
        write_private(path, b"new", overwrite=True)
    monkeypatch.undo()
    assert failed.value.filename == str(path)  # which no error of a write names by itself
    assert read_private(path) == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_keys_are_found_by_name_and_by_address(keystore: Keystore) -> None:
    from abci_app.protocol.bech32 import encode_address

    owner = bytes(20)
    alice = keystore.add("alice", SecretKey(SEED), None)
    work = keystore.add("work", SecretKey.generate(), None, owner)
    assert keystore.find("alice") == alice
    assert keystore.find(encode_address(alice.address)) == alice
    assert keystore.find(encode_address(owner)) == work
    assert [entry.name for entry in keystore.list_entries()] == ["alice", "work"]
    with pytest.raises(KeystoreError, match="no key of"):
        keystore.find(encode_address(b"x" * 20))


def test_words_are_the_seed_in_bip_39() -> None:
    key = SecretKey(bytes(32))
    words = key.get_words()
    assert words.split() == ["abandon"] * 23 + ["art"]
    assert SecretKey.from_words(words.upper().replace(" ", "  ")).public_key == key.public_key


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("abandon", "24 words, these are 1"),
        (" ".join(["abandon"] * 24), "checksum"),
        (" ".join(["abandon"] * 22 + ["abandom", "art"]), "word 23"),
    ],
)
def test_mistaken_words_are_refused_with_a_reason(words: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SecretKey.from_words(words)


def test_the_secret_never_shows(keystore: Keystore, caplog: pytest.LogCaptureFixture) -> None:
    key = SecretKey(SEED)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().error("key %s %r", key, key)
        keystore.add("alice", key, PASSWORD)
        try:
            keystore.open("alice", lambda: "wrong horse battery")
        except KeystoreError:
            shown = traceback.format_exc()
    everything = caplog.text + shown + repr(key) + str(key) + repr(vars(keystore))
    assert SEED.hex() not in everything
    assert repr(SEED)[2:-1] not in everything
    for forbidden in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret key"):
            forbidden(key)


def test_signatures_are_what_the_chain_checks() -> None:
    key = SecretKey(SEED)
    assert is_valid_signature(key.public_key, b"message", key.sign(b"message"))
