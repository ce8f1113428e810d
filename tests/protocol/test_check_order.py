"""Which reason comes first is consensus, since CometBFT hashes the codes: any two faults at once give the earlier one.

Each message has its faults in the order of docs/protocol.md. A fault is an error and what brings it about: values for
fields of the message or of records that its checks read. Pairs that need different values of one field are left out.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, keys
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.errors import TxError
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.mempool import check_message
from abci_app.protocol.state import BlockState, StateDelta
from abci_app.protocol.transaction import parse
from tests.support.chain import KINDS, Holding
from tests.support.market import CHECKERS, TERMS, Market, measured

NOW, OTHER, HASH = 1_700_000_100_000, b"o" * 20, b"h" * 32
Fault = tuple[type[TxError], dict[str, Any]]


class Scene(NamedTuple):
    """A valid message of `worker1`, and the records that its faults change, by name."""

    market: Market
    message: Message
    records: Mapping[str, bytes]
    faults: list[Fault]


def find_error(scene: Scene, values: Mapping[str, Any]) -> type[TxError] | None:
    """Check the scene's message with some values changed; names are `m.field` or `record.field`, dotted further."""
    state = BlockState(scene.market.committed)
    delta = StateDelta(state)
    edited: dict[str, Any] = {"m": type(scene.message)()}
    edited["m"].CopyFrom(scene.message)
    for name, key in scene.records.items():
        edited[name] = delta.edit(key, keys.get_record_type(key))
    edited["job1st"] = edited["job"].candidates[0] if "job" in edited and edited["job"].candidates else None
    edited["vote"] = edited["round"].votes[0] if "round" in edited else None
    for name, value in values.items():
        target, *path = name.split(".")
        put(edited[target], path, value)
    delta.apply()
    block = BlockContext(scene.market.tag, scene.market.params, scene.market.height + 1, NOW)
    tx = parse(scene.market.sign("worker1", edited["m"], nonce=1))
    try:
        check_message(state, TxContext(block, tx.account, 0, tx.public_key), tx)
    except errors.MessageError as error:
        return type(error)
    return None


def put(target: Any, path: list[str], value: Any) -> None:
    *parents, last = path
    for name in parents:
        target = getattr(target, name)
    if isinstance(value, list):
        del getattr(target, last)[:]
        getattr(target, last).extend(value)
    else:
        setattr(target, last, value)


def make_market() -> Market:
    """Return a market in which class 1 has next to no checkers, at least an hour before NOW."""
    small = {name: Holding(held.balance, held.bond, checker=1) for name, held in CHECKERS.items()}
    return Market({**small, "lone": Holding(bond=UCREDIT, checker=2)}, overrides={"max_open_jobs": 1})


def submit_job() -> Scene:
    market = make_market()
    message = tx_pb2.SubmitJob(**{**TERMS, "expiry_ms": NOW + 20_000})
    records = {"standing": keys.standing(market.address("worker1"))}
    faults: list[Fault] = [
        (errors.BadImage, {"m.image": "x"}),
        (errors.BadImage, {"m.eval_image": "x"}),
        (errors.BadText, {"m.title": "\n"}),
        (errors.BadText, {"m.about": "\n"}),
        (errors.BadText, {"m.metric": "\n"}),
        (errors.BadVerifyFee, {"m.verify_fee": 2**53 + 1}),
        (errors.BadTolerance, {"m.tolerance": 2**61 + 1}),
        (errors.BadBanMargin, {"m.ban_margin": 2**61 + 1}),
        (errors.BadMinImprovement, {"m.min_improvement": 2**61 + 1}),
        (errors.BadLossCeiling, {"m.loss_ceiling": 2**62 + 1}),
        (errors.BadText, {"m.needs.accelerator": "\n"}),
        (errors.BadNeeds, {"m.needs.gpus": 2**30}),
        (errors.BadBounty, {"m.bounty": 0}),
        (errors.UnknownClass, {"m.job_class": 9}),
        (errors.BadVerifyFee, {"m.verify_fee": 1}),
        (errors.BadDeposit, {"m.deposit": 2}),
        (errors.BadRunnerUps, {"m.runner_ups": 5}),
        (errors.BadFreePlaces, {"m.free_places": 99}),
        (errors.BadExpiry, {"m.expiry_ms": NOW}),
        (errors.BadRevealWindow, {"m.reveal_window_ms": 1}),
        (errors.BadTolerance, {"m.tolerance": 1}),
        (errors.TooManyOpenJobs, {"standing.open_jobs": 1}),
        (errors.InsufficientBalance, {"m.bounty": 2**62}),
        (errors.TooFewCheckers, {"m.job_class": 1}),
    ]
    return Scene(market, message, records, faults)


