"""What is kept of an attempt at training, on a disk that is full or was cut off."""

import errno
import os
from pathlib import Path

import pytest

from tests.sandbox.support import get_spec
from worker.sandbox import DockerSandbox, OwnFailureError
from worker.sandbox.attempts import ATTEMPTS, Attempt
from worker.sandbox.spec import OWNER_LABEL

NAME = "ab" * 16
UID = 12_345


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def used_attempt(home: Path) -> Attempt:
    attempt = Attempt.open(home, NAME, UID)
    attempt.used_seconds = 7.5
    attempt.kills = 2
    attempt.close(forget=False)
    return attempt


def test_an_attempt_goes_on_where_it_was(tmp_path: Path) -> None:
    first = used_attempt(tmp_path)
    again = Attempt.open(tmp_path, NAME, UID + 1)
    assert (again.seed, again.uid, again.used_seconds, again.kills) == (first.seed, UID, 7.5, 2)
    assert (first.is_new, again.is_new) == (True, False)
    again.close(forget=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"seed": 1}', '{"seed": 1, "uid": null}'])
def test_an_attempt_that_cannot_be_read_begins_anew(tmp_path: Path, content: str) -> None:
    used_attempt(tmp_path)
    (tmp_path / ATTEMPTS / NAME / "attempt.json").write_text(content, encoding="ascii")
    again = Attempt.open(tmp_path, NAME, UID + 1)
    assert (again.is_new, again.uid, again.used_seconds, again.kills) == (True, UID + 1, 0.0, 0)
    again.close(forget=True)


def test_an_attempt_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = used_attempt(tmp_path)
    attempt.used_seconds = 9.0
    monkeypatch.setattr("worker.sandbox.attempts.os.fsync", refuse)
    assert not attempt.try_to_save()
    monkeypatch.undo()
    again = Attempt.open(tmp_path, NAME, UID)
    assert again.used_seconds == 7.5
    again.close(forget=True)


def test_an_attempt_on_a_full_disk_is_an_own_failure_and_can_be_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sandbox.attempts.os.fsync", refuse)
    with pytest.raises(OwnFailureError, match="No space left"):
        Attempt.open(tmp_path, NAME, UID)
    monkeypatch.undo()
    Attempt.open(tmp_path, NAME, UID).close(forget=True)


def test_an_attempt_is_released_although_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Attempt.open(tmp_path, NAME, UID)
    monkeypatch.setattr("worker.sandbox.attempts.os.fsync", refuse)
    attempt.close(forget=False)
    monkeypatch.undo()
    Attempt.open(tmp_path, NAME, UID).close(forget=True)


def test_an_attempt_is_forgotten_with_all_it_keeps_but_not_while_it_runs(
    any_sandbox: DockerSandbox, hostile: str, deadline_ms: int
) -> None:
    host = any_sandbox.host
    training = any_sandbox.start_training(get_spec(hostile, "ignore_term", deadline_ms))
    attempt = training.spec.attempt
    with pytest.raises(OwnFailureError, match="is running"):
        any_sandbox.forget_attempt(attempt)
    training.close(forget=False)
    assert (host.home / "attempts" / attempt).is_dir()
    for _ in range(2):
        any_sandbox.forget_attempt(attempt)
        assert not (host.home / "attempts" / attempt).exists()
    assert [each for each in host.engine.volumes(OWNER_LABEL) if attempt in each["Name"]] == []
