"""The settings file that `lc worker init` writes says all that can be chosen, and what holds if nothing is."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomlkit

import worker
from worker.sandbox import SandboxSettings
from worker.settings import TEMPLATE, WorkerSettings


def list_names(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield name
        yield from list_names(value) if isinstance(value, dict) else ()


def test_the_file_holds_every_setting_with_its_default() -> None:
    written = tomlkit.parse(TEMPLATE).unwrap()
    assert written == WorkerSettings().model_dump()
    assert WorkerSettings(**written) == WorkerSettings()


def test_messages_name_settings_as_the_file_does() -> None:
    """What has another name inside, or is no setting at all, would be looked for in vain."""
    names = {field.name for field in fields(SandboxSettings) if "_" in field.name}
    inside = names - set(list_names(WorkerSettings().model_dump()))
    assert {"free_reserve_mib", "pull_seconds"} <= inside
    for path in Path(worker.__path__[0]).rglob("*.py"):
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert [text for text in texts if any(name in text for name in inside)] == [], path
