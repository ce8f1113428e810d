"""The state a chain starts with: checked, tagged, and turned into records."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.genesis_json import BadGenesis, sort_genesis
from abci_app.protocol.hashing import compute_address, compute_chain_tag
from abci_app.protocol.limits import KEY_BYTES, MAX_INT64, MAX_TX_BYTES
from abci_app.protocol.params import BadParams, check_params
from abci_app.protocol.quota import get_full_bucket
from abci_app.protocol.state import BlockState, EmptyState

MAX_CHAIN_ID_BYTES = 50
"""CometBFT's own bound (types/genesis.go)."""
MAX_BLOCK_BYTES = 1024 * 1024
BLOCK_FRAME_BYTES = 731
"""What CometBFT sets aside in a block for framing, header and the commit's own fields (types/block.go)."""
COMMIT_SIGNATURE_BYTES = 111
"""What it sets aside for the signature of each validator."""
TX_FRAME_BYTES = 8
"""What a block needs for a transaction besides its bytes."""
MAX_EVIDENCE_BYTES = 64 * 1024
EVIDENCE_DELAY_BLOCKS = 2
"""Blocks for which a validator that leaves the set may still sign."""
KEY_TYPE = "ed25519"


@dataclass(frozen=True, slots=True)
class ConsensusLimits:
    """What CometBFT's consensus parameters say about blocks, evidence and keys: bytes, bytes, blocks, ms, names."""

    block_max_bytes: int
    evidence_max_bytes: int
    evidence_max_age_blocks: int
    evidence_max_age_ms: int
    key_types: tuple[str, ...] = (KEY_TYPE,)


def check_genesis(genesis: pb.Genesis) -> None:
    """Raise BadGenesis unless the genesis gives a chain that can run."""
    try:
        check_params(genesis.params)
    except BadParams as error:
        raise BadGenesis(f"params: {error}") from None
    accounts = _check_accounts(genesis)
    if compute_supply(genesis) > MAX_INT64:
        raise BadGenesis("accounts: the supply exceeds 2^63-1 ucredit")
    if compute_supply(genesis) // genesis.params.power_unit >= 2**59:  # a kept validator's credits may be bonded twice
        raise BadGenesis("params.power_unit: supply / power_unit must be below 2^59, half of CometBFT's bound on power")
    _check_validators(genesis, accounts)


def check_consensus_limits(params: pb.Params, limits: ConsensusLimits) -> None:
    """Raise BadGenesis unless CometBFT's consensus parameters fit the chain's."""
    if not 0 <= limits.evidence_max_bytes <= MAX_EVIDENCE_BYTES:
        raise BadGenesis(f"consensus_params.evidence.max_bytes must lie from 0 to {MAX_EVIDENCE_BYTES}")
    least = compute_least_block_bytes(params, limits.evidence_max_bytes)
    if not least <= limits.block_max_bytes <= MAX_BLOCK_BYTES:
        raise BadGenesis(f"consensus_params.block.max_bytes must lie from {least} to {MAX_BLOCK_BYTES}")
    if limits.evidence_max_age_blocks + EVIDENCE_DELAY_BLOCKS > params.unbonding_blocks:
        raise BadGenesis("params.unbonding_blocks must exceed evidence.max_age_num_blocks by 2 or more")
    if limits.evidence_max_age_ms >= params.unbonding_ms:
        raise BadGenesis("params.unbonding_ms must exceed evidence.max_age_duration")
    if KEY_TYPE not in limits.key_types:
        raise BadGenesis(f"consensus_params.validator.pub_key_types must contain {KEY_TYPE}: validators have such keys")


def compute_least_block_bytes(params: pb.Params, evidence_max_bytes: int) -> int:
    """Return the block size with which a full set, full evidence and the largest transaction fit into one block.

    CometBFT panics where a proposal has no room left, and what never fits into a block never happens.
    """
    signatures = COMMIT_SIGNATURE_BYTES * (params.max_validators + 1)  # one more may be kept
    return BLOCK_FRAME_BYTES + signatures + evidence_max_bytes + MAX_TX_BYTES + TX_FRAME_BYTES


def check_validator_list(genesis: pb.Genesis, given: Mapping[bytes, int]) -> None:
    """Raise BadGenesis unless `given` (consensus key to power, from InitChain) equals the genesis validators."""
    if {validator.consensus_key: validator.power for validator in genesis.validators} != given:
        raise BadGenesis("validators: the list of the genesis file and that of app_state differ in keys or powers")


