"""What the comparison chooses from: values at and around the bounds of the rules, and what a run must have met."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st

from abci_app.protocol.messages import HANDLERS
from tests.model.records import CREDIT, RESERVED_LOSS, Vote
from tests.model.setting import ACCOUNTS

START_MS = 1_800_000_000_123
"""Time of the genesis."""
DEFECTS = ("too_large", "undecodable", "not_canonical", "bad_field_length")
ENVELOPES = ("nonce", "future", "expired", "far", "tag", "signature", "key", "stranger")
FIRST_NEW_KEY = 100
"""Keys from this number on are added by SetKey."""
FIRST_NEWCOMER = 1_000
"""Keys from this number on register."""
MODEL, SALT = b"\x05" * 32, b"\x06" * 32

IMAGE = "registry.test/digits@sha256:" + "ab" * 32
RECEIPT = b"\x07" * 32
OPINIONS = (
    (1, 0, RECEIPT), (1, 500, RECEIPT), (1, 1000, b"\x08" * 32), (1, 50_000, RECEIPT), (1, 50_400, RECEIPT),
    (1, 10_001, RECEIPT), (1, 10_000, RECEIPT), (1, 1001, b""), (1, RESERVED_LOSS, b""), (1, RESERVED_LOSS, RECEIPT),
    (2, 0, b""), (3, 0, b""), (4, 0, b""), (1, -5000, b""), (1, 90_000, b"\x09" * 32),
)  # fmt: skip
"""Finding, loss above the announced one (or the reserved loss), receipt."""
AGAINST, FOR = (3, 11, 6, 8, 5, 10, 7, 12, 0), (0, 1, 2, 13, 12, 3)
"""Opinions mostly against a model and mostly for it: their numbers in the list above."""
AHEAD = (5_000, 5_000, 5_000, 6_000, 20_000, 4_999, 86_400_000, 86_400_001)
"""How far in the future jobs expire, in ms."""
SILENT = (0, 0, 0, 1, 6, 30, 31)
"""Bit i: the i-th seated account says nothing."""
TERM_CHANGES: tuple[dict[str, Any], ...] = (
    *[{}] * 12, {"deposit": 200_002}, {"deposit": 200_003}, {"deposit": 6 * CREDIT}, {"runner_ups": 5},
    {"free_places": 9}, {"bounty": CREDIT - 1}, {"bounty": 2**63}, {"bounty": 30 * CREDIT, "verify_fee": 9 * CREDIT},
    {"job_class": 2}, {"verify_fee": 99_999}, {"verify_fee": 2**53 + 1}, {"expiry_ms": 0}, {"expiry_ms": 2**64 - 1},
    {"reveal_window_ms": 9_999}, {"tolerance": 999}, {"tolerance": 1001}, {"ban_margin": 9_999},
    {"ban_margin": 2**61 + 1}, {"min_improvement": 1000}, {"loss_ceiling": 2**62 + 1}, {"loss_ceiling": -(2**62)},
    {"needs": {"gpus": 2**10 + 1}}, {"needs": {"accelerator": "x" * 33}},
    {"image": "a@sha256:12"}, {"image": "@sha256:" + "ab" * 32}, {"eval_image": IMAGE + "0"}, {"eval_image": IMAGE},
    {"reveal_window_ms": 60_000}, {"reveal_window_ms": 60_001}, {"min_improvement": 1001}, {"min_improvement": 2**61},
    {"min_improvement": 2**61 + 1}, {"ban_margin": 2**61}, {"loss_ceiling": 2**62}, {"needs": {"gpus": 2**10}},
    {"needs": {"milli_cpus": 2**20, "memory_mib": 2**24, "disk_mib": 2**24, "gpu_memory_mib": 2**20}},
    {"needs": {"milli_cpus": 2**20 + 1}}, {"needs": {"memory_mib": 2**24 + 1}}, {"needs": {"disk_mib": 2**24 + 1}},
    {"needs": {"gpu_memory_mib": 2**20 + 1}}, {"needs": {"seconds": 2**25}}, {"needs": {"seconds": 2**25 + 1}},
    {"title": "t" * 128, "about": "a" * 512, "metric": "m" * 32}, {"about": "a" * 513}, {"verify_fee": 100_000},
    {"image": "i" * 441 + "@" + IMAGE[-71:]}, {"image": "i" * 440 + "@" + IMAGE[-71:]},
    {"needs": {"accelerator": "x" * 32}},
    {"title": "t" * 129}, {"about": "a\nb"}, {"metric": "é" * 17}, {"needs": {}},
)  # fmt: skip
REVEAL_CHANGES: tuple[dict[str, Any], ...] = (
    {}, {}, {"salt": bytes(32)}, {"size": 0}, {"salt": b""}, {"size": 2**24 + 1}, {"locations": ["http://a"] * 5},
    {"locations": [""]}, {"model_digest": b"d"},
)  # fmt: skip
VOTE_CHANGES: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"loss": 7}, {"salt": bytes(32)}, {"salt": b"s"}, {"finding": 0}, {"finding": 4}, {"receipt": b"r"},
    {"round": 9},
)  # fmt: skip
PARTS = ((5, 3), (4, 2), (5, 1), (5, 4), (6, 5), (10, 5), (11, 4), (8, 7), (7, 8), (15, 0), (0, 5))
"""Seats of two opinions, around the bounds of the table's rows; the others stay silent."""
BOUNTIES = (CREDIT, 5 * CREDIT + 49, 9 * CREDIT)
AMOUNTS = (1, 49, CREDIT, 0, 2**63)
STEPS = (2000, 2000, 1999, 1, 0, -1, -1500, -4000, 2**62 + 5, -(2 * 10**9))
"""How far an announcement lies below somebody's ranked loss."""
small = st.integers(min_value=0, max_value=2)
ups = st.integers(min_value=0, max_value=4)
entrants = st.tuples(st.sampled_from((*range(2, ACCOUNTS), 0, 1, 0, 1)), st.booleans())
numbers = st.integers(min_value=0, max_value=1000)

