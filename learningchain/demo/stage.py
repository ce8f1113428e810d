"""The network of the demo and everything the story needs of it: who is who, one client, the contractor's commands."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from abci_app.protocol.bech32 import encode_address
from learningchain.amounts import format_credits
from learningchain.client import SyncClient, connect
from learningchain.demo.screen import Screen
from learningchain.devnet.network import RunningDevnet
from learningchain.devnet.plan import CONTRACTOR
from learningchain.processes import get_environ, get_module_command
from learningchain.wallet import Keystore

COMMAND_SECONDS: Final = 120.0
READY_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.3
USUAL_READY_SECONDS: Final = 4.0
MOST_WORDS: Final = 800
"""Characters from the end of what a command wrote, where it wrote no error as JSON."""


class DemoFailed(Exception):
    """Something of the story did not happen; the text says what."""


class Stage:
    """A running devnet with its people."""

    def __init__(self, devnet: RunningDevnet, screen: Screen, image: str, folder: Path) -> None:
        """`image` is the job image by digest, `folder` takes what the demo leaves behind."""
        self.devnet = devnet
        self.screen = screen
        self.image = image
        self.folder = folder
        self.node = devnet.plan.get_node_url(0)
        self.client = SyncClient(connect(self.node))
        self.names = self._read_names()
        self.people = len(self.names)
        """Accounts of the network; whoever is added to `names` later is a stranger."""
        self._pace = 1.0

    def _read_names(self) -> dict[bytes, str]:
        """Return the people by address."""
        home = self.devnet.home
        names = {Keystore(home.root / "keys").get(CONTRACTOR).address: CONTRACTOR}
        for name in [*(entry.name for entry in self.devnet.plan.validators), *self.devnet.plan.workers]:
            names[Keystore(home.get_worker(name) / "keys").get("worker").address] = name
        return names

    def get_name(self, address: bytes | str) -> str:
        """Return the name of an account, its address if it has none."""
        text = address if isinstance(address, str) else encode_address(address)
        return next((name for known, name in self.names.items() if encode_address(known) == text), text)

    def get_address(self, name: str) -> bytes:
        """Return the address of somebody."""
        return next(address for address, known in self.names.items() if known == name)

    def wait_until_ready(self) -> None:
        """Wait until every checker serves models and every training worker has an account."""
        trainers = self.devnet.plan.workers
        validators = len(self.devnet.plan.validators)

        def is_ready() -> bool:
            accounts = [self.client.get_account(self.get_address(name)) for name in trainers]
            return len(self.client.list_relays()) == validators and all(account is not None for account in accounts)

        start = time.monotonic()
        self.wait_for(is_ready, READY_SECONDS, "waiting for the checkers' relays and the accounts of ada and bob …")
        self._pace = max(1.0, (time.monotonic() - start) / USUAL_READY_SECONDS)

    def stretch(self, seconds: int, most: int) -> int:
        """Return how long a race of `seconds` is on this machine: longer if the network was slow to be ready."""
        return min(round(self._pace * seconds), most)

    def wait_for(self, is_true: Callable[[], bool], seconds: float, text: str) -> None:
        """Wait for what `text` names. Raises DemoFailed, or DevnetError if a process ended."""
        end = time.monotonic() + seconds
        while not is_true():
            self.devnet.check()
            if time.monotonic() > end:
                raise DemoFailed(f"{text} not within {seconds:.0f} s")
            self.screen.murmur(text)
            time.sleep(POLL_SECONDS)

    def run_lc(self, *arguments: str) -> dict[str, Any]:
        """Run a command of the contractor, as a person would, and return its JSON. Raises DemoFailed."""
        where = ["--home", str(self.devnet.home.root), "--node", self.node, "--output", "json"]
        process = subprocess.Popen(
            get_module_command("learningchain.cli", *arguments, *where),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=get_environ(),
        )  # fmt: skip
        end = time.monotonic() + COMMAND_SECONDS
        while True:
            try:
                out, err = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > end:
                    process.kill()
                self.screen.murmur(f"lc {' '.join(arguments[:2])} …")
        if process.returncode != 0:
            raise DemoFailed(f"lc {' '.join(arguments)} failed with code {process.returncode}: {_read_error(err)}")
        answer: dict[str, Any] = json.loads(out)
        return answer

    def describe_training(self) -> str:
        """Return what the training workers print right now, '' if nothing trains."""
        parts = []
        for name in self.devnet.plan.workers:
            for line in self.devnet.home.read_worker_status(name).get("training", {}).values():
                loss = f" loss {line['loss'][:7]}" if line["loss"] else ""
                parts.append(f"{name} trains: step {line['step']}{loss} (its own figure)")
        return " · ".join(parts)

    def get_balances(self) -> dict[str, str]:
        """Return everybody's balance in credits."""
        balances = {}
        for address, name in self.names.items():
            found = self.client.get_account(address)
            balances[name] = format_credits(found.account.balance if found is not None else 0)
        return balances

    def close(self) -> None:
        """Close the client; the network is ended by whoever started it."""
        self.client.close()


def _read_error(text: str) -> str:
    """Return what a command said went wrong and what to do, from its last line of JSON if it wrote that."""
    lines = text.strip().splitlines()
    try:
        error = json.loads(lines[-1])["error"]
        return f"{error['message']}; {error['hint']}"
    except (LookupError, ValueError, TypeError):
        return text.strip()[-MOST_WORDS:]
