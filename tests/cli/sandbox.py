"""What `lc job announce|reveal` need besides the chain, in place of containers and relays."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from learningchain.cli.failure import Failure

MODEL = b"weights" * 100


class Sandbox:
    """Stands for the worker's sandbox and relays: gives the losses it is told to."""

    def __init__(self) -> None:
        self.losses: Iterator[int] = iter([50_000_000] * 100)
        self.use = 0.1
        self.scores = True
        self.uploads: list[Any] = []
        self.relays = ["http://relay.example"]
        self.failing_uploads = 0
        self.evaluations = 0

    def evaluate(self, *_: object) -> object:
        self.evaluations += 1
        return SimpleNamespace(
            has_score=self.scores,
            loss_nano=next(self.losses),
            finding=SimpleNamespace(name="MEASURED" if self.scores else "OVERRUN"),
            usage=SimpleNamespace(largest=self.use),
            detail="predict: exit status 1",
        )

    async def upload(self, claim: Any, key: Any, relays: Any, allow_loopback: bool, seconds: float) -> list[str]:
        del key, relays
        assert seconds > 0
        if self.failing_uploads:
            self.failing_uploads -= 1
            raise Failure("no relay took the model: they are behind", "try again")
        self.uploads.append((claim, allow_loopback))
        return self.relays