SEEN: Counter[str] = Counter()
"""What all examples together have seen, by the words of the model."""
MUST_SEE = (
    "row UNVERIFIED without a quorum", "row FAULTY_JOB", "row CONVICTED", "row REJECTED",
    "row ACCEPTED", "row CONVICTED pays somebody", "row REJECTED pays somebody", "row REJECTED pays nobody",
    "row ACCEPTED pays somebody", "row ACCEPTED pays nobody",
    "a reserved loss was owed pay", "nobody could be drawn", "part of the class could be drawn",
    *(f"{outcome}, {then}" for outcome in ("DEFAULTED", "REJECTED") for then in ("next turn", "no candidate left")),
    "CONVICTED, no candidate left",
    "PAID", "REFUNDED", "EXPIRED", "CANCELLED",
    "REVEAL renewed for an outage", "VOTE renewed for an outage", "TALLY renewed for an outage",
    "VOTE renewed for want of a quorum", "TALLY renewed for want of a quorum",
    *(f"ban of the first in {state}" for state in ("OPEN", "REVEAL", "TALLY")),
    "ban of a seated account in VOTE", "ban of a seated account in TALLY", "ban with credits unbonding",
    "banned again", "jailed as checker", "released", "pruned", "more deadlines than a block takes",
    "more releases than a block takes", "more to prune than a block takes",
    *(f"{kind} succeeds" for kind in HANDLERS if kind not in ("declare_validator", "retire_validator")),
)  # fmt: skip
"""What a run by chance must have met, or the machine's rules have become too narrow: extend them then.

What chance meets a few times or less is played in `test_scenes.py`: which examples are drawn changes with the program,
and from Hypothesis to Hypothesis.
"""


def pick(choice: int, options: Sequence[Any]) -> Any:
    """Return one of some options; shrinks to the first."""
    return options[choice % len(options)]


def share_out(votes: Sequence[Vote], seats: dict[int, int]) -> list[tuple[bytes, int]]:
    """Return accounts and opinions, each opinion with at most so many seats; who fits nowhere is left out."""
    parts, left = [], dict(seats)
    for vote in sorted(votes, key=lambda v: -v.seats):
        opinion = next((opinion for opinion, free in left.items() if vote.seats <= free), None)
        if opinion is not None:
            left[opinion] -= vote.seats
            parts.append((vote.account, opinion))
    return parts
