"""Checking that a record belongs to the state whose app hash a block header names."""

from abci_app.pb.tendermint.crypto import proof_pb2
from abci_app.protocol import proof
from learningchain.client.errors import BadAnswer
from learningchain.client.transport import QueryAnswer


def check_record_proof(app_hash: bytes, store: str, key: bytes, answer: QueryAnswer) -> bytes | None:
    """Return the proved value under a state key, None if its absence is proved. Raises BadAnswer otherwise."""
    ops = proof_pb2.ProofOps()
    for op in answer.proof:
        kind = op.type.encode(errors="replace").decode()  # JSON can hold half a surrogate pair, which is no text
        ops.ops.add(type=kind, key=op.key, data=op.data)
    try:
        if answer.value:
            proof.check_value(app_hash, key, answer.value, ops)
            return answer.value
        proof.check_absence(app_hash, key, ops)
    except proof.ProofError as error:
        raise BadAnswer(f"the proof of a record in {store} does not hold: {error}") from None
    return None
