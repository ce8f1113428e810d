"""One hostile image, built once, sandboxes to run it in, and a registry that does what a test wants."""

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from learningchain.registry import resolve_image
from tests.sandbox.fake_registry import DrippingServer, FakeRegistry, Held, Server
from tests.sandbox.support import IMAGES, LIMITS, Evaluate, get_repository
from worker.sandbox import DockerSandbox, Evaluation, EvaluationLimits, SandboxSettings, Training, TrainingSpec
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images


@pytest.fixture(scope="session")
def engine_client(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=docker_host, version="auto", timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="session")
def build(engine_client: docker.APIClient, registry: str, base_image: str) -> Callable[..., str]:
    """Return a function that builds an image from a Dockerfile's text, pushes it, and returns its name by digest."""
    return lambda name, dockerfile="": _build(engine_client, registry, base_image, name, dockerfile)


def _build(client: docker.APIClient, registry: str, base: str, name: str, dockerfile: str) -> str:
    repository = get_repository(registry, name)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(IMAGES / "hostile", arcname=".")
        if dockerfile:
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(dockerfile)
            archive.addfile(info, io.BytesIO(dockerfile.encode()))
    options = {"buildargs": {"BASE": base}, "network_mode": "none", "rm": True, "forcerm": True, "decode": True}
    for record in client.build(fileobj=context.getvalue(), custom_context=True, tag=f"{repository}:1", **options):
        assert "error" not in record, record
    for record in client.push(repository, "1", stream=True, decode=True):
        assert "error" not in record, record
    return resolve_image(f"{repository}:1").reference  # not every engine says the digest


@pytest.fixture(scope="session")
def hostile(build: Callable[..., str]) -> str:
    return build("hostile")


@pytest.fixture(scope="session")
def sandbox(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    yield from _open(docker_host, tmp_path_factory.mktemp("loop"), "loop")


@pytest.fixture(scope="session")
def engine_sandbox(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    yield from _open(docker_host, tmp_path_factory.mktemp("engine"), "engine")


def _open(docker_host: str, home: Path, storage: str) -> Iterator[DockerSandbox]:
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=home, engine=docker_host, storage=storage, free_reserve_mib=64)
    )
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(params=["loop", "engine"])
def any_sandbox(request: pytest.FixtureRequest) -> DockerSandbox:
    """Each way to keep the writable places in its cap."""
    name = "sandbox" if request.param == "loop" else "engine_sandbox"
    found = request.getfixturevalue(name)
    assert isinstance(found, DockerSandbox)
    return found


@pytest.fixture
def evaluate(sandbox: DockerSandbox, hostile: str, tmp_path: Path) -> Evaluate:
    """Return a function that evaluates a model given as text."""

    def run(model: str, limits: EvaluationLimits = LIMITS, chosen: DockerSandbox = sandbox) -> Evaluation:
        path = tmp_path / "model"
        path.write_text(model, encoding="utf-8")
        return chosen.evaluate(hostile, path, limits)

    return run


@pytest.fixture
def train() -> Iterator[Callable[[DockerSandbox, TrainingSpec], Training]]:
    """Return a function that starts training and forgets it after the test."""
    started: list[Training] = []

    def start(sandbox: DockerSandbox, spec: TrainingSpec) -> Training:
        started.append(sandbox.start_training(spec))
        return started[-1]

    yield start
    for training in started:
        training.close(forget=True)


@pytest.fixture
def deadline_ms() -> int:
    return int(time.time() * 1000) + 120_000


@pytest.fixture
def registry_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def fake(registry_server: Server) -> FakeRegistry:
    return registry_server.registry


@pytest.fixture
def held() -> Iterator[Held]:
    """A rule of the registry that does not answer before the test ends, unless it is let go."""
    rule = Held()
    yield rule
    rule.let_go()


@pytest.fixture
def dripping() -> Iterator[DrippingServer]:
    server = DrippingServer()
    yield server
    server.stop()


@pytest.fixture
def engine(docker_host: str) -> Iterator[Engine]:
    engine = Engine(docker_host)
    yield engine
    engine.close()


@pytest.fixture
def images(engine: Engine, tmp_path: Path) -> Images:
    return Images(
        engine, SandboxSettings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), tmp_path, lambda: None
    )
