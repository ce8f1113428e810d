"""Relays are named by strangers: what looking up such a name costs."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from learningchain.addresses import AddressRefused, Target
from worker.models.store import ModelStore
from worker.models.transfer import NAMES, ModelTransfer


def test_a_name_that_nobody_answers_for_delays_no_announcement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up takes the resolver many seconds: some such relays in a row, and the best loss comes too late."""
    over = threading.Event()

    def look_up(url: str, allow_loopback: bool) -> Target:
        if "silent" in url:
            over.wait()
        if "public" not in url:
            raise AddressRefused("not at a public address")
        return Target(url, {}, {})

    monkeypatch.setattr("worker.models.transfer.resolve", look_up)

    async def play() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(NAMES))  # workers have more
        transfer = ModelTransfer(ModelStore(tmp_path / "s", 10))
        inner = [f"http://inner{number}" for number in range(2 * NAMES)]
        assert await transfer.may_reach_one([*inner, "http://public"])
        assert not await transfer.may_reach_one(inner)
        assert not await transfer.may_reach_one([])
        silent = [f"http://silent{number}" for number in range(NAMES - 1)]
        try:
            assert await asyncio.wait_for(transfer.may_reach_one([*silent, "http://public", *inner]), 30)
        finally:
            over.set()
        await transfer.aclose()

    asyncio.run(play())
