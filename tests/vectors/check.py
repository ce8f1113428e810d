"""Checks docs/vectors.json with as little of the project as possible: hashes, joins, keys and the seat draw are written
here a second time from docs/protocol.md; only encodings and the replay of blocks use the project's own code.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bech32 import bech32_encode, convertbits
from mnemonic import Mnemonic
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.block import Block, process_block
from abci_app.protocol.context import BlockContext
from abci_app.protocol.genesis import build_genesis_state
from abci_app.protocol.genesis_json import parse_genesis
from abci_app.protocol.jsonform import message_from_json
from abci_app.protocol.proposal import find_fault
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache, parse
from abci_app.protocol.tree import update_state
from tests.support.chain import DictState
from tests.vectors.check_proofs import holds

PREFIX: Final = b"learningchain/v1/"


class VectorError(AssertionError):
    """A vector does not hold."""


def check_all(vectors: Mapping[str, Any]) -> None:
    """Check everything. Raises VectorError, or ValueError where a value cannot even be read."""
    for name, check in CHECKS.items():
        check(vectors[name], vectors)


def require(condition: bool, what: str) -> None:
    """Raise VectorError unless something holds."""
    if not condition:
        raise VectorError(what)


def join(purpose: str, *parts: bytes | int) -> bytes:
    """Length-prefixed concatenation, written a second time."""
    out = b""
    for part in (PREFIX + purpose.encode(), *parts):
        data = part if isinstance(part, bytes) else (part % 2**64).to_bytes(8, "big")
        out += len(data).to_bytes(8, "big") + data
    return out


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def sign(seed: bytes, message: bytes) -> bytes:
    """An Ed25519 signature."""
    return bytes(crypto_sign(message, crypto_sign_seed_keypair(seed)[1]))[:64]


def unhex(text: Any) -> bytes:
    """Bytes of a vector."""
    if isinstance(text, dict):
        return bytes(text["zero_bytes"])
    require(isinstance(text, str) and text == text.lower(), "bytes are lower-case hex")
    return bytes.fromhex(text)


def check_keys(entries: Sequence[Mapping[str, str]], _: Mapping[str, Any]) -> None:
    """Seed, public key, address and words belong together."""
    for entry in entries:
        seed = unhex(entry["seed"])
        public_key = bytes(crypto_sign_seed_keypair(seed)[0])
        address = sha256(public_key)[:20]
        words = convertbits(list(address), 8, 5) or []
        require(public_key == unhex(entry["public_key"]), "public key")
        require(address == unhex(entry["address"]), "address")
        require(bech32_encode("lc", words) == entry["address_text"], "address as text")
        require(bytes(Mnemonic("english").to_entropy(entry["words"])) == seed, "words")


def check_joins(entries: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> None:
    """Joins are length-prefixed."""
    for entry in entries:
        parts = [int(part["integer"]) if isinstance(part, dict) else unhex(part) for part in entry["parts"]]
        require(join(entry["purpose"], *parts) == unhex(entry["bytes"]), "join")


def check_chain(entry: Mapping[str, Any], _: Mapping[str, Any]) -> None:
    """The tag follows from id and genesis, the encoding from the genesis' JSON."""
    encoding = unhex(entry["genesis_encoding"])
    genesis = parse_genesis(json_bytes(entry["genesis"]))
    require(genesis.SerializeToString(deterministic=True) == encoding, "genesis encoding")
    tag = sha256(join("chain", entry["chain_id"].encode(), encoding))[:8]
    require(tag == unhex(entry["chain_tag"]), "chain tag")
    require(entry["genesis_time_ms"].isdecimal(), "genesis time")


def json_bytes(data: object) -> bytes:
    """JSON as a node gets it."""
    return json.dumps(data).encode()


def check_work(entries: Sequence[Mapping[str, str]], _: Mapping[str, Any]) -> None:
    """The work of a Register."""
    for entry in entries:
        parts = (unhex(entry["chain_tag"]), unhex(entry["public_key"]), unhex(entry["solution"]))
        require(sha256(join("register", *parts)) == unhex(entry["work"]), "work")


def check_key_proofs(entries: Sequence[Mapping[str, str]], _: Mapping[str, Any]) -> None:
    """What a new key signs."""
    for entry in entries:
        message = join("key", unhex(entry["chain_tag"]), unhex(entry["account"]))
        require(message == unhex(entry["sign_bytes"]), "sign bytes of a key proof")
        require(sign(unhex(entry["seed"]), message) == unhex(entry["proof"]), "key proof")