def open_job(kind: type[Message], faults: list[Fault], **fields: Any) -> Scene:
    """Return a scene about an open job of carl's with one candidate."""
    market = make_market()
    job_id = market.submit(deposit=TERMS["verify_fee"], expiry_ms=NOW + 20_000)
    market.announce("worker0", job_id, 50_000)
    worker1 = market.address("worker1")
    records = {
        "job": keys.job(job_id),
        "standing": keys.standing(worker1),
        "account": keys.account(worker1),
        "table": keys.checker_table(market.table().epoch),
    }
    return Scene(market, kind(job_id=job_id, **fields), records, faults)


JOB_FAULTS: list[Fault] = [
    (errors.UnknownJob, {"m.job_id": 99}),
    (errors.JobNotOpen, {"job.state": pb.JOB_STATE_CANCELLED}),
    (errors.JobExpired, {"job.deadline_ms": NOW}),
]


def announce() -> Scene:
    own = make_market().address("worker1")
    faults: list[Fault] = [
        (errors.BadLoss, {"m.loss": -(2**62) - 1}),
        (errors.BadCommitment, {"m.commitment": b""}),
        *JOB_FAULTS,
        (errors.OwnJob, {"job.contractor": own}),
        (errors.AccountSuspended, {"standing.suspended_until_ms": NOW + 1}),
        (errors.BadLoss, {"job.terms.loss_ceiling": -(2**61)}),
        (errors.NotSecurable, {"m.secured": True, "job.terms.deposit": 0}),
        (errors.SecuredStays, {"job1st.account": own, "job1st.secured": True, "m.secured": False}),
        (errors.InsufficientBalance, {"m.secured": True, "account.balance": 0}),
        (errors.TooManyCandidacies, {"standing.candidacies": 64, "job1st.account": OTHER}),
        (errors.TooManyUnsecured, {"standing.unsecured_candidacies": 2, "job1st.account": OTHER, "m.secured": False}),
        (errors.NotImproved, {"job1st.account": own, "job1st.loss": 0}),
        (errors.NotLeading, {"job1st.ranked_loss": 0, "job1st.account": OTHER}),
        (errors.WouldNotRank, {"job.terms.free_places": 0, "m.secured": False}),
        (errors.NoCheckersLeft, {"table.entries": []}),
    ]
    return open_job(tx_pb2.Announce, faults, loss=10_000, commitment=HASH)


def contractors_job(kind: type[Message], faults: list[Fault], **fields: Any) -> Scene:
    scene = open_job(kind, faults, **fields)
    job = scene.market.job(1)
    job.contractor = scene.market.address("worker1")
    job.announced = False
    scene.market.committed.records[keys.job(1)] = job.SerializeToString(deterministic=True)
    return scene


def raise_bounty() -> Scene:
    faults: list[Fault] = [
        (errors.BadAmount, {"m.amount": 0}),
        *JOB_FAULTS,
        (errors.NotContractor, {"job.contractor": OTHER}),
        (errors.InsufficientBalance, {"account.balance": 0}),
    ]
    return contractors_job(tx_pb2.RaiseBounty, faults, amount=UCREDIT)


def cancel_job() -> Scene:
    faults: list[Fault] = [
        *JOB_FAULTS,
        (errors.NotContractor, {"job.contractor": OTHER}),
        (errors.JobHasAnnouncements, {"job.announced": True}),
    ]
    return contractors_job(tx_pb2.CancelJob, faults)


