"""Writes docs/vectors.json: `python -m tests.vectors.generate`. A test says when it has to be run."""

import json
from pathlib import Path
from typing import Any, Final

from mnemonic import Mnemonic

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.context import BlockContext
from abci_app.protocol.genesis_json import render_genesis, sort_genesis
from abci_app.protocol.hashing import (
    compute_model_commitment,
    compute_seat_draw,
    compute_tx_hash,
    compute_vote_commitment,
    compute_work,
    get_key_proof_bytes,
    get_tx_sign_bytes,
    join,
)
from abci_app.protocol.jsonform import message_to_json
from abci_app.protocol.mempool import CheckState, check_tx
from abci_app.protocol.proposal import find_fault
from abci_app.protocol.transaction import TxCache, parse
from learningchain.wallet import SecretKey
from tests.support.chain import CHAIN_ID, GENESIS_MS, Chain
from tests.support.market import SALT
from tests.support.wallets import Wallet
from tests.vectors.proofs import describe_proofs
from tests.vectors.refusals import play_refusals
from tests.vectors.scenario import TOO_LARGE, RecordedBlock, RecordedMarket, list_seats, play
from worker.models.uploads import UploadClaim, make_signer

PATH: Final = Path(__file__).parents[2] / "docs" / "vectors.json"
MEMPOOL_SIZE: Final = 4
_ABOUT: Final = [
    "Test vectors of LearningChain, protocol version 1. Bytes are lower-case hex, numbers of 64 bits decimal text.",
    "keys: a seed, its Ed25519 public key, the account's address, and the 24 backup words.",
    "join: length-prefixed concatenation. A part is bytes, or an integer as 8 bytes big-endian two's complement.",
    "chain: the tag of a chain from its id and its genesis in canonical protobuf encoding.",
    "uploads: the claim with which a candidate brings its model to the relay with this endpoint, and its headers.",
    "transactions: every message layer by layer, nonce and expiry in the body; all but the two of validators succeed.",
    "scenario: blocks to replay from that genesis. code 0 is success, others are named; app_hash is after the block.",
    "refusals: another chain to replay; with scenario, proposals and mempool every error number happens.",
    "proposals and mempool: the two errors that no block can show.",
    "proofs: what abci_query shows of a key against an app hash; value null is absence. refused ones do not hold.",
]


def generate() -> dict[str, Any]:
    """Return all vectors."""
    market, refusals = play(), play_refusals()
    return {
        "about": _ABOUT,
        "keys": [_describe_key(name) for name in ("carl", "dave", "worker0", "worker1", "work key")],
        "join": _list_joins(),
        "chain": _describe_chain(market),
        "registration": _list_work(market),
        "key_proofs": _list_key_proofs(market),
        "commitments": _list_commitments(market),
        "uploads": _list_uploads(market),
        "seat_draws": _list_draws(market),
        "committee": _describe_committee(market),
        "transactions": _list_transactions(market),
        "scenario": [_describe_block(entry) for entry in market.recorded],
        "refusals": {
            "chain": _describe_chain(refusals),
            "blocks": [_describe_block(entry) for entry in refusals.recorded],
        },
        "proposals": _list_proposals(),
        "mempool": _describe_mempool(),
        "proofs": describe_proofs(market.committed.records),
    }


def render(vectors: dict[str, Any]) -> str:
    """Return the file's text."""
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def _describe_chain(market: RecordedMarket) -> dict[str, Any]:
    return {
        "chain_id": CHAIN_ID,
        "genesis_time_ms": str(GENESIS_MS),
        "genesis": json.loads(render_genesis(market.genesis)),
        "genesis_encoding": sort_genesis(market.genesis).SerializeToString(deterministic=True).hex(),
        "chain_tag": market.tag.hex(),
    }


def _describe_key(name: str) -> dict[str, str]:
    key = SecretKey(Wallet(name).seed)
    return {
        "seed": key.get_seed().hex(),
        "public_key": key.public_key.hex(),
        "address": key.address.hex(),
        "address_text": encode_address(key.address),
        "words": str(Mnemonic("english").to_mnemonic(key.get_seed())),
    }