def check_commitments(entries: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> None:
    """Commitments of announcements and votes."""
    for entry in entries:
        tag, job, account, salt = (
            unhex(entry["chain_tag"]),
            int(entry["job_id"]),
            unhex(entry["account"]),
            unhex(entry["salt"]),
        )
        if entry["kind"] == "model":
            expected = join("model", tag, job, account, unhex(entry["model_digest"]), salt)
        else:
            require(entry["kind"] == "vote", "kind of commitment")
            measured = (entry["finding"], int(entry["loss"]), unhex(entry["receipt"]))
            expected = join("vote", tag, job, int(entry["round"]), account, *measured, salt)
        require(sha256(expected) == unhex(entry["commitment"]), "commitment")


def check_uploads(entries: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> None:
    """What a candidate signs for one relay, and the headers of its upload."""
    for entry in entries:
        seed, job, salt, account = unhex(entry["seed"]), entry["job_id"], entry["salt"], entry["account"]
        model = (unhex(entry["model_digest"]), int(entry["size"]), unhex(salt))
        parts = (unhex(entry["chain_tag"]), int(job), unhex(account), *model, entry["relay"].encode())
        message = join("upload", *parts)
        require(message == unhex(entry["sign_bytes"]), "sign bytes of an upload")
        key, signature = bytes(crypto_sign_seed_keypair(seed)[0]).hex(), sign(seed, message).hex()
        values = {"job": job, "account": account, "key": key, "salt": salt, "signature": signature}
        require(entry["headers"] == {f"x-lc-{name}": value for name, value in values.items()}, "headers of an upload")


def draw(entry: Mapping[str, Any], seat: int) -> int:
    """h of a seat, written a second time."""
    numbers = (int(entry["job_id"]), int(entry["round"]), seat)
    return int.from_bytes(
        sha256(join("seat", unhex(entry["chain_tag"]), *numbers, unhex(entry["opening_hash"]), unhex(entry["salt"])))[
            :8
        ],
        "big",
    )


def check_draws(entries: Sequence[Mapping[str, str]], _: Mapping[str, Any]) -> None:
    """Single seat draws."""
    for entry in entries:
        require(draw(entry, int(entry["seat"])) == int(entry["h"]), "seat draw")


def check_committee(entry: Mapping[str, Any], _: Mapping[str, Any]) -> None:
    """A whole committee, drawn naively."""
    eligible = [
        (item["account"], int(item["bond"]))
        for item in entry["table"]
        if item["account"] not in entry["excluded"] and int(item["highest_class"]) >= int(entry["job_class"])
    ]
    require(all(len(unhex(item["account"])) == 20 for item in entry["table"]), "accounts of the table")
    require(all(len(unhex(account)) == 20 for account in entry["excluded"]), "excluded accounts")
    bond, seats = sum(own for _, own in eligible), int(entry["seats"])
    require(bond == int(entry["drawable_bond"]), "drawable bond")
    seated: dict[str, str] = {}
    for seat in range(seats):
        position = (seat * 2**64 + draw(entry, seat)) * bond // (seats * 2**64)
        for account, own in eligible:
            if position < own:
                seated[account] = str(int(seated.get(account, "0")) + 1)
                break
            position -= own
    require(seated == entry["seated"], "seated accounts")


def check_transactions(entries: Sequence[Mapping[str, Any]], vectors: Mapping[str, Any]) -> None:
    """Body, sign bytes, signature and hash of a success of every message."""
    tag = unhex(vectors["chain"]["chain_tag"])
    for entry in entries:
        body = message_from_json(entry["body"], tx_pb2.TxBody).SerializeToString(deterministic=True)
        require(body == unhex(entry["body_bytes"]), "body")
        require(join("tx", tag, body) == unhex(entry["sign_bytes"]), "sign bytes")
        seed = unhex(entry["seed"])
        require(bytes(crypto_sign_seed_keypair(seed)[0]) == unhex(entry["public_key"]), "public key")
        require(sign(seed, join("tx", tag, body)) == unhex(entry["signature"]), "signature")
        signed = tx_pb2.SignedTx(
            body_bytes=body, public_key=unhex(entry["public_key"]), signature=unhex(entry["signature"])
        )
        tx = signed.SerializeToString(deterministic=True)
        require(tx == unhex(entry["tx"]), "transaction")
        require(sha256(tx) == unhex(entry["tx_hash"]), "hash of a transaction")


class Replay:
    """A chain that runs given blocks, with its tree."""

    def __init__(self, chain: Mapping[str, Any]) -> None:
        self.tag = unhex(chain["chain_tag"])
        self.state = DictState()
        self.pages: dict[bytes, bytes] = {}
        self.time_ms = 0
        genesis = build_genesis_state(parse_genesis(json_bytes(chain["genesis"])), int(chain["genesis_time_ms"]))
        self.pending: dict[bytes, bytes | None] = dict(genesis.get_changed_records())
        self.state.commit(genesis)
        self.cache = TxCache()

    def get_page(self, key: bytes) -> bytes | None:
        """Let the tree read its pages from here."""
        return self.pages.get(key)

    def run(self, entry: Mapping[str, Any]) -> tuple[list[int], bytes]:
        """Return the codes and the app hash of a block."""
        block = Block(
            height=int(entry["height"]),
            time_ms=int(entry["time_ms"]),
            block_hash=unhex(entry["block_hash"]),
            proposer_address=unhex(entry["proposer_address"]),
            txs=[unhex(item["tx"]) for item in entry["txs"]],
            previous_time_ms=self.time_ms,
            signed=[unhex(address) for address in entry["signed"]],
            missed=[unhex(address) for address in entry["missed"]],
        )
        state = BlockState(self.state)
        result = process_block(state, self.tag, block, self.cache)
        update = update_state(self, {**self.pending, **state.get_changed_records()})
        self.state.commit(state)
        self.pages = {k: v for k, v in {**self.pages, **update.page_writes}.items() if v is not None}
        self.pending, self.time_ms = {}, block.time_ms
        return [found.code for found in result.tx_results], update.app_hash


def check_scenario(entries: Sequence[Mapping[str, Any]], vectors: Mapping[str, Any]) -> None:
    """Replay every block."""
    replay = Replay(vectors["chain"])
    for number, entry in enumerate(entries, 1):
        require(int(entry["height"]) == number, "height")
        codes, app_hash = replay.run(entry)
        require(codes == [item["code"] for item in entry["txs"]], f"codes of block {number}")
        require(app_hash == unhex(entry["app_hash"]), f"app hash of block {number}")
        for item in entry["txs"]:
            require(item["name"] == name_of(item["code"]), "name of a code")


def check_refusals(entry: Mapping[str, Any], _: Mapping[str, Any]) -> None:
    """Replay another chain."""
    check_chain(entry["chain"], entry)
    check_scenario(entry["blocks"], entry)


def name_of(code: int) -> str:
    """Return the stable name of a code."""
    return "ok" if code == 0 else errors.REASONS[code].name


def check_proposals(entries: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> None:
    """What ProcessProposal says to a list of transactions."""
    for entry in entries:
        context = BlockContext(unhex(entry["chain_tag"]), pb.Params(max_tx_lifetime=1000), int(entry["height"]), 0)
        fault = find_fault(context, TxCache(), [unhex(tx) for tx in entry["txs"]])
        require(entry["code"] == (0 if fault is None else fault.code), "code of a proposal")
        require(entry["name"] == name_of(entry["code"]), "name of a code")


def check_mempool(entry: Mapping[str, Any], _: Mapping[str, Any]) -> None:
    """A quarter of the mempool, rounded down, is for accounts below 1 credit; the next one is refused."""
    places = entry["mempool_size"] // 4
    require(
        entry["accounts_below_one_credit"] == len({parse(unhex(item["tx"])).account for item in entry["txs"]}),
        "accounts",
    )
    for number, item in enumerate(entry["txs"]):
        require(parse(unhex(item["tx"])).is_signature_valid(), "signature")
        require(item["code"] == (0 if number < places else errors.PoorPlacesTaken.code), "code in the mempool")
        require(item["name"] == name_of(item["code"]), "name of a code")


def check_proofs(entry: Mapping[str, Any], vectors: Mapping[str, Any]) -> None:
    """Proofs against the scenario's last app hash, and of a state with a further tree."""
    for item in entry["accepted"]:
        require(holds(item), f"proof: {item['note']}")
    require(entry["accepted"][0]["app_hash"] == vectors["scenario"][-1]["app_hash"], "app hash of the scenario")
    for item in entry["refused"]:
        require(not is_true(item), f"false proof: {item['note']}")


def is_true(item: Mapping[str, Any]) -> bool:
    """Tell whether a proof can be read and holds."""
    try:
        return holds(item)
    except ValueError:
        return False


CHECKS: Final[dict[str, Callable[[Any, Mapping[str, Any]], None]]] = {
    "keys": check_keys,
    "join": check_joins,
    "chain": check_chain,
    "registration": check_work,
    "key_proofs": check_key_proofs,
    "commitments": check_commitments,
    "uploads": check_uploads,
    "seat_draws": check_draws,
    "committee": check_committee,
    "transactions": check_transactions,
    "scenario": check_scenario,
    "refusals": check_refusals,
    "proposals": check_proposals,
    "mempool": check_mempool,
    "proofs": check_proofs,
}
