"""The settings file that `lc worker init` writes says all that can be chosen, and what holds if nothing is."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomlkit

import worker
from abci_app.protocol.bech32 import encode_address
from worker.policy import Policy
from worker.sandbox import SandboxSettings
from worker.settings import TEMPLATE, Jobs, Resources, WorkerSettings

OWNER, OTHER = b"o" * 20, b"p" * 20


def list_names(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield name
        yield from list_names(value) if isinstance(value, dict) else ()


def test_the_file_holds_every_setting_with_its_default() -> None:
    written = tomlkit.parse(TEMPLATE).unwrap()
    assert written == WorkerSettings().model_dump()
    assert WorkerSettings(**written) == WorkerSettings()


def test_without_a_choice_the_policy_is_the_usual_one() -> None:
    assert WorkerSettings().make_policy() == Policy()


def test_every_choice_of_the_owner_reaches_the_policy() -> None:
    jobs = Jobs(
        train=False, risk_bond=True, min_bounty="0.000002", base_bounty="0.000003", min_time_left=4, max_executions=5,
        max_parallel=6, allowed_owners=[encode_address(OWNER)], refused_owners=[encode_address(OTHER)],
        allowed_registries=["a.example"], refused_registries=["b.example"], max_refunded_share=7, max_image=8,
        max_deposit="0.000009", checkpoint_every=10, evaluations=11,
    )  # fmt: skip
    resources = Resources(milli_cpus=12_000, memory=13_000, disk=14_000)
    expected = Policy(
        train=False, check=False, risk_bond=True, min_bounty=2, base_bounty=3, min_time_left_ms=4_000, max_executions=5,
        max_parallel=6, allowed_owners=frozenset({OWNER}), refused_owners=frozenset({OTHER}),
        allowed_registries=frozenset({"a.example"}), refused_registries=frozenset({"b.example"}), max_refunded_share=7,
        max_image_mib=8, milli_cpus=12_000, memory_mib=13_000, disk_mib=14_000, max_deposit=9, checkpoint_ms=10_000,
        evaluations=11,
    )  # fmt: skip
    assert WorkerSettings(check=False, jobs=jobs, resources=resources).make_policy() == expected
    usual = Policy()
    assert [field.name for field in fields(Policy) if getattr(expected, field.name) == getattr(usual, field.name)] == []


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
