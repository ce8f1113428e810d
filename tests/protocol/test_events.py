"""Event names and attributes are read by other programs: they never change, new ones may be added.

The values are hints that no rule reads, so nothing else would notice a wrong one.
"""

import inspect

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import events
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.block import BlockResult
from abci_app.protocol.events import INDEXED, Event
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import consensus_key
from tests.support.market import JOB_MS, TERMS, Market, digest_of, measured
from tests.support.wallets import Wallet

FROZEN = {
    "job.submitted": ("job_id", "contractor", "bounty", "job_class", "expiry_ms"),
    "job.raised": ("job_id", "contractor", "bounty"),
    "job.announced": ("job_id", "account", "loss", "ranked_loss", "place"),
    "job.reveal_opened": ("job_id", "round", "candidate", "deadline_ms"),
    "job.revealed": ("job_id", "round", "candidate", "model_digest", "size"),
    "job.vote_opened": ("job_id", "round", "deadline_ms"),
    "job.tally_opened": ("job_id", "round", "deadline_ms"),
    "job.window_renewed": ("job_id", "round", "deadline_ms"),
    "job.round_decided": ("job_id", "round", "candidate", "outcome"),
    "job.settled": ("job_id", "state", "contractor", "winner", "bounty"),
    "job.pruned": ("job_id",),
    "account.registered": ("account",),
    "account.banned": ("account", "burned"),
    "account.suspended": ("account", "until_ms", "strikes"),
    "account.jailed": ("account", "duty"),
    "account.unjailed": ("account",),
    "account.key_set": ("account", "public_key", "scope"),
    "account.profile_set": ("account",),
    "account.checker_set": ("account", "checker"),
    "credits.transferred": ("sender", "recipient", "amount"),
    "credits.bonded": ("account", "amount"),
    "credits.unbonding": ("account", "amount", "release_ms"),
    "credits.released": ("account", "amount"),
    "validator.changed": ("consensus_key", "account", "power"),
}
ADDRESS = b"a" * 20
BYTES = {"public_key", "model_digest", "consensus_key"}
TEXTS = {"outcome", "state", "duty", "scope"}


def make_all() -> list[Event]:
    """Call every constructor with a value of the right kind for each parameter."""
    out = []
    for name, function in inspect.getmembers(events, inspect.isfunction):
        if inspect.signature(function).return_annotation is Event and not name.startswith("_"):
            out.append(function(*(make_value(parameter) for parameter in inspect.signature(function).parameters)))
    return out


def make_value(parameter: str) -> int | bytes | str:
    if parameter in {"account", "candidate", "contractor", "winner", "sender", "recipient", "operator"}:
        return ADDRESS
    if parameter in BYTES:
        return b"k" * 32
    return "word" if parameter in TEXTS else -7


def test_names_and_attributes_are_frozen() -> None:
    made = {event.type: tuple(name for name, _ in event.attributes) for event in make_all()}
    assert made == FROZEN
    assert len(make_all()) == len(FROZEN)


def test_attributes_are_strings_addresses_bech32_other_bytes_hexadecimal() -> None:
    for event in make_all():
        for name, value in event.attributes:
            if name in BYTES:
                assert value == "6b" * 32
            elif name in TEXTS:
                assert value == "word"
            else:
                assert value in (encode_address(ADDRESS), "-7"), (event.type, name)


@pytest.mark.parametrize("name", sorted(INDEXED))
def test_only_ids_and_addresses_are_indexed(name: str) -> None:
    values = {dict(event.attributes)[name] for event in make_all() if name in dict(event.attributes)}
    assert values == ({"-7"} if name == "job_id" else {encode_address(ADDRESS)})


def test_each_argument_stands_under_its_own_name() -> None:
    """Two arguments of one kind that changed places would look right to every other test here."""
    renamed = {"round_number": "round", "operator": "account"}
    for _, function in inspect.getmembers(events, inspect.isfunction):
        names = list(inspect.signature(function).parameters)
        if function.__name__.startswith("_") or inspect.signature(function).return_annotation is not Event:
            continue
        texts = [f"value {number}" for number in range(len(names))]
        if function is events.credits_transferred:
            values = [bytes([1]) * 20, bytes([2]) * 20, 3]
            texts = [encode_address(bytes([1]) * 20), encode_address(bytes([2]) * 20), "3"]
        else:
            values = list(texts)
        expected = dict(zip((renamed.get(name, name) for name in names), texts, strict=True))
        assert dict(function(*values).attributes) == expected, function.__name__


# --- what happens on a chain ---


def collect(result: BlockResult) -> list[tuple[str, dict[str, str]]]:
    """Return all events of a block as type and attributes."""
    every = [*result.events, *(event for tx in result.tx_results for event in tx.events)]
    return [(event.type, dict(event.attributes)) for event in every]


