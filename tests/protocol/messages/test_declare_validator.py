from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from tests.support.chain import Chain, consensus_key


def test_invalid_not_supported() -> None:
    chain = Chain()
    message = tx_pb2.DeclareValidator(consensus_key=consensus_key("alice"), proof=bytes(64))
    assert chain.send("alice", message).code == errors.NotSupported.code
    assert chain.last.validator_updates == []