def compute_supply(genesis: pb.Genesis) -> int:
    """Return the sum of balances and bonds in ucredit."""
    return sum(account.balance + account.bond for account in genesis.accounts)


def compute_genesis_tag(chain_id: str, genesis: pb.Genesis) -> bytes:
    """Return the chain tag: it does not depend on how the JSON was written."""
    try:
        size = len(chain_id.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadGenesis("chain_id is not text in UTF-8") from None
    if not 1 <= size <= MAX_CHAIN_ID_BYTES:
        raise BadGenesis(f"chain_id has 1 to {MAX_CHAIN_ID_BYTES} bytes")
    return compute_chain_tag(chain_id, sort_genesis(genesis).SerializeToString(deterministic=True))


def build_genesis_state(genesis: pb.Genesis, time_ms: int) -> BlockState:
    """Return the overlay over nothing that holds all records of a checked genesis; `time_ms` is the genesis time.

    Raises BadGenesis for a time at which no chain begins.
    """
    if time_ms < 1:
        raise BadGenesis("genesis_time must lie after 1970-01-01")
    state = BlockState(EmptyState())
    supply = compute_supply(genesis)
    bonds = sum(account.bond for account in genesis.accounts)
    records: dict[bytes, Message | None] = {
        keys.PARAMS: genesis.params,
        keys.SUPPLY: pb.Supply(genesis=supply, balances=supply - bonds, bonds=bonds),
        keys.COUNTERS: pb.Counters(next_job_id=1),
    }
    for account in genesis.accounts:
        address = compute_address(account.public_key)
        records[keys.account(address)] = _build_account(account, genesis.params, time_ms)
        records[keys.standing(address)] = pb.Standing(silent_since_ms=time_ms)
    for validator in genesis.validators:
        records[keys.validator(validator.consensus_key)] = pb.Validator(
            operator=validator.operator, power=validator.power
        )
    state.absorb(records)
    return state


def _build_account(account: pb.GenesisAccount, params: pb.Params, time_ms: int) -> pb.Account:
    key = pb.Key(public_key=account.public_key, scope=tx_pb2.KEY_SCOPE_OWNER)
    record = pb.Account(
        keys=[key], balance=account.balance, bond=account.bond, checker=account.checker, bucket_ms=time_ms
    )
    record.bucket_units = get_full_bucket(record, params)
    return record


def _check_accounts(genesis: pb.Genesis) -> dict[bytes, pb.GenesisAccount]:
    accounts: dict[bytes, pb.GenesisAccount] = {}
    for number, account in enumerate(genesis.accounts):
        if len(account.public_key) != KEY_BYTES:
            raise BadGenesis(f"accounts[{number}]: a public key has 32 bytes")
        address = compute_address(account.public_key)
        if address in accounts:
            raise BadGenesis(f"accounts[{number}]: this public key is listed twice")
        if max(account.balance, account.bond) > MAX_INT64:
            raise BadGenesis(f"accounts[{number}]: an amount exceeds 2^63-1")
        if account.checker > len(genesis.params.classes):
            raise BadGenesis(f"accounts[{number}]: checker is 0 or a class of params plus 1")
        accounts[address] = account
    return accounts


def _check_validators(genesis: pb.Genesis, accounts: Mapping[bytes, pb.GenesisAccount]) -> None:
    params = genesis.params
    if not 1 <= len(genesis.validators) <= params.max_validators:
        raise BadGenesis("validators: there must be 1 to max_validators of them")
    operators: set[bytes] = set()
    consensus_keys: set[bytes] = set()
    for number, validator in enumerate(genesis.validators):
        where = f"validators[{number}]"
        account = accounts.get(validator.operator)
        if len(validator.consensus_key) != KEY_BYTES or validator.consensus_key in consensus_keys:
            raise BadGenesis(f"{where}: a consensus key has 32 bytes and is listed once")
        if account is None or validator.operator in operators:
            raise BadGenesis(f"{where}: the operator is an account of this genesis and runs one validator")
        if account.bond < params.min_validator_bond:
            raise BadGenesis(f"{where}: the operator's bond is below min_validator_bond")
        if validator.power != account.bond // params.power_unit:
            raise BadGenesis(f"{where}: power must be bond / power_unit = {account.bond // params.power_unit}")
        operators.add(validator.operator)
        consensus_keys.add(validator.consensus_key)
