"""What CometBFT v0.38.25 and the application find in a genesis.json, said before either is started.

CometBFT reads its own part with Go's rules: names count exactly, what is missing or null is 0 or empty, numbers of 64
bits are texts, and the rest is ignored. Its verdicts are those of `types/genesis.go` and `types/params.go`, as a test
compares. Stricter here are a field that is given twice, and a missing time, which nodes would take from their clocks.
"""

import base64
import binascii
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import (
    KEY_TYPE,
    ConsensusLimits,
    build_genesis_state,
    check_consensus_limits,
    check_genesis,
    check_validator_list,
    compute_genesis_tag,
)
from abci_app.protocol.genesis_json import BadGenesis, parse_genesis, refuse_duplicates
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.limits import KEY_BYTES, MAX_INT64

_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,19}", re.ASCII)
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?Z", re.ASCII)
_KEY_TYPES: Final = (KEY_TYPE, "secp256k1")
"""Names of the kinds of keys that CometBFT knows."""
_KEY_NAME: Final = "tendermint/PubKeyEd25519"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_MS: Final = 1_000_000


def read_chain_id(genesis_file: bytes) -> str:
    """Return the chain id of a genesis.json with which a node of this software can begin. Raises BadGenesis."""
    document = _parse(genesis_file)
    chain_id = document.get("chain_id")
    if not isinstance(chain_id, str):
        raise BadGenesis("its chain_id is no text")
    if "app_state" not in document:
        raise BadGenesis("it has no app_state")
    genesis = parse_genesis(json.dumps(document["app_state"]).encode())
    check_genesis(genesis)
    compute_genesis_tag(chain_id, genesis)
    _check_first_block(document, genesis)
    check_consensus_limits(genesis.params, _read_limits(document))
    check_validator_list(genesis, _read_validators(document))
    return chain_id


def read_time(genesis_file: bytes) -> datetime:
    """Return the time of the first block, before which no node begins, in whole ms. Raises BadGenesis."""
    return _get_time(_parse(genesis_file))


def _get_time(document: dict[str, Any]) -> datetime:
    text = document.get("genesis_time")
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        if found is None:
            raise ValueError
        whole = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise BadGenesis(
            "genesis_time must be a time in UTC that ends with Z, like 2026-01-31T12:00:00Z, the same for all nodes"
        ) from None
    return whole + timedelta(milliseconds=int((found[2] or ".")[1:4].ljust(3, "0")))


