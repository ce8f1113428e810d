from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from tests.support.chain import Chain


def test_invalid_not_supported() -> None:
    chain = Chain()
    assert chain.send("val0", tx_pb2.RetireValidator()).code == errors.NotSupported.code
    assert chain.validator_power("val0") == 1_000
