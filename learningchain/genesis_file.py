"""CometBFT's genesis file around the chain's genesis state."""

import base64
import json
from datetime import UTC, datetime

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import check_genesis, compute_genesis_tag
from abci_app.protocol.genesis_json import render_genesis
from abci_app.protocol.hashing import compute_consensus_address
from learningchain.cometbft_config import build_consensus_params


def build_genesis_file(chain_id: str, genesis: pb.Genesis, set_name: str, time: datetime) -> bytes:
    """Return genesis.json, the same for all nodes of the chain. Raises BadGenesis (a ValueError) with a reason.

    `time` is the time of the first block; `set_name` fixes the consensus parameters.
    """
    check_genesis(genesis)
    compute_genesis_tag(chain_id, genesis)  # checks the chain id
    document = {
        "genesis_time": time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "chain_id": chain_id,
        "initial_height": "1",
        "consensus_params": build_consensus_params(set_name, genesis.params),
        "validators": [_build_validator(validator) for validator in genesis.validators],
        "app_hash": "",
        "app_state": json.loads(render_genesis(genesis)),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _build_validator(validator: pb.GenesisValidator) -> dict[str, object]:
    return {
        "address": compute_consensus_address(validator.consensus_key).hex().upper(),
        "pub_key": {
            "type": "tendermint/PubKeyEd25519",
            "value": base64.b64encode(validator.consensus_key).decode(),
        },
        "power": str(validator.power),
        "name": "",
    }