def reveal() -> Scene:
    market = Market()
    job_id = market.submit()
    market.announce("worker1", job_id, 0)
    market.expire(job_id)
    faults: list[Fault] = [
        (errors.BadDigest, {"m.model_digest": b""}),
        (errors.BadSalt, {"m.salt": b""}),
        (errors.BadLocations, {"m.locations": [""]}),
        (errors.UnknownJob, {"m.job_id": 99}),
        (errors.NotInReveal, {"job.state": pb.JOB_STATE_VOTE}),
        (errors.DeadlinePassed, {"job.deadline_ms": NOW}),
        (errors.NotYourTurn, {"job1st.account": OTHER}),
        (errors.CommitmentMismatch, {"job1st.commitment": HASH}),
        (errors.ModelTooLarge, {"m.size": 0}),
    ]
    return later(Scene(market, market.revelation("worker1", job_id), {"job": keys.job(job_id)}, faults))


def later(scene: Scene) -> Scene:
    """Move the deadline of the scene's job beyond NOW."""
    key = scene.records["job"]
    job = pb.Job.FromString(scene.market.committed.records[key])
    job.deadline_ms = NOW + 20_000
    scene.market.committed.records[key] = job.SerializeToString(deterministic=True)
    return scene


def vote(kind: str, faults: list[Fault]) -> Scene:
    """Return a scene in VOTE (commit_vote) or TALLY (reveal_vote) with worker1 as the only seated account."""
    market = Market(checkers={"worker1": Holding(bond=100 * UCREDIT, checker=2)})
    job_id = market.open_vote("worker0")
    commitment = market.commitment("worker1", job_id, measured(0))
    records = {"job": keys.job(job_id), "round": keys.round_(job_id, 0)}
    if kind == "commit_vote":
        return later(Scene(market, commitment, records, faults))
    market.must("worker1", commitment)
    return later(Scene(market, market.vote(job_id, measured(0)), records, faults))


def commit_vote() -> Scene:
    return vote(
        "commit_vote",
        [
            (errors.BadCommitment, {"m.commitment": b""}),
            (errors.UnknownJob, {"m.job_id": 99}),
            (errors.NotInVote, {"job.state": pb.JOB_STATE_TALLY}),
            (errors.WrongRound, {"m.round": 7}),
            (errors.DeadlinePassed, {"job.deadline_ms": NOW}),
            (errors.NotSeated, {"vote.account": OTHER}),
            (errors.AlreadyCommitted, {"vote.commitment": HASH}),
        ],
    )


def reveal_vote() -> Scene:
    return vote(
        "reveal_vote",
        [
            (errors.BadVote, {"m.loss": 2**62 + 1}),
            (errors.BadSalt, {"m.salt": b""}),
            (errors.UnknownJob, {"m.job_id": 99}),
            (errors.NotInTally, {"job.state": pb.JOB_STATE_VOTE}),
            (errors.WrongRound, {"m.round": 7}),
            (errors.DeadlinePassed, {"job.deadline_ms": NOW}),
            (errors.NotSeated, {"vote.account": OTHER}),
            (errors.NotCommitted, {"vote.commitment": b""}),
            (errors.AlreadyRevealed, {"vote.finding": tx_pb2.FINDING_MEASURED}),
            (errors.VoteMismatch, {"vote.commitment": HASH}),
        ],
    )


def account_scene(message: Message, faults: list[Fault]) -> Scene:
    market = Market()
    worker1 = market.address("worker1")
    records = {"account": keys.account(worker1), "other": keys.account(market.address("worker0"))}
    return Scene(market, message, records, faults)