def _list_joins() -> list[dict[str, Any]]:
    cases: list[tuple[str, list[bytes | int]]] = [
        ("chain", [b"test", b""]),
        ("tx", [bytes(8), b"body"]),
        ("numbers", [0, 1, -1, 2**63 - 1, -(2**63)]),
    ]
    return [
        {
            "purpose": purpose,
            "parts": [part.hex() if isinstance(part, bytes) else {"integer": str(part)} for part in parts],
            "bytes": join(purpose, *parts).hex(),
        }
        for purpose, parts in cases
    ]


def _list_work(market: RecordedMarket) -> list[dict[str, str]]:
    key = market.wallet("dave").public_key
    solutions = [bytes(8), b"\x01", (12345).to_bytes(8, "big"), b"\xff" * 32]
    return [
        {
            "chain_tag": market.tag.hex(),
            "public_key": key.hex(),
            "solution": solution.hex(),
            "work": compute_work(market.tag, key, solution).hex(),
        }
        for solution in solutions
    ]


def _list_key_proofs(market: RecordedMarket) -> list[dict[str, str]]:
    key, account = SecretKey(Wallet("work key").seed), market.address("worker0")
    message = get_key_proof_bytes(market.tag, account)
    return [
        {
            "seed": key.get_seed().hex(),
            "chain_tag": market.tag.hex(),
            "account": account.hex(),
            "sign_bytes": message.hex(),
            "proof": key.sign(message).hex(),
        }
    ]


def _list_commitments(market: RecordedMarket) -> list[dict[str, Any]]:
    account, digest, receipt = market.address("worker0"), b"d" * 32, b"r" * 32
    found: list[dict[str, Any]] = [
        {
            "kind": "model",
            "chain_tag": market.tag.hex(),
            "job_id": "7",
            "account": account.hex(),
            "model_digest": digest.hex(),
            "salt": SALT.hex(),
            "commitment": compute_model_commitment(market.tag, 7, account, digest, SALT).hex(),
        }
    ]
    for finding, loss, proof in ((1, -5, receipt), (1, 2**63 - 1, b""), (2, 0, b""), (3, 0, b""), (4, 0, b"")):
        commitment = compute_vote_commitment(market.tag, 7, 1, account, finding, loss, proof, SALT)
        found.append(
            {
                "kind": "vote",
                "chain_tag": market.tag.hex(),
                "job_id": "7",
                "round": "1",
                "account": account.hex(),
                "finding": finding,
                "loss": str(loss),
                "receipt": proof.hex(),
                "salt": SALT.hex(),
                "commitment": commitment.hex(),
            }
        )
    return found


def _list_uploads(market: RecordedMarket) -> list[dict[str, Any]]:
    key, relay = SecretKey(Wallet("worker0").seed), "http://relay.example:26680"
    unsigned = UploadClaim(7, key.address, key.public_key, b"d" * 32, 1_000, SALT)
    claim = make_signer(unsigned, key, market.tag)(relay)
    return [
        {
            "seed": key.get_seed().hex(),
            "chain_tag": market.tag.hex(),
            "job_id": "7",
            "account": claim.account.hex(),
            "model_digest": claim.digest.hex(),
            "size": str(claim.size),
            "salt": claim.salt.hex(),
            "relay": relay,
            "sign_bytes": claim.get_sign_bytes(market.tag, relay).hex(),
            "headers": claim.to_headers(),
        }
    ]


def _list_draws(market: RecordedMarket) -> list[dict[str, str]]:
    return [
        {
            "chain_tag": market.tag.hex(),
            "job_id": "7",
            "round": str(number),
            "seat": str(seat),
            "opening_hash": (b"o" * 32).hex(),
            "salt": SALT.hex(),
            "h": str(compute_seat_draw(market.tag, 7, number, seat, b"o" * 32, SALT)),
        }
        for number in (0, 3)
        for seat in (0, 1, 14)
    ]


def _describe_committee(market: RecordedMarket) -> dict[str, Any]:
    """The committee of job 2 of the scenario: everything it is drawn from, and who got how many seats."""
    job, turn, table = market.job_two, market.round_two, market.table_two
    return {
        "chain_tag": market.tag.hex(),
        "job_id": str(job.id),
        "round": str(turn.number),
        "seats": str(market.params.committee_seats),
        "opening_hash": job.opening_hash.hex(),
        "salt": turn.salt.hex(),
        "job_class": str(job.terms.job_class),
        "excluded": sorted({job.contractor.hex(), *(account.hex() for account in job.excluded)}),
        "table": [
            {"account": entry.account.hex(), "bond": str(entry.bond), "highest_class": str(entry.highest_class)}
            for entry in table.entries
        ],
        "drawable_bond": str(turn.drawable_bond),
        "seated": {account: str(seats) for account, seats in list_seats(turn).items()},
    }


