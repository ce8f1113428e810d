"""The whole set-up as a list of steps, and the services that run while somebody uses them."""

import fcntl
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from shlex import quote
from typing import IO

from tools.setup import cometbft, engine, images, packages, pythons, registry
from tools.setup.board import Board
from tools.setup.runs import end_stale_runs
from tools.setup.settings import COMETBFT, COMETBFT_OTHER, ROOT, STATE, TEMPORARY, VENV
from tools.setup.steps import Run, Step, Work, end_stale_commands

KEEP = STATE / "keep"
"""Present while `up` wants the services to go on without a user."""
ENV_FILE = STATE / "env"

SYSTEM, PYTHON, LIBRARIES, NODE, OTHER_NODE, CONTAINERS, REGISTRY, BASE, DIGITS = (
    "System packages", "Python", "Python packages", "CometBFT", "CometBFT (other)", "Container engine", "Registry",
    "Base image", "Digits image",
)  # fmt: skip


@dataclass(slots=True)
class Services:
    """Where everything is; empty text for what was not asked for."""

    docker_host: str = ""
    registry: str = ""
    cometbft: str = ""
    cometbft_040: str = ""
    base_image: str = ""
    digits_image: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that tell programs and tests about the services, and the path of the environment."""
        named = {
            "DOCKER_HOST": self.docker_host,
            "LC_REGISTRY": self.registry,
            "LC_COMETBFT": self.cometbft,
            "LC_COMETBFT_040": self.cometbft_040,
            "LC_BASE_IMAGE": self.base_image,
            "LC_DIGITS_IMAGE": self.digits_image,
            "LC_STATE": "" if STATE == ROOT / ".state" else str(STATE),  # a shell may go on to another checkout
        }
        return {name: value for name, value in named.items() if value} | pythons.get_environ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What to set up besides Python and CometBFT."""

    containers: bool = True
    tests: bool = False
    """Also what only the tests need: another CometBFT, curl."""


@dataclass(slots=True)
class Plan:
    """The steps of one set-up; they fill in `services`."""

    wish: Wish
    services: Services = field(default_factory=Services)
    missing: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Find out which Debian packages are missing, and ask about them; raise SetupError if they cannot be had."""
        if self.wish.containers:
            packages.check_processor()
            engine_runs = engine.find_running() is not None
            needs_debian = not images.is_base_stored() and (packages.is_debian() or not images.is_hub_in_reach())
            self.missing = packages.list_missing(
                engine_runs=engine_runs, base_is_there=not needs_debian, tests=self.wish.tests
            )
            packages.check_possible(self.missing)
            if not engine_runs:
                engine.check_startable()
        else:
            self.missing = packages.list_missing_for_python()
            packages.check_possible(self.missing)
        if self.missing:
            packages.ask(self.missing)

    def list_steps(self) -> list[Step]:
        """Return the steps with what each needs; everything else runs side by side."""
        python_needs = (SYSTEM,) if packages.list_missing_for_python() else ()
        steps = [
            Step(SYSTEM, self._install_packages),
            Step(PYTHON, pythons.make_environment, python_needs),
            Step(LIBRARIES, pythons.install_packages, (PYTHON,)),
            Step(NODE, self._find_cometbft, (PYTHON,)),
        ]
        if self.wish.tests:
            steps.append(Step(OTHER_NODE, self._find_other_cometbft, (NODE,)))
        if self.wish.containers:
            steps += [
                Step(CONTAINERS, self._find_engine, (SYSTEM,)),
                Step(REGISTRY, self._start_registry, (SYSTEM,)),
                Step(BASE, self._find_base, (CONTAINERS, REGISTRY, PYTHON)),
                Step(DIGITS, self._find_digits, (BASE,)),
            ]
        return steps

    def _install_packages(self, work: Work) -> str:
        fetches_registry = self.wish.containers and registry.find_binary() is None
        refresh = fetches_registry and packages.is_debian() and packages.is_root_in_reach()
        return packages.install(work, self.missing, refresh=refresh)

    def _find_cometbft(self, work: Work) -> str:
        self.services.cometbft = str(cometbft.ensure(work, COMETBFT))
        if not self.wish.tests:
            cometbft.remove_build_caches()
        return self.services.cometbft

    def _find_other_cometbft(self, work: Work) -> str:
        self.services.cometbft_040 = str(cometbft.ensure(work, COMETBFT_OTHER))
        cometbft.remove_build_caches()
        return self.services.cometbft_040

    def _find_engine(self, work: Work) -> str:
        self.services.docker_host, text = engine.ensure(work, just_installed="docker.io" in self.missing)
        return text

    def _start_registry(self, work: Work) -> str:
        self.services.registry = registry.ensure(work)
        return self.services.registry

    def _find_base(self, work: Work) -> str:
        self.services.base_image = images.ensure_base(work, self.services.docker_host, self.services.registry)
        return self.services.base_image

    def _find_digits(self, work: Work) -> str:
        host, address = self.services.docker_host, self.services.registry
        self.services.digits_image = images.ensure_digits(work, host, address, self.services.base_image)
        return self.services.digits_image


@contextmanager
def lock(name: str, kind: int) -> Iterator[IO[str]]:
    """Hold a lock file of the state folder; the kernel drops it when this process dies, however it dies."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / name).open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up is at work in this folder; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, kind)
        yield file


