from abci_app.pb.tendermint.crypto import proof_pb2 as _proof_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AbsenceOp(_message.Message):
    __slots__ = ("witness_key", "witness_value_hash", "proof")
    WITNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    WITNESS_VALUE_HASH_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    witness_key: bytes
    witness_value_hash: bytes
    proof: _proof_pb2.Proof
    def __init__(self, witness_key: _Optional[bytes] = ..., witness_value_hash: _Optional[bytes] = ..., proof: _Optional[_Union[_proof_pb2.Proof, _Mapping]] = ...) -> None: ...
