"""Genesis files that are spoilt in one place, with what is said about each."""

import json
from collections.abc import Mapping
from typing import Any, Final

from learningchain.cli.node import build_founding_genesis
from learningchain.node_home import NodeIdentity
from learningchain.wallet import Entry, SecretKey

Path = tuple[str | int, ...]
MISSING: Final = object()
BLOCK: Final = ("consensus_params", "block")
EVIDENCE: Final = ("consensus_params", "evidence")
KEY_TYPES: Final = ("consensus_params", "validator", "pub_key_types")
VALIDATOR: Final = ("validators", 0)


def make_genesis(chain_id: str = "theirs") -> bytes:
    """Return the genesis file of a chain with one validator."""
    key = SecretKey(b"f" * 32)
    entry = Entry("founder", key.address, key.public_key, key.address, False)
    return build_founding_genesis(chain_id, "devnet", entry, NodeIdentity("ab" * 20, b"c" * 32))


def change(path: Path, value: object) -> bytes:
    """Return the genesis file with one field changed, or without it."""
    document: Any = json.loads(make_genesis())
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return json.dumps(document).encode()


REFUSED_BY_COMETBFT: Final[Mapping[str, tuple[bytes, str]]] = {
    "nothing": (b"", "not JSON"),
    "not closed": (make_genesis()[:-3], "not JSON"),
    "a list": (b"[]", "no JSON object"),
    "byte order mark": (b"\xef\xbb\xbf" + make_genesis(), "not JSON"),
    "another encoding": (make_genesis().decode().encode("utf-16"), "not JSON"),
    "not a number": (make_genesis().replace(b'"app_hash": ""', b'"app_hash": NaN'), "NaN is not JSON"),
    "no chain id": (change(("chain_id",), MISSING), "chain_id"),
    "chain id is a number": (change(("chain_id",), 7), "chain_id"),
    "long chain id": (change(("chain_id",), "a" * 51), "chain_id has 1 to 50 bytes"),
    "time is a number": (change(("genesis_time",), 7), "genesis_time must be a time"),
    "time without zone": (change(("genesis_time",), "2026-01-31T12:00:00"), "genesis_time must be a time"),
    "time in another zone": (change(("genesis_time",), "2026-01-31T12:00:00+00:00"), "genesis_time must be a time"),
    "time with a space": (change(("genesis_time",), "2026-01-31 12:00:00Z"), "genesis_time must be a time"),
    "no such day": (change(("genesis_time",), "2026-02-30T12:00:00Z"), "genesis_time must be a time"),
    "leap second": (change(("genesis_time",), "2026-01-31T12:00:60Z"), "genesis_time must be a time"),
    "hour 24": (change(("genesis_time",), "2026-01-31T24:00:00Z"), "genesis_time must be a time"),
    "initial height is a number": (change(("initial_height",), 1), "initial_height must be a whole number"),
    "initial height is negative": (change(("initial_height",), "-1"), "initial_height must be 1"),
    "initial height is no number": (change(("initial_height",), "one"), "initial_height must be a whole number"),
    "app hash": (change(("app_hash",), "xy"), "app_hash must be text in hexadecimal"),
    "app hash is a number": (change(("app_hash",), 7), "app_hash must be text in hexadecimal"),
    "parameters are a list": (change(("consensus_params",), []), "consensus_params must be an object"),
    "no block parameters": (change(BLOCK, MISSING), "consensus_params.block must be an object"),
    "block of 0 bytes": (change((*BLOCK, "max_bytes"), "0"), "block.max_bytes must lie from"),
    "block size is a number": (change((*BLOCK, "max_bytes"), 1048576), "block.max_bytes must be a whole number"),
    "block size is a fraction": (change((*BLOCK, "max_bytes"), "1048576.0"), "block.max_bytes must be a whole number"),
    "huge block": (change((*BLOCK, "max_bytes"), "104857601"), "block.max_bytes must lie from"),
    "more than 64 bits": (change((*BLOCK, "max_gas"), str(2**63)), "block.max_gas must be a whole number"),
    "gas below -1": (change((*BLOCK, "max_gas"), "-2"), "block.max_gas must be -1"),
    "evidence of no age": (change((*EVIDENCE, "max_age_num_blocks"), "0"), "max_age_num_blocks"),
    "evidence of no duration": (change((*EVIDENCE, "max_age_duration"), MISSING), "max_age_duration"),
    "duration in words": (change((*EVIDENCE, "max_age_duration"), "30s"), "max_age_duration must be a whole number"),
    "negative evidence": (change((*EVIDENCE, "max_bytes"), "-1"), "evidence.max_bytes must lie from"),
    "evidence larger than blocks": (change((*EVIDENCE, "max_bytes"), "1048577"), "evidence.max_bytes must lie from"),
    "no kinds of keys": (change(KEY_TYPES, []), "pub_key_types must be a list"),
    "unknown kind of keys": (change(KEY_TYPES, ["ed25519", "rsa"]), "pub_key_types must be a list"),
    "kinds of keys are text": (change(KEY_TYPES, "ed25519"), "pub_key_types must be a list"),
    "negative version": (change(("consensus_params", "version", "app"), "-1"), "version.app must be 0"),
    "negative extension height": (
        change(("consensus_params", "abci", "vote_extensions_enable_height"), "-1"),
        "vote_extensions_enable_height must be 0",
    ),
    "validators are text": (change(("validators",), "all"), "validators must be a list"),
    "validator is text": (change(VALIDATOR, "me"), "validators[0] must be an object"),
    "no power": (change((*VALIDATOR, "power"), MISSING), "differ in keys or powers"),
    "power is a number": (change((*VALIDATOR, "power"), 100), "validators[0].power must be a whole number"),
    "another address": (change((*VALIDATOR, "address"), "AB" * 20), "validators[0].address is not that"),
    "address is no hex": (change((*VALIDATOR, "address"), "me"), "validators[0].address must be text in hexadecimal"),
    "name is a number": (change((*VALIDATOR, "name"), 7), "validators[0].name must be text"),
    "name is an object": (change((*VALIDATOR, "name"), {}), "validators[0].name must be text"),
    "version is false": (change(("consensus_params", "version"), False), "version must be an object"),
    "unknown type of key": (change((*VALIDATOR, "pub_key", "type"), "ed25519"), "validators[0].pub_key must have"),
    "no type of key": (change((*VALIDATOR, "pub_key", "type"), MISSING), "validators[0].pub_key must have"),
    "no key": (change((*VALIDATOR, "pub_key"), MISSING), "validators[0].pub_key must be an object"),
    "short key": (change((*VALIDATOR, "pub_key", "value"), "AAAA"), "validators[0].pub_key must have"),
    "key is no base64": (change((*VALIDATOR, "pub_key", "value"), "*"), "validators[0].pub_key must have"),
}
"""What CometBFT ends with, mostly as one line in a log, and what is said of it before."""
_FIRST: Final = json.loads(make_genesis())["validators"][0]
REFUSED_LATER: Final[Mapping[str, tuple[bytes, str]]] = {
    "no time": (change(("genesis_time",), MISSING), "genesis_time must be a time"),
    "no parameters": (change(("consensus_params",), MISSING), "consensus_params must be an object"),
    "before 1970": (change(("genesis_time",), "1969-12-31T23:59:59Z"), "genesis_time must lie after 1970"),
    "a later height": (change(("initial_height",), "2"), "initial_height must be 1"),
    "large blocks": (change((*BLOCK, "max_bytes"), "1048577"), "block.max_bytes must lie from"),
    "old evidence": (change((*EVIDENCE, "max_age_num_blocks"), str(2**40)), "unbonding_blocks must exceed"),
    "other keys": (change(KEY_TYPES, ["secp256k1"]), "pub_key_types must contain ed25519"),
    "another power": (change((*VALIDATOR, "power"), "1"), "differ in keys or powers"),
    "no validators": (change(("validators",), []), "differ in keys or powers"),
    "no application": (change(("app_state",), MISSING), "no app_state"),
    "one field twice": (make_genesis().replace(b'"chain_id"', b'"chain_id": "", "chain_id"'), "given twice"),
    "one validator twice": (change(("validators",), [_FIRST, _FIRST]), "this key is listed twice"),
}
"""What CometBFT takes from the file, and then refuses together with the application, or what nodes take differently."""
GOOD: Final[Mapping[str, bytes]] = {
    "as it is made": make_genesis(),
    "no initial height": change(("initial_height",), MISSING),
    "no address": change((*VALIDATOR, "address"), MISSING),
    "no name": change((*VALIDATOR, "name"), MISSING),
    "address in small letters": change((*VALIDATOR, "address"), _FIRST["address"].lower()),
    "no extensions": change(("consensus_params", "abci"), {}),
    "nothing of extensions": change(("consensus_params", "abci"), MISSING),
    "null as version": change(("consensus_params", "version"), None),
    "gas": change((*BLOCK, "max_gas"), "5"),
    "further fields": change(("comment",), {"by": ["us"]}),
    "exact time": change(("genesis_time",), "2026-01-31T12:00:00.123456789Z"),
}