def _parse(genesis_file: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            genesis_file.decode("utf-8"), object_pairs_hook=refuse_duplicates, parse_constant=_refuse_constant
        )
    except BadGenesis:
        raise
    except (ValueError, RecursionError):
        raise BadGenesis("it is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise BadGenesis("it is no JSON object")
    return document


def _refuse_constant(text: str) -> Any:
    raise BadGenesis(f"{text} is not JSON")


def _check_first_block(document: dict[str, Any], genesis: pb.Genesis) -> None:
    if _get_int(document, "initial_height", "") not in (0, 1):
        raise BadGenesis("initial_height must be 1")
    build_genesis_state(genesis, (_get_time(document) - _EPOCH) // timedelta(milliseconds=1))
    _get_hex(document, "app_hash", "")


def _read_limits(document: dict[str, Any]) -> ConsensusLimits:
    """Return what the consensus parameters say of what the application looks at; the rest is checked here."""
    where = "consensus_params"
    params = _get_object(document, where, "")
    block, evidence = _get_object(params, "block", where), _get_object(params, "evidence", where)
    validator, abci = _get_object(params, "validator", where), _get_object(params, "abci", where, {})
    age_blocks = _get_int(evidence, "max_age_num_blocks", f"{where}.evidence")
    age_ns = _get_int(evidence, "max_age_duration", f"{where}.evidence")
    if min(age_blocks, age_ns) <= 0:
        raise BadGenesis(f"{where}.evidence: max_age_num_blocks and max_age_duration (in ns) must be above 0")
    if _get_int(block, "max_gas", f"{where}.block") < -1:
        raise BadGenesis(f"{where}.block.max_gas must be -1 (no limit) or more")
    if _get_int(abci, "vote_extensions_enable_height", f"{where}.abci") < 0:
        raise BadGenesis(f"{where}.abci.vote_extensions_enable_height must be 0 (never) or more")
    if not _get_int(_get_object(params, "version", where, {}), "app", f"{where}.version", 2**64 - 1) >= 0:
        raise BadGenesis(f"{where}.version.app must be 0 or more")
    return ConsensusLimits(
        block_max_bytes=_get_int(block, "max_bytes", f"{where}.block"),
        evidence_max_bytes=_get_int(evidence, "max_bytes", f"{where}.evidence"),
        evidence_max_age_blocks=age_blocks,
        evidence_max_age_ms=-(-age_ns // _NS_PER_MS),
        key_types=_read_key_types(validator),
    )


def _read_key_types(validator: dict[str, Any]) -> tuple[str, ...]:
    found = validator.get("pub_key_types")
    if not isinstance(found, list) or not found or not all(name in _KEY_TYPES for name in found):
        raise BadGenesis(f"consensus_params.validator.pub_key_types must be a list of {' or '.join(_KEY_TYPES)}")
    return tuple(found)


def _read_validators(document: dict[str, Any]) -> dict[bytes, int]:
    """Return consensus key to power."""
    entries = document.get("validators")
    if not isinstance(entries, list):
        raise BadGenesis("validators must be a list")
    powers: dict[bytes, int] = {}
    for number, entry in enumerate(entries):
        where = f"validators[{number}]"
        if not isinstance(entry, dict):
            raise BadGenesis(f"{where} must be an object")
        key = _read_key(_get_object(entry, "pub_key", where), f"{where}.pub_key")
        if key in powers:
            raise BadGenesis(f"{where}: this key is listed twice")
        address = _get_hex(entry, "address", where)
        if address and address != compute_consensus_address(key):
            raise BadGenesis(f"{where}.address is not that of its pub_key: leave it out, or correct one of them")
        if not isinstance(entry.get("name"), str | None):
            raise BadGenesis(f"{where}.name must be text")
        powers[key] = _get_int(entry, "power", where)
    return powers


def _read_key(pub_key: dict[str, Any], where: str) -> bytes:
    try:
        key = base64.b64decode(str(pub_key.get("value")), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if pub_key.get("type") != _KEY_NAME or len(key) != KEY_BYTES:
        raise BadGenesis(f"{where} must have the type {_KEY_NAME} and a value of {KEY_BYTES} bytes in base64")
    return key


def _get_object(holder: dict[str, Any], name: str, where: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an object, `default` if it is missing. Raises BadGenesis for what is none."""
    value = holder.get(name)
    if value is None:
        value = default
    if not isinstance(value, dict):
        raise BadGenesis(f"{_join(where, name)} must be an object")
    return value


def _get_int(holder: dict[str, Any], name: str, where: str, largest: int = MAX_INT64) -> int:
    """Return a whole number, 0 if it is missing. Raises BadGenesis unless it is written as text."""
    value = holder.get(name)
    if value is None:
        return 0
    if not isinstance(value, str) or not _WHOLE.fullmatch(value) or not -MAX_INT64 - 1 <= int(value) <= largest:
        raise BadGenesis(f'{_join(where, name)} must be a whole number of 64 bits in quotes, like "1"')
    return int(value)


def _get_hex(holder: dict[str, Any], name: str, where: str) -> bytes:
    value = holder.get(name)
    try:
        return b"" if value is None else binascii.unhexlify(value)
    except (ValueError, TypeError):
        raise BadGenesis(f"{_join(where, name)} must be text in hexadecimal") from None


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