def set_key() -> Scene:
    market = Market()
    new, own = market.wallet("phone"), market.wallet("worker1")
    many = [pb.Key(public_key=bytes([number]) * 32, scope=tx_pb2.KEY_SCOPE_WORK) for number in range(16)]
    lasting = pb.Key(public_key=b"x" * 32, scope=tx_pb2.KEY_SCOPE_OWNER)
    proof = new.prove_for(market.tag, own.address)
    removal = {"m.scope": tx_pb2.KEY_SCOPE_REMOVED}
    faults: list[Fault] = [
        (errors.BadKey, {"m.public_key": b""}),
        (errors.BadScope, {"m.scope": 9}),
        (errors.BadScope, {**removal, "m.proof": proof}),
        (errors.BadKeyExpiry, {"m.expires_at_ms": 2**53 + 1}),
        (errors.BadKeyExpiry, {"m.expires_at_ms": 1}),
        (errors.KeyNotPresent, {**removal, "m.proof": b"", "m.expires_at_ms": 0}),
        (errors.KeyTaken, {"m.public_key": market.wallet("worker0").public_key, "m.scope": tx_pb2.KEY_SCOPE_WORK}),
        (errors.TooManyKeys, {"account.keys": [lasting, *many]}),
        (errors.LastOwnerKey, {"account.keys": many[:1]}),
        (errors.TooManyKeys, {"account.keys": many}),
        (errors.BadKeyProof, {"m.proof": bytes(64)}),
    ]
    message = tx_pb2.SetKey(public_key=new.public_key, proof=proof, scope=tx_pb2.KEY_SCOPE_WORK)
    return account_scene(message, faults)


def transfer() -> Scene:
    faults: list[Fault] = [
        (errors.BadRecipient, {"m.to": b""}),
        (errors.BadAmount, {"m.amount": 0}),
        (errors.BadText, {"m.memo": "\n"}),
        (errors.BadRecipient, {"m.to": OTHER}),
        (errors.RecipientBanned, {"other.banned": True}),
        (errors.InsufficientBalance, {"account.balance": 0}),
    ]
    return account_scene(tx_pb2.Transfer(to=Market().address("worker0"), amount=5), faults)


def bond() -> Scene:
    faults: list[Fault] = [
        (errors.BadAmount, {"m.amount": 0}),
        (errors.InsufficientBalance, {"account.balance": 3}),
        (errors.BadBondAmount, {"m.amount": 5}),
    ]
    return account_scene(tx_pb2.Bond(amount=UCREDIT), faults)


def unbond() -> Scene:
    waiting = [pb.Unbonding(amount=1, release_ms=1, number=number) for number in range(8)]
    faults: list[Fault] = [
        (errors.BadAmount, {"m.amount": 0}),
        (errors.InsufficientBond, {"account.bond": 3}),
        (errors.BadBondAmount, {"m.amount": 5}),
        (errors.TooManyUnbondings, {"account.unbonding": waiting}),
    ]
    scene = account_scene(tx_pb2.Unbond(amount=UCREDIT), faults)
    scene.market.must("worker1", tx_pb2.Bond(amount=3 * UCREDIT))
    return scene


SCENES = (
    submit_job,
    announce,
    raise_bounty,
    cancel_job,
    reveal,
    commit_vote,
    reveal_vote,
    set_key,
    transfer,
    bond,
    unbond,
)


def get_pairs(faults: list[Fault]) -> Iterator[tuple[type[TxError], dict[str, Any]]]:
    """Yield each fault alone, then each two that can be had together, with the error of the earlier one."""
    yield from faults
    for (first, one), (_, two) in combinations(faults, 2):
        if all(one[name] == two[name] for name in one.keys() & two.keys()):
            yield first, {**one, **two}


@pytest.mark.parametrize("make", SCENES, ids=[make.__name__ for make in SCENES])
def test_of_two_faults_the_earlier_one_is_the_answer(make: Any) -> None:
    scene = make()
    assert KINDS[scene.message.DESCRIPTOR.name] == make.__name__
    assert find_error(scene, {}) is None
    pairs = list(get_pairs(scene.faults))
    found = [(values, find_error(scene, values)) for _, values in pairs]
    assert found == [(values, error) for error, values in pairs]
    assert len(pairs) > len(scene.faults)
