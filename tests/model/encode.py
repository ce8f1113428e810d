"""Real signed bytes of the model's transactions, for the core."""

from typing import Any

from nacl.signing import SigningKey

from abci_app.pb.learningchain.v1 import tx_pb2
from tests.model.hashes import joined
from tests.model.model import Tx

JUNK_FIELD = b"\xf8\x07\x01"
"""Field 127 as a varint: unknown, so the bytes are no longer their own re-encoding."""


def make_key(number: int) -> SigningKey:
    """Return one of the test's keys."""
    return SigningKey(number.to_bytes(32, "big"))


def encode_message(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword argument that sets a TxBody's message."""
    known = dict(fields)
    for name in ("work_bits", "key_ok", "proof_ok"):
        known.pop(name, None)
    if "needs" in known:
        known["needs"] = tx_pb2.TrainingNeeds(**known["needs"])
    message_type = "".join(word.capitalize() for word in kind.split("_"))
    return {kind: getattr(tx_pb2, message_type)(**known)}


def encode(tx: Tx, key: SigningKey) -> bytes:
    """Return the transaction in bytes; `defect` and `signature_ok` say what is to be wrong with them."""
    body = tx_pb2.TxBody(
        chain_tag=tx["chain_tag"],
        account=tx["account"],
        nonce=tx["nonce"],
        expires_at_height=tx["expires_at_height"],
        **encode_message(tx["kind"], tx["message"]),
    ).SerializeToString(deterministic=True)
    if tx["defect"] == "undecodable":
        body = body[:-1] + b"\x0a\xff"
    if tx["defect"] == "not_canonical":
        body += JUNK_FIELD
    signature = key.sign(joined("tx", tx["chain_tag"], body)).signature
    if not tx["signature_ok"]:
        signature = signature[:32] + bytes(32)
    if tx["defect"] == "bad_field_length":
        signature += b"\x00"
    if tx["defect"] == "too_large":
        signature += bytes(16 * 1024)
    signed = tx_pb2.SignedTx(body_bytes=body, public_key=tx["public_key"], signature=signature)
    return signed.SerializeToString(deterministic=True)
