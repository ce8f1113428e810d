"""The views, over states that the chain in memory made."""

import json
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import errors
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jsonform import message_from_json
from abci_app.protocol.limits import UCREDIT
from abci_app.server.application import ChainApplication
from abci_app.server.query import BAD_ARGUMENT, HEIGHT_NOT_HELD, NOT_FOUND, UNKNOWN_PATH
from abci_app.server.views import MAX_LOOKED_AT, MAX_PAGE
from abci_app.store.interface import stage
from abci_app.store.memory import MemoryStore
from tests.support.chain import CHAIN_ID, Chain, Holding
from tests.support.market import Market, measured


class Shown:
    """The views of a chain's present state."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.store = MemoryStore()
        records, index = dict(chain.committed.records), dict(chain.committed.index)
        names = {"chain_id": CHAIN_ID, "chain_tag": chain.tag, "height": chain.height, "time_ms": chain.time_ms}
        self.store.commit(stage(self.store, records, index, **names))  # type: ignore[arg-type]
        self.app = ChainApplication(self.store, 100)

    def ask(self, path: str, data: bytes = b"", height: int = 0) -> abci.ResponseQuery:
        return self.app.query(abci.RequestQuery(path=path, data=data, height=height))

    def view(self, path: str, data: bytes = b"") -> dict[str, Any]:
        response = self.ask(path, data)
        assert response.code == 0, response.log
        view: dict[str, Any] = json.loads(response.value)
        assert view.pop("proved") is False
        assert int(view.pop("height")) == self.chain.height == response.height
        return view

    def address(self, name: str) -> str:
        return encode_address(self.chain.address(name))


@pytest.fixture(scope="module")
def market() -> Market:
    """Job 1 is in VOTE with one committed vote, job 2 is open, job 3 is cancelled; checker0 has a profile."""
    market = Market()
    market.must("checker0", tx_pb2.SetProfile(name="zero", endpoint="http://127.0.0.1:8000"))
    market.must("worker5", tx_pb2.SetProfile(name="five", endpoint="http://127.0.0.1:8005"))
    first = market.open_vote()
    market.commit_votes(first, {next(iter(market.seats(first))): measured(0)})
    second = market.submit(title="second")
    market.announce("worker1", second, 5)
    third = market.submit(title="third")
    market.must("carl", tx_pb2.CancelJob(job_id=third))
    return market


@pytest.fixture(scope="module")
def shown(market: Market) -> Shown:
    return Shown(market)


def test_chain_names_the_chain_and_where_it_stands(shown: Shown) -> None:
    assert shown.view("/chain") == {
        "chain_id": CHAIN_ID,
        "chain_tag": shown.chain.tag.hex(),
        "time_ms": str(shown.chain.time_ms),
        "app_version": "1",
        "app_hash": shown.store.meta.app_hash.hex(),
    }


def test_params_give_the_record_and_the_present_price_of_an_account(shown: Shown) -> None:
    view = shown.view("/params")
    assert message_from_json(view["params"], pb.Params) == shown.chain.params
    assert view["registration_bits_now"] == str(shown.chain.required_bits())
    assert (view["chain_id"], view["chain_tag"]) == (CHAIN_ID, shown.chain.tag.hex())


def test_supply_sums_to_the_genesis(shown: Shown) -> None:
    supply = message_from_json(shown.view("/supply")["supply"], pb.Supply)
    assert supply == shown.chain.supply()
    parts = (supply.balances, supply.escrow, supply.deposits, supply.bonds, supply.unbonding, supply.burned)
    assert sum(parts) == supply.genesis


def test_an_account_is_shown_with_standing_profile_and_quota(shown: Shown) -> None:
    view = shown.view(f"/account/{shown.address('checker0')}")
    assert message_from_json(view["account"], pb.Account) == shown.chain.account("checker0")
    assert message_from_json(view["standing"], pb.Standing) == shown.chain.standing("checker0")
    assert view["profile"] == {"name": "zero", "endpoint": "http://127.0.0.1:8000"}
    assert view["address"] == shown.address("checker0")
    assert view["quota"]["burst"] == str(shown.chain.params.tx_burst)
    assert 0 < int(view["quota"]["available"]) <= shown.chain.params.tx_burst


def test_the_rate_shown_is_the_accounts_own_where_both_bursts_are_equal() -> None:
    """A genesis may tell poor accounts from others by the rate alone."""
    market = Market(overrides={"poor_burst": 50, "tx_burst": 50, "poor_per_minute": 1, "tx_per_minute": 60})
    market.register("newcomer")
    shown = Shown(market)
    quotas = [shown.view(f"/account/{shown.address(name)}")["quota"] for name in ("carl", "newcomer")]
    assert [quota["per_minute"] for quota in quotas] == ["60", "1"]


def test_numbers_of_64_bits_are_text(shown: Shown) -> None:
    account = shown.view(f"/account/{shown.address('carl')}")["account"]
    assert account["balance"] == str(shown.chain.balance("carl"))
    assert account["banned"] is False
    assert account["keys"][0]["scope"] == "OWNER"


def test_a_public_key_leads_to_its_account(shown: Shown) -> None:
    key = shown.chain.wallet("carl").public_key.hex()
    assert shown.view(f"/key/{key}") == {"address": shown.address("carl")}
    assert shown.ask(f"/key/{'00' * 32}").code == NOT_FOUND


def test_a_job_is_shown_with_its_rounds(shown: Shown) -> None:
    view = shown.view("/job/1")
    assert message_from_json(view["job"], pb.Job) == shown.chain.job(1)
    assert [message_from_json(turn, pb.Round) for turn in view["rounds"]] == [shown.chain.round(1)]
    assert view["job"]["state"] == "VOTE"
    assert shown.view("/job/2")["rounds"] == []


def test_a_round_is_shown_by_number(shown: Shown) -> None:
    assert message_from_json(shown.view("/round/1/0")["round"], pb.Round) == shown.chain.round(1)
    assert shown.ask("/round/1/1").code == NOT_FOUND


def test_a_committee_shows_who_has_committed_and_where_they_are(shown: Shown) -> None:
    view = shown.view("/committee/1")
    turn = shown.chain.round(1)
    assert [member["account"] for member in view["members"]] == [encode_address(vote.account) for vote in turn.votes]
    assert [member["committed"] for member in view["members"]].count(True) == 1
    assert not any(member["revealed"] for member in view["members"])
    endpoints = {member["account"]: member["endpoint"] for member in view["members"]}
    assert endpoints[shown.address("checker0")] == "http://127.0.0.1:8000"
    assert (view["state"], view["deadline_ms"]) == ("VOTE", str(shown.chain.job(1).deadline_ms))
    assert shown.ask("/committee/2").code == NOT_FOUND


def test_checker_tables_are_shown_by_epoch(shown: Shown) -> None:
    assert message_from_json(shown.view("/checkers")["table"], pb.CheckerTable) == shown.chain.table()
    epoch = shown.chain.job(1).table_epoch
    assert shown.view(f"/checkers/{epoch}")["table"]["epoch"] == str(epoch)
    assert shown.ask("/checkers/7").code == NOT_FOUND


def test_relays_are_validators_and_checkers_with_an_endpoint(shown: Shown) -> None:
    assert shown.view("/relays")["relays"] == [
        {
            "account": shown.address("checker0"),
            "name": "zero",
            "endpoint": "http://127.0.0.1:8000",
            "validator": False,
            "checker": True,
        }
    ]


def test_relays_are_listed_by_address_without_those_that_left() -> None:
    bonds = {"val0": 1_000 * UCREDIT, "val1": 500 * UCREDIT, "gone": 200 * UCREDIT}
    checker = Holding(bond=UCREDIT, checker=1)
    chain = Chain(accounts={"a": checker, "b": checker, "other": Holding(), "val1": checker}, validators=bonds)
    chain.block()
    chain.must("gone", tx_pb2.Unbond(amount=200 * UCREDIT))
    for name in ("val0", "val1", "gone", "a", "b", "other"):
        chain.must(name, tx_pb2.SetProfile(endpoint="http://192.0.2.1:8000"))
    shown = Shown(chain)
    roles = {relay["account"]: (relay["validator"], relay["checker"]) for relay in shown.view("/relays")["relays"]}
    ordered = [
        encode_address(address) for address in sorted(chain.address(name) for name in ("val0", "val1", "a", "b"))
    ]
    assert list(roles) == ordered
    expected = {"val0": (True, False), "val1": (True, True), "a": (False, True), "b": (False, True)}
    assert roles == {shown.address(name): held for name, held in expected.items()}


def test_validators_are_shown_with_key_address_and_power(shown: Shown) -> None:
    (validator,) = shown.view("/validators")["validators"]
    assert validator["validator"]["operator"] == shown.address("val0")
    assert validator["validator"]["power"] == "1000"
    assert len(validator["consensus_key"]) == 64
    assert len(validator["consensus_address"]) == 40


def test_candidacies_name_the_unsettled_jobs_of_an_account(shown: Shown) -> None:
    path = f"/candidacies/{shown.address('worker1')}"
    assert shown.view(path) == {"candidacies": [{"job_id": "2", "secured": False}]}
    assert shown.view(f"/candidacies/{shown.address('worker4')}") == {"candidacies": []}


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("", ["1", "2", "3"]),
        ("?order=desc", ["3", "2", "1"]),
        ("?state=OPEN", ["2"]),
        ("?state=VOTE,CANCELLED", ["1", "3"]),
        ("?after=1", ["2", "3"]),
        ("?after=3&order=desc", ["2", "1"]),
        ("?after=9", []),
    ],
)
def test_jobs_are_listed_by_state_and_order(shown: Shown, options: str, ids: list[str]) -> None:
    view = shown.view(f"/jobs{options}")
    assert [job["id"] for job in view["jobs"]] == ids
    assert view["next"] == ""


def test_jobs_are_listed_by_contractor(shown: Shown) -> None:
    assert len(shown.view(f"/jobs?contractor={shown.address('carl')}")["jobs"]) == 3
    assert shown.view(f"/jobs?contractor={shown.address('worker0')}")["jobs"] == []


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_jobs_follow_one_another(shown: Shown, order: str) -> None:
    seen, after = [], ""
    for _ in range(3):
        view = shown.view(f"/jobs?limit=1&order={order}&after={after}")
        seen += [job["id"] for job in view["jobs"]]
        after = view["next"]
    assert seen == (["1", "2", "3"] if order == "asc" else ["3", "2", "1"])
    assert after == ""


def test_a_query_looks_at_a_bounded_number_of_jobs(market: Market) -> None:
    shown = Shown(market)
    counters = pb.Counters(next_job_id=10**15, next_unbonding=1).SerializeToString()
    names = {"chain_id": CHAIN_ID, "chain_tag": market.tag, "height": market.height + 1, "time_ms": market.time_ms}
    shown.store.commit(stage(shown.store, {b"cn": counters}, {}, **names))  # type: ignore[arg-type]
    market.height += 1
    try:
        view = shown.view("/jobs?after=10")
    finally:
        market.height -= 1
    assert view == {"jobs": [], "next": str(10 + MAX_LOOKED_AT)}


def test_check_says_what_would_become_of_a_transaction(shown: Shown) -> None:
    nonce = shown.chain.account("carl").keys[0].nonce + 1
    good = shown.chain.sign("carl", tx_pb2.Transfer(to=shown.chain.address("worker0"), amount=1), nonce=nonce)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    too_much = shown.chain.sign("carl", tx_pb2.Transfer(to=shown.chain.address("worker0"), amount=10**15), nonce=nonce)
    cases: list[tuple[bytes, str, type[errors.TxError] | None]] = [
        (good, "", None),
        (b"\xff", "bytes", errors.Undecodable),
        (forged, "envelope", errors.BadSignature),
        (too_much, "message", errors.InsufficientBalance),
    ]
    for tx, stage_name, error in cases:
        view = shown.view("/check", tx)
        assert (view["ok"], view["stage"]) == (error is None, stage_name)
        found = (view["code"], view["name"], view["hint"])
        assert found == ((error.code, error.name, error.hint) if error else (0, "", ""))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", UNKNOWN_PATH),
        ("/", UNKNOWN_PATH),
        ("/nothing", UNKNOWN_PATH),
        ("/account", BAD_ARGUMENT),
        ("/account/lc1nonsense", BAD_ARGUMENT),
        ("/account/a/b", BAD_ARGUMENT),
        *((f"/{view}/1", BAD_ARGUMENT) for view in ("chain", "params", "supply", "relays", "validators", "jobs")),
        ("/job/x", BAD_ARGUMENT),
        ("/job/-1", BAD_ARGUMENT),
        ("/job/٣", BAD_ARGUMENT),
        ("/job/99999999999999999999", BAD_ARGUMENT),
        ("/job/4", NOT_FOUND),
        ("/round/1", BAD_ARGUMENT),
        ("/key/00", BAD_ARGUMENT),
        ("/key/zz", BAD_ARGUMENT),
        ("/checkers/x", BAD_ARGUMENT),
        ("/check", BAD_ARGUMENT),
        ("/jobs?state=NOPE", BAD_ARGUMENT),
        ("/jobs?limit=0", BAD_ARGUMENT),
        (f"/jobs?limit={MAX_PAGE + 1}", BAD_ARGUMENT),
        ("/jobs?order=up", BAD_ARGUMENT),
        ("/jobs?color=red", BAD_ARGUMENT),
        ("/jobs?color=", BAD_ARGUMENT),
        ("/jobs?x", BAD_ARGUMENT),
        ("/jobs?" + "&".join(f"a{i}=1" for i in range(40)), BAD_ARGUMENT),
        ("/account/" + "x" * 600, BAD_ARGUMENT),
    ],
)
def test_questions_without_an_answer_get_a_code_and_a_reason(shown: Shown, path: str, code: int) -> None:
    response = shown.ask(path)
    assert (response.code, response.codespace, response.value) == (code, "learningchain.query", b"")
    assert response.log


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/account/" + "x" * (512 - 9), "is no address"),
        ("/account/" + "x" * (513 - 9), "at most 512 bytes"),
        ("/account/" + "é" * 256, "at most 512 bytes"),
        ("/jobs?" + "&".join(f"a{i}=1" for i in range(16)), "no option"),
        ("/jobs?" + "&".join(f"a{i}=1" for i in range(17)), "options after '?'"),
    ],
)
def test_long_questions_are_refused_before_they_are_read(shown: Shown, path: str, words: str) -> None:
    response = shown.ask(path)
    assert response.code == BAD_ARGUMENT
    assert words in response.log


def test_an_account_that_is_not_registered_is_not_found(shown: Shown) -> None:
    response = shown.ask(f"/account/{encode_address(bytes(20))}")
    assert response.code == NOT_FOUND
    assert "not registered" in response.log


def test_views_of_other_heights_are_refused(shown: Shown) -> None:
    assert shown.ask("/chain", height=shown.chain.height).code == 0
    assert shown.ask("/chain", height=1).code == HEIGHT_NOT_HELD


def test_before_the_first_block_there_is_nothing_to_show() -> None:
    app = ChainApplication(MemoryStore(), 100)
    for path in ("/chain", "/store/accounts/key"):
        response = app.query(abci.RequestQuery(path=path, data=b"a" + bytes(20)))
        assert response.code == NOT_FOUND
        assert "no block yet" in response.log
