"""What happened to a job, read from the blocks: the state keeps who stands, not who stood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.client import SyncClient, decode

MAX_BLOCKS: Final = 5_000
"""How far back announcements are looked for."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One accepted announcement; `place` counts from 0. Losses in 1e-9."""

    height: int
    time_ms: int
    account: bytes
    loss: int
    ranked_loss: int
    place: int


@dataclass(frozen=True, slots=True)
class History:
    """Accepted announcements in order; `complete` is False if the blocks do not reach back to the submission."""

    announcements: Sequence[Announcement]
    complete: bool


def read_history(client: SyncClient, job: pb.Job) -> History:
    """Read a job's announcements from the blocks while it was open, at most MAX_BLOCKS of them."""
    last = client.get_status().height
    end = min(last, job.settled_height or last)
    start = max(1, job.submitted_height, end - MAX_BLOCKS + 1)
    found: list[Announcement] = []
    for height in client.list_filled_blocks(start, end):
        block = client.get_block_events(height)
        if block.time_ms > job.terms.expiry_ms:
            break
        for event in block.events:
            fields = dict(event.attributes)
            if event.type == "job.announced" and fields.get("job_id") == str(job.id):
                found.append(_read(height, block.time_ms, fields))
    return History(found, start <= max(1, job.submitted_height))


def _read(height: int, time_ms: int, fields: dict[str, str]) -> Announcement:
    return Announcement(
        height,
        time_ms,
        decode.get_bytes(fields, "account"),
        decode.get_int(fields, "loss"),
        decode.get_int(fields, "ranked_loss"),
        decode.get_int(fields, "place"),
    )
