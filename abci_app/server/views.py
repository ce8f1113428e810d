"""The views: what wallets, workers and dashboards ask about accounts, jobs and the chain. Unproved, bounded, JSON."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.accounts import get_account, get_standing
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.block import get_params
from abci_app.protocol.epochs import get_current_table
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.jsonform import enum_to_json, message_to_json
from abci_app.protocol.limits import BUCKET_UNIT
from abci_app.protocol.quota import compute_bucket, get_rate_and_full
from abci_app.protocol.registration import get_required_bits
from abci_app.protocol.state import BlockState
from abci_app.protocol.validators import get_validator_keys, require_validator
from abci_app.server.arguments import (
    parse_account,
    parse_job_states,
    parse_key,
    parse_number,
    require_options,
    require_parts,
)
from abci_app.server.query import BAD_ARGUMENT, NOT_FOUND, QueryError, Question
from abci_app.store.interface import Meta, Store

APP_VERSION: Final = 1
"""Version of the rules, as told to CometBFT; constant for the life of a chain."""
MAX_PAGE: Final = 100
"""Jobs in one answer."""
MAX_LOOKED_AT: Final = 2_000
"""Job records one query may read."""

Answer = Mapping[str, Any]


class Views:
    """The views over a store; `table` maps the first part of a path to its view."""

    def __init__(self, store: Store) -> None:
        """Read from `store`, always its last committed height."""
        self._store = store
        self.table: dict[str, Callable[[Question], Answer]] = {
            "account": self.show_account,
            "candidacies": self.show_candidacies,
            "chain": self.show_chain,
            "checkers": self.show_checkers,
            "committee": self.show_committee,
            "job": self.show_job,
            "jobs": self.list_jobs,
            "key": self.show_key,
            "params": self.show_params,
            "relays": self.list_relays,
            "round": self.show_round,
            "supply": self.show_supply,
            "validators": self.list_validators,
        }

    @property
    def _meta(self) -> Meta:
        return self._store.meta

    def _read(self) -> BlockState:
        return BlockState(self._store)

    def show_chain(self, question: Question) -> Answer:
        """Which chain this is and where it stands."""
        require_parts(question)
        return {
            "chain_id": self._meta.chain_id,
            "chain_tag": self._meta.chain_tag.hex(),
            "time_ms": str(self._meta.time_ms),
            "app_version": str(APP_VERSION),
            "app_hash": self._meta.app_hash.hex(),
        }

    def show_params(self, question: Question) -> Answer:
        """The parameters, and the work a Register needs now."""
        require_parts(question)
        state = self._read()
        params = get_params(state)
        return {
            "chain_id": self._meta.chain_id,
            "chain_tag": self._meta.chain_tag.hex(),
            "params": message_to_json(params),
            "registration_bits_now": str(get_required_bits(state, params, self._meta.time_ms)),
        }

    def show_supply(self, question: Question) -> Answer:
        """Where all credits are, in ucredit."""
        require_parts(question)
        supply = self._read().get(keys.SUPPLY, pb.Supply)
        return {"supply": message_to_json(supply or pb.Supply())}

    def show_account(self, question: Question) -> Answer:
        """An account with its record of deeds, its profile and what its quota allows at the last block's time."""
        address = parse_account(require_parts(question, "lc1… address")[0])
        state = self._read()
        account, params = get_account(state, address), get_params(state)
        if account is None:
            raise QueryError(NOT_FOUND, f"{encode_address(address)} is not registered: 'lc tx register' does that")
        rate, full = get_rate_and_full(account, params)
        return {
            "address": encode_address(address),
            "account": message_to_json(account),
            "standing": message_to_json(get_standing(state, address)),
            "profile": message_to_json(_get_profile(state, address)),
            "quota": {
                "available": str(compute_bucket(account, params, self._meta.time_ms) // BUCKET_UNIT),
                "burst": str(full // BUCKET_UNIT),
                "per_minute": str(rate),
            },
        }

    def show_key(self, question: Question) -> Answer:
        """The account that a public key belongs to."""
        public_key = parse_key(require_parts(question, "public key in hex")[0])
        start = keys.index_public_key(public_key)
        for _, address in self._store.scan(start, start + b"\x00"):
            return {"address": encode_address(address)}
        raise QueryError(NOT_FOUND, "no account has this public key")

    def show_candidacies(self, question: Question) -> Answer:
        """The unsettled jobs an account stands in."""
        address = parse_account(require_parts(question, "lc1… address")[0])
        start, end = keys.index_candidacy(address, 0), keys.index_candidacy(address, 2**64 - 1)
        found = [(int.from_bytes(key[-8:], "big"), value) for key, value in self._store.scan(start, end)]
        return {"candidacies": [{"job_id": str(job_id), "secured": value == b"\x01"} for job_id, value in found]}

    def show_job(self, question: Question) -> Answer:
        """A job and all its rounds."""
        state = self._read()
        job = self._require_job(state, question)
        rounds = [state.get(keys.round_(job.id, number), pb.Round) for number in range(job.rounds)]
        return {"job": message_to_json(job), "rounds": [message_to_json(turn) for turn in rounds if turn is not None]}

    def show_round(self, question: Question) -> Answer:
        """One turn of a candidate."""
        job_id, number = require_parts(question, "job id", "round number")
        key = keys.round_(parse_number(job_id, "the job id"), parse_number(number, "the round number"))
        turn = self._read().get(key, pb.Round)
        if turn is None:
            raise QueryError(NOT_FOUND, "there is no such round; those of settled jobs are pruned after a while")
        return {"round": message_to_json(turn)}

    def show_committee(self, question: Question) -> Answer:
        """Who checks the present or last candidate of a job, and how far they are."""
        state = self._read()
        job = self._require_job(state, question)
        turn = state.get(keys.round_(job.id, job.round), pb.Round)
        if turn is None:
            raise QueryError(NOT_FOUND, "no candidate had its turn yet: committees are drawn after the expiry")
        return {
            "job_id": str(job.id),
            "round": str(turn.number),
            "state": enum_to_json(pb.JobState.DESCRIPTOR, job.state),
            "deadline_ms": str(job.deadline_ms),
            "empty_seats": str(turn.empty_seats),
            "drawable_bond": str(turn.drawable_bond),
            "class_bond": str(turn.class_bond),
            "table_epoch": str(job.table_epoch),
            "members": [
                {
                    **message_to_json(vote),
                    "committed": bool(vote.commitment),
                    "revealed": vote.finding != 0,
                    "endpoint": _get_profile(state, vote.account).endpoint,
                }
                for vote in turn.votes
            ],
        }

    def show_checkers(self, question: Question) -> Answer:
        """The current checker table, or the one a job refers to."""
        state = self._read()
        if not question.parts:
            return {"table": message_to_json(get_current_table(state))}
        epoch = parse_number(require_parts(question, "epoch")[0], "the epoch")
        table = state.get(keys.checker_table(epoch), pb.CheckerTable)
        if table is None:
            raise QueryError(NOT_FOUND, "no table is kept under this epoch: take table_epoch of the job")
        return {"table": message_to_json(table)}

    def list_relays(self, question: Question) -> Answer:
        """Where models can be uploaded and fetched: validators and checkers that have an endpoint."""
        require_parts(question)
        state = self._read()
        operators = [record.operator for _, record in _get_validators(state) if record.power]
        checkers = [entry.account for entry in get_current_table(state).entries]
        out = []
        for address in sorted({*operators, *checkers}):
            profile = _get_profile(state, address)
            if profile.endpoint:
                roles = {"validator": address in operators, "checker": address in checkers}
                out.append({"account": encode_address(address), **message_to_json(profile), **roles})
        return {"relays": out}

    def list_validators(self, question: Question) -> Answer:
        """All validators ever known, with their power as last told to CometBFT."""
        require_parts(question)
        return {
            "validators": [
                {
                    "consensus_key": consensus_key.hex(),
                    "consensus_address": compute_consensus_address(consensus_key).hex(),
                    "validator": message_to_json(record),
                }
                for consensus_key, record in _get_validators(self._read())
            ]
        }

    def list_jobs(self, question: Question) -> Answer:
        """A page of jobs in the order of their ids, filtered by state and contractor."""
        require_parts(question)
        options = require_options(question, ("state", "contractor", "after", "limit", "order"))
        states = parse_job_states(options.get("state", ""))
        contractor = parse_account(options["contractor"]) if "contractor" in options else None
        limit = parse_number(options.get("limit", str(MAX_PAGE)), "limit")
        if not 1 <= limit <= MAX_PAGE:
            raise QueryError(BAD_ARGUMENT, f"limit lies from 1 to {MAX_PAGE}")
        state = self._read()
        ids = _get_page_ids(state, options)
        page: list[Any] = []
        for looked_at, job_id in enumerate(ids):
            if looked_at == MAX_LOOKED_AT or len(page) == limit:
                return {"jobs": page, "next": str(job_id - 1 if options.get("order") != "desc" else job_id + 1)}
            job = state.get(keys.job(job_id), pb.Job)
            if job is not None and job.state in states and contractor in (None, job.contractor):
                page.append(message_to_json(job))
        return {"jobs": page, "next": ""}

    def _require_job(self, state: BlockState, question: Question) -> pb.Job:
        job_id = parse_number(require_parts(question, "job id")[0], "the job id")
        job = state.get(keys.job(job_id), pb.Job)
        if job is None:
            raise QueryError(NOT_FOUND, f"there is no job {job_id}; settled jobs are pruned after a while")
        return job


def _get_page_ids(state: BlockState, options: Mapping[str, str]) -> range:
    """Return the job ids that follow `after` in the order asked for."""
    counters = state.get(keys.COUNTERS, pb.Counters)
    end = counters.next_job_id if counters is not None else 1
    after = parse_number(options["after"], "after") if options.get("after") else None
    order = options.get("order", "asc")
    if order == "asc":
        return range(1 if after is None else after + 1, end)
    if order == "desc":
        return range(end - 1 if after is None else min(after, end) - 1, 0, -1)
    raise QueryError(BAD_ARGUMENT, "order is asc or desc")


def _get_profile(state: BlockState, address: bytes) -> pb.Profile:
    return state.get(keys.profile(address), pb.Profile) or pb.Profile()


def _get_validators(state: BlockState) -> Iterator[tuple[bytes, pb.Validator]]:
    for consensus_key in get_validator_keys(state):
        yield consensus_key, require_validator(state, consensus_key)