def test_the_events_of_a_job_say_what_its_records_say() -> None:
    market = Market()
    carl, first, second = (encode_address(market.address(name)) for name in ("carl", "worker0", "worker1"))
    job = {"job_id": "2"}
    market.must("carl", tx_pb2.CancelJob(job_id=market.submit()))
    end = {"state": "CANCELLED", "contractor": carl, "winner": "", "bounty": str(TERMS["bounty"])}
    assert collect(market.last) == [("job.settled", {"job_id": "1"} | end)]
    expiry_ms = market.time_ms + JOB_MS
    market.submit(job_class=1, runner_ups=1, expiry_ms=expiry_ms)
    bounty = str(TERMS["bounty"])
    said = {"contractor": carl, "bounty": bounty, "job_class": "1", "expiry_ms": str(expiry_ms)}
    assert collect(market.last) == [("job.submitted", job | said)]
    market.must("carl", tx_pb2.RaiseBounty(job_id=2, amount=7))
    bounty = str(TERMS["bounty"] + 7)
    assert collect(market.last) == [("job.raised", job | {"contractor": carl, "bounty": bounty})]
    market.announce("worker0", 2, -5_000)
    place = {"account": first, "loss": "-5000", "ranked_loss": "-5000", "place": "0"}
    assert collect(market.last) == [("job.announced", job | place)]
    market.announce("worker1", 2, -5_001)
    place = {"account": second, "loss": "-5001", "ranked_loss": "-5000", "place": "1"}
    assert collect(market.last) == [("job.announced", job | place)]

    market.expire(2)
    turn = job | {"round": "0"}
    ends = {"deadline_ms": str(market.time_ms + TERMS["reveal_window_ms"])}
    assert collect(market.last) == [("job.reveal_opened", turn | {"candidate": first} | ends)]
    market.expire(2)
    until_ms = str(market.time_ms + market.params.suspension_ms)
    turn = job | {"round": "1"}
    ends = {"deadline_ms": str(market.time_ms + TERMS["reveal_window_ms"])}
    assert collect(market.last) == [
        ("job.round_decided", job | {"round": "0", "candidate": first, "outcome": "DEFAULTED"}),
        ("account.suspended", {"account": first, "until_ms": until_ms, "strikes": "1"}),
        ("job.reveal_opened", turn | {"candidate": second} | ends),
    ]
    market.reveal("worker1", 2)
    model = {"candidate": second, "model_digest": digest_of("worker1").hex(), "size": "1000"}
    ends = {"deadline_ms": str(market.job(2).deadline_ms)}
    assert collect(market.last) == [("job.revealed", turn | model), ("job.vote_opened", turn | ends)]

    market.expire(2)
    ends = {"deadline_ms": str(market.job(2).deadline_ms)}
    assert collect(market.last) == [("job.window_renewed", turn | ends)]
    seats = market.seats(2)
    market.commit_votes(2, dict.fromkeys(seats, measured(-5_001)))
    ends = {"deadline_ms": str(market.time_ms + market.params.tally_window_ms)}
    assert collect(market.last) == [("job.tally_opened", turn | ends)]
    market.reveal_votes(2, dict.fromkeys(seats, measured(-5_001)))
    end = {"state": "PAID", "contractor": carl, "winner": second, "bounty": bounty}
    assert collect(market.last) == [
        ("job.round_decided", turn | {"candidate": second, "outcome": "ACCEPTED"}),
        ("job.settled", job | end),
    ]
    market.expire(2)
    assert collect(market.last) == [("job.pruned", job)]


def test_the_events_of_accounts_say_what_their_records_say() -> None:
    market = Market()
    carl, val0 = (encode_address(market.address(name)) for name in ("carl", "val0"))
    dave = encode_address(market.register("dave").address)
    assert collect(market.last) == [("account.registered", {"account": dave})]
    second = Wallet("second", owner=market.address("carl"))
    proof = second.prove_for(market.tag, second.address)
    for scope, name in ((tx_pb2.KEY_SCOPE_OWNER, "owner"), (tx_pb2.KEY_SCOPE_WORK, "work")):
        market.must("carl", tx_pb2.SetKey(public_key=second.public_key, proof=proof, scope=scope))
        key = {"public_key": second.public_key.hex(), "scope": name}
        assert collect(market.last) == [("account.key_set", {"account": carl} | key)]
    market.must(second, tx_pb2.SetProfile(name="carl"))
    assert collect(market.last) == [("account.profile_set", {"account": carl})]
    market.must("carl", tx_pb2.SetKey(public_key=second.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED))
    key = {"public_key": second.public_key.hex(), "scope": "removed"}
    assert collect(market.last) == [("account.key_set", {"account": carl} | key)]
    for enabled, number in ((True, "2"), (False, "0")):
        market.must("carl", tx_pb2.SetChecker(enabled=enabled, highest_class=int(enabled)))
        assert collect(market.last) == [("account.checker_set", {"account": carl, "checker": number})]

    market.must("carl", tx_pb2.Transfer(to=market.address("dave"), amount=3))
    moved = {"sender": carl, "recipient": dave, "amount": "3"}
    assert collect(market.last) == [("credits.transferred", moved)]
    market.must("carl", tx_pb2.Bond(amount=5 * UCREDIT))
    assert collect(market.last) == [("credits.bonded", {"account": carl, "amount": str(5 * UCREDIT)})]
    market.must("carl", tx_pb2.Unbond(amount=2 * UCREDIT))
    release_ms = market.time_ms + market.params.unbonding_ms
    moved = {"account": carl, "amount": str(2 * UCREDIT)}
    assert collect(market.last) == [("credits.unbonding", moved | {"release_ms": str(release_ms)})]
    market.skip_to(release_ms)
    assert collect(market.last) == [("credits.released", moved)]

    for _ in range(market.params.max_missed_blocks + 1):
        market.block(missed=["val0"])
    assert collect(market.last) == [("account.jailed", {"account": val0, "duty": "validator"})]
    market.skip(market.params.unjail_ms)
    market.must("val0", tx_pb2.Unjail())
    assert collect(market.last) == [("account.unjailed", {"account": val0})]
    market.must("val0", tx_pb2.Bond(amount=UCREDIT))
    power = {"consensus_key": consensus_key("val0").hex(), "account": val0, "power": "1001"}
    assert ("validator.changed", power) in collect(market.last)
    market.block(misbehavior=[(1, "val0")])
    assert collect(market.last) == [("account.banned", {"account": val0, "burned": str(2_000 * UCREDIT)})]