def _list_transactions(market: RecordedMarket) -> list[dict[str, Any]]:
    """The first success of every message in the scenario; of those that this version does not carry out, the first."""
    found: dict[str, dict[str, Any]] = {}
    for entry in market.recorded:
        for tx, code in zip(entry.block.txs, entry.codes, strict=True):
            if code in (0, errors.NotSupported.code):
                parsed = parse(tx)
                found.setdefault(parsed.kind, _describe_transaction(market, tx))
    return list(found.values())


def _describe_transaction(market: RecordedMarket, tx: bytes) -> dict[str, Any]:
    signed = tx_pb2.SignedTx.FromString(tx)
    body = tx_pb2.TxBody.FromString(signed.body_bytes)
    return {
        "body": message_to_json(body),
        "body_bytes": signed.body_bytes.hex(),
        "sign_bytes": get_tx_sign_bytes(market.tag, signed.body_bytes).hex(),
        "seed": market.find_seed(signed.public_key).hex(),
        "public_key": signed.public_key.hex(),
        "signature": signed.signature.hex(),
        "tx": tx.hex(),
        "tx_hash": compute_tx_hash(tx).hex(),
    }


def _describe_block(entry: RecordedBlock) -> dict[str, Any]:
    return {
        "height": str(entry.block.height),
        "time_ms": str(entry.block.time_ms),
        "block_hash": entry.block.block_hash.hex(),
        "proposer_address": entry.block.proposer_address.hex(),
        "signed": [address.hex() for address in entry.block.signed],
        "missed": [address.hex() for address in entry.block.missed],
        "txs": [
            {"note": note, "tx": describe_bytes(tx), "code": code, "name": name_of(code)}
            for note, tx, code in zip(entry.notes, entry.block.txs, entry.codes, strict=True)
        ],
        "app_hash": entry.app_hash.hex(),
    }


def describe_bytes(tx: bytes) -> Any:
    """Return hex, or for the one transaction that is too large what it is made of."""
    return {"zero_bytes": len(tx)} if tx == TOO_LARGE else tx.hex()


def name_of(code: int) -> str:
    """Return the stable name of a code."""
    return "ok" if code == 0 else errors.REASONS[code].name


def _list_proposals() -> list[dict[str, Any]]:
    chain = Chain()
    chain.block()
    tx = chain.sign("alice", tx_pb2.Unjail())
    context = BlockContext(chain.tag, chain.params, chain.height + 1, chain.time_ms)
    out = []
    for txs in ([tx], [tx, tx]):
        fault = find_fault(context, TxCache(), txs)
        code = 0 if fault is None else fault.code
        fields = {"chain_tag": chain.tag.hex(), "height": str(context.height), "txs": [entry.hex() for entry in txs]}
        out.append({**fields, "code": code, "name": name_of(code)})
    return out


def _describe_mempool() -> dict[str, Any]:
    """Two accounts without credits, in a mempool with one place for such accounts."""
    chain = Chain()
    chain.block([chain.sign_register("poor"), chain.sign_register("pauper")])
    context = BlockContext(chain.tag, chain.params, chain.height + 1, chain.time_ms)
    check, cache = CheckState(chain.committed, context, MEMPOOL_SIZE), TxCache()
    txs = [chain.sign(name, tx_pb2.SetProfile(name=name)) for name in ("poor", "pauper")]
    codes = []
    for tx in txs:
        try:
            check_tx(check, cache, tx)
            codes.append(0)
        except errors.TxError as error:
            codes.append(error.code)
    entries = [{"tx": tx.hex(), "code": code, "name": name_of(code)} for tx, code in zip(txs, codes, strict=True)]
    return {"mempool_size": MEMPOOL_SIZE, "accounts_below_one_credit": 2, "txs": entries}


if __name__ == "__main__":
    PATH.write_text(render(generate()), encoding="utf-8")
