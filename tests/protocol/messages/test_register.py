import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, keys
from abci_app.protocol.hashing import compute_address, compute_work, count_leading_zero_bits
from abci_app.protocol.limits import REGISTRATION_PERIOD_MS, UCREDIT
from abci_app.protocol.registration import get_required_bits
from tests.support.chain import BLOCK_MS, Chain, search_solution
from tests.support.wallets import Wallet


@pytest.fixture
def chain() -> Chain:
    return Chain()


def code_of(chain: Chain, tx: bytes) -> int:
    """Run one transaction that must change nothing, and return its code."""
    chain.block()
    before = chain.hash()
    code = chain.block([tx]).tx_results[0].code
    assert chain.hash() == before
    return code


def search_bad_solution(chain: Chain, public_key: bytes, bits: int) -> bytes:
    """Return a solution with exactly `bits` zero bits."""
    for number in range(100_000):
        solution = number.to_bytes(8, "big")
        if count_leading_zero_bits(compute_work(chain.tag, public_key, solution)) == bits:
            return solution
    raise AssertionError("unlikely")


def test_a_register_creates_an_empty_account_with_an_owner_key_and_a_full_poor_bucket(chain: Chain) -> None:
    wallet = chain.register("dave")
    account = chain.account("dave")
    assert wallet.address == compute_address(wallet.public_key)
    assert (account.balance, account.bond, account.bucket_ms) == (0, 0, chain.time_ms)
    assert account.bucket_units == chain.params.poor_burst * 60_000
    assert [(key.public_key, key.scope, key.nonce) for key in account.keys] == [
        (wallet.public_key, tx_pb2.KEY_SCOPE_OWNER, 0)
    ]
    assert chain.standing("dave").silent_since_ms == chain.time_ms
    assert [event.type for event in chain.last.tx_results[0].events] == ["account.registered"]


def test_the_first_nonce_of_a_new_account_is_1_and_waits_for_the_next_block(chain: Chain) -> None:
    register = chain.sign_register("dave")
    profile = chain.sign("dave", tx_pb2.SetProfile(name="Dave"), nonce=1)
    assert [r.code for r in chain.block([register, profile]).tx_results] == [0, errors.FreshAccount.code]
    assert chain.block([profile]).tx_results[0].code == 0


def test_a_new_account_can_receive_credits_in_its_own_block(chain: Chain) -> None:
    register = chain.sign_register("dave")
    gift = chain.sign("alice", tx_pb2.Transfer(to=chain.address("dave"), amount=UCREDIT))
    assert [r.code for r in chain.block([register, gift]).tx_results] == [0, 0]
    assert chain.balance("dave") == UCREDIT


def test_invalid_work_too_small(chain: Chain) -> None:
    wallet = chain.wallet("dave")
    solution = search_bad_solution(chain, wallet.public_key, chain.required_bits() - 1)
    assert code_of(chain, chain.sign_register("dave", solution)) == errors.WorkTooSmall.code


def test_invalid_already_registered(chain: Chain) -> None:
    assert code_of(chain, chain.sign_register("alice")) == errors.AlreadyRegistered.code


def test_invalid_already_registered_for_a_key_that_another_account_added(chain: Chain) -> None:
    wallet = Wallet("second")
    proof = wallet.prove_for(chain.tag, chain.address("alice"))
    message = tx_pb2.SetKey(public_key=wallet.public_key, scope=tx_pb2.KEY_SCOPE_WORK, proof=proof)
    chain.must("alice", message)
    chain.must("alice", tx_pb2.SetKey(public_key=wallet.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED))
    assert code_of(chain, chain.sign_register("second")) == errors.AlreadyRegistered.code


def test_invalid_already_registered_twice_in_a_block(chain: Chain) -> None:
    first, second = (
        chain.sign_register("dave"),
        chain.sign_register(
            "dave", search_solution(chain.tag, chain.wallet("dave").public_key, chain.required_bits() + 3)
        ),
    )
    assert [r.code for r in chain.block([first, second]).tx_results] == [0, errors.AlreadyRegistered.code]


def test_invalid_registrations_full(chain: Chain) -> None:
    txs = [chain.sign_register(f"new{number}") for number in range(chain.params.max_registrations_per_block + 1)]
    codes = [r.code for r in chain.block(txs).tx_results]
    assert codes == [0] * chain.params.max_registrations_per_block + [errors.RegistrationsFull.code]
    assert chain.block([txs[-1]]).tx_results[0].code == 0


def test_a_failed_register_takes_no_place_of_the_cap(chain: Chain) -> None:
    full = chain.params.max_registrations_per_block
    bad = [chain.sign_register("alice"), chain.sign_register("bob")]
    good = [chain.sign_register(f"new{number}") for number in range(full)]
    assert [r.code for r in chain.block([*bad, *good]).tx_results[2:]] == [0] * full