@contextmanager
def running_services(wish: Wish | None = None, *, keep: bool = False) -> Iterator[Services]:
    """Set up everything and yield where it is; afterwards stop what nobody else uses, unless `keep`.

    Raises SetupError with words for the user. Several processes may use the services of one folder at once: each
    holds a shared lock, and the last one to leave stops them.
    """
    plan = Plan(wish or Wish())
    with lock("users.lock", fcntl.LOCK_SH) as users:
        try:
            with lock("setup.lock", fcntl.LOCK_EX):
                end_stale(users)
                with temporary_folder():
                    plan.prepare()
                    Run(Board()).execute(plan.list_steps())
                if keep:
                    KEEP.touch()
                    write_env_file(plan.services)
            yield plan.services
        finally:
            with deferred_signals(), lock("setup.lock", fcntl.LOCK_EX):
                leave(users)


def end_stale(users: IO[str]) -> None:
    """End what killed set-ups left at work: commands of their steps, and what `run` ran if no other `run` is alive."""
    end_stale_commands()
    if is_last(users):
        end_stale_runs()
    fcntl.flock(users, fcntl.LOCK_SH)


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Give the steps' commands an empty temporary folder, and remove it with what killed ones left there."""
    engine.remove_tree(TEMPORARY)
    TEMPORARY.mkdir(parents=True)
    try:
        yield
    finally:
        engine.remove_tree(TEMPORARY)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the block is done, so that a clean-up is never left half done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave(users: IO[str]) -> None:
    """Stop the services if this was their last user and nobody asked to keep them."""
    if KEEP.exists() or not is_last(users):
        return
    stop_all()


def is_last(users: IO[str]) -> bool:
    """Tell whether no other process uses the services (a shared lock can become exclusive)."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop_all() -> list[str]:
    """Stop every service that the set-up started here; return their names."""
    stopped = []
    try:
        if engine.stop_private():
            stopped.append("private Docker Engine")
    finally:
        if registry.stop():
            stopped.append("registry")
    ENV_FILE.unlink(missing_ok=True)
    if stopped:
        print(f"stopped: {', '.join(stopped)}", file=sys.stderr, flush=True)
    return stopped


def take_down() -> bool:
    """End the wish to keep the services; stop them if nobody uses them. False when somebody does."""
    KEEP.unlink(missing_ok=True)
    with lock("setup.lock", fcntl.LOCK_EX), (STATE / "users.lock").open("a") as users:
        if not is_last(users):
            return False
        end_stale_runs()
        stop_all()
        return True


def write_env_file(services: Services) -> None:
    """Write the file that a shell reads with `. .state/env`."""
    lines = [f"export {name}={quote(value)}" for name, value in services.environ.items() if name != "PATH"]
    ENV_FILE.write_text("\n".join([*lines, f'export PATH={quote(str(VENV / "bin"))}:"$PATH"', ""]))
