"""Folders, packaging and locked dependencies are as docs/architecture.md says."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"abci_app", "learningchain", "worker"}
REQUIRED = ["abci_app", "proto", "chain-config", "worker", "tests", "docker", "README.md", "LICENSE", "docs/adr"]
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def read_pyproject() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tools: dict[str, Any] = tomllib.load(file)["tool"]
    return tools


@pytest.mark.parametrize("path", REQUIRED)
def test_a_required_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("folder", ["docker", "proto", "chain-config", "docs"])
def test_a_folder_that_would_shadow_a_module_holds_no_package(folder: str) -> None:
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_exactly_the_three_packages_are_installed() -> None:
    settings = read_pyproject()["setuptools"]["packages"]["find"]
    found = find_packages(str(ROOT), include=settings["include"])
    assert settings["namespaces"] is False
    assert {name.partition(".")[0] for name in found} == PACKAGES


def test_every_folder_with_code_of_a_package_is_a_package() -> None:
    """Else setuptools, told to ignore namespaces, leaves it out of what is installed."""
    for package in PACKAGES:
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_mypy_and_ruff_know_that_docker_is_a_library() -> None:
    tools = read_pyproject()
    overrides = {name: entry for entry in tools["mypy"]["overrides"] for name in entry["module"]}
    assert overrides["docker.*"]["follow_imports"] == "skip"
    assert "docker" in tools["ruff"]["lint"]["isort"]["known-third-party"]


def test_generated_code_is_left_out_of_style_and_types() -> None:
    tools = read_pyproject()
    overrides = {name: entry for entry in tools["mypy"]["overrides"] for name in entry["module"]}
    assert "abci_app/pb" in tools["ruff"]["extend-exclude"]
    assert overrides["abci_app.pb.*"]["ignore_errors"] is True


def test_the_continuous_check_runs_the_test_command_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == ['cd "$(dirname "$0")/.." && exec make test']


def read_requirements(name: str) -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes by package."""
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())
    found = {}
    for entry in entries:
        if match := re.match(r"([a-z0-9._-]+)==(\S+)", entry):
            found[match[1]] = (match[2], set(HASH.findall(entry)))
    return found


def read_lock() -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes of all files by package."""
    with (ROOT / "uv.lock").open("rb") as file:
        packages = tomllib.load(file)["package"]
    found = {}
    for package in packages:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        found[package["name"]] = (package["version"], {entry["hash"].removeprefix("sha256:") for entry in files})
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_exported_requirements_are_those_of_the_lock(name: str) -> None:
    lock, exported = read_lock(), read_requirements(name)
    assert exported != {}
    assert {package: lock[package] for package in exported} == exported
    assert all(hashes for _, hashes in exported.values())


def test_the_development_requirements_hold_the_whole_lock() -> None:
    assert set(read_requirements("requirements-dev.txt")) == set(read_lock()) - {"learningchain"}


def test_the_requirements_name_every_dependency_of_the_project() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    names = {re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0] for line in wanted}
    assert names <= set(read_requirements("requirements.txt"))


def test_the_lock_names_only_the_public_index() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