def test_invalid_register_nonce(chain: Chain) -> None:
    solution = search_solution(chain.tag, chain.wallet("dave").public_key, chain.required_bits())
    tx = chain.sign("dave", tx_pb2.Register(solution=solution), nonce=1)
    assert code_of(chain, tx) == errors.RegisterNonce.code


def test_invalid_register_address(chain: Chain) -> None:
    wallet = Wallet("dave", owner=b"x" * 20)
    solution = search_solution(chain.tag, wallet.public_key, chain.required_bits())
    tx = chain.sign(wallet, tx_pb2.Register(solution=solution), nonce=0)
    assert code_of(chain, tx) == errors.RegisterAddress.code


@pytest.mark.parametrize("length", [0, 33])
def test_invalid_bad_solution(chain: Chain, length: int) -> None:
    assert code_of(chain, chain.sign_register("dave", b"x" * length)) == errors.BadSolution.code


@pytest.mark.parametrize("length", [1, 32])
def test_the_shortest_and_the_longest_solution_are_taken(length: int) -> None:
    chain = Chain(overrides={"registration_bits": 0})
    chain.must("dave", tx_pb2.Register(solution=b"x" * length), nonce=0)


def test_invalid_bad_signature_of_a_register(chain: Chain) -> None:
    tx = tx_pb2.SignedTx.FromString(chain.sign_register("dave"))
    tx.signature = bytes(64)
    assert code_of(chain, tx.SerializeToString(deterministic=True)) == errors.BadSignature.code


def test_work_bound_to_one_chain_and_key_is_worth_nothing_elsewhere(chain: Chain) -> None:
    solution = search_solution(b"otherone", chain.wallet("dave").public_key, 16)
    work = compute_work(chain.tag, chain.wallet("dave").public_key, solution)
    assert count_leading_zero_bits(work) < 16


@pytest.mark.parametrize(
    ("recent", "more"), [(0, 0), (255, 0), (256, 1), (511, 1), (512, 2), (1_023, 2), (1_024, 3), (2**20, 13)]
)
def test_the_work_rises_by_one_bit_at_256_recent_registrations_and_each_doubling(
    chain: Chain, recent: int, more: int
) -> None:
    period = chain.time_ms // REGISTRATION_PERIOD_MS
    load = pb.RegistrationLoad(recent=recent, period=period)
    chain.committed.records[keys.REGISTRATION_LOAD] = load.SerializeToString(deterministic=True)
    bits = get_required_bits(chain.state(), chain.params, chain.time_ms)
    assert bits == chain.params.registration_bits + more


def test_invalid_work_too_small_once_256_registered(chain: Chain) -> None:
    load = pb.RegistrationLoad(recent=256, period=chain.time_ms // REGISTRATION_PERIOD_MS)
    chain.committed.records[keys.REGISTRATION_LOAD] = load.SerializeToString(deterministic=True)
    bits = chain.params.registration_bits
    enough, little = (search_bad_solution(chain, chain.wallet("dave").public_key, n) for n in (bits + 1, bits))
    assert code_of(chain, chain.sign_register("dave", little)) == errors.WorkTooSmall.code
    assert chain.block([chain.sign_register("dave", enough)]).tx_results[0].code == 0


def test_recent_registrations_halve_at_every_full_ten_minutes_of_block_time(chain: Chain) -> None:
    for number in range(5):
        chain.register(f"new{number}")
    load = chain.get(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    assert load is not None
    assert load.recent == 5
    boundary = (load.period + 2) * REGISTRATION_PERIOD_MS
    chain.block(dt_ms=boundary - chain.time_ms - BLOCK_MS)
    chain.register("late")
    after = chain.get(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    assert after == pb.RegistrationLoad(recent=5 // 4 + 1, period=load.period + 2)


def test_the_boundary_is_one_of_block_time_not_of_time_since_the_last_registration(chain: Chain) -> None:
    for number in range(4):
        chain.register(f"new{number}")
    boundary = (chain.time_ms // REGISTRATION_PERIOD_MS + 1) * REGISTRATION_PERIOD_MS
    chain.block(dt_ms=boundary - chain.time_ms - BLOCK_MS - 1)
    chain.register("before")  # 1 ms before the boundary
    chain.block(dt_ms=1)
    chain.register("after")
    load = chain.get(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    assert load == pb.RegistrationLoad(recent=5 // 2 + 1, period=boundary // REGISTRATION_PERIOD_MS)


@pytest.mark.parametrize("periods", [63, 64, 65, 100_000])
def test_after_many_periods_nothing_is_left(chain: Chain, periods: int) -> None:
    chain.register("dave")
    chain.block(dt_ms=periods * REGISTRATION_PERIOD_MS)
    chain.register("erin")
    load = chain.get(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    assert load is not None
    assert load.recent == 1


def test_empty_blocks_do_not_write_the_decay(chain: Chain) -> None:
    chain.register("dave")
    before = chain.hash()
    chain.skip(2 * REGISTRATION_PERIOD_MS)
    assert chain.hash() == before
