"""The settings file of a worker: `worker.toml` in its home. Every value can also come from the environment
(`LC_WORKER_<SECTION>__<NAME>`). Credits are written in credits, times in seconds, sizes in MiB.
"""

import shlex
from pathlib import Path
from typing import Annotated

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableEnvironment

from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.limits import DIGEST_BYTES, MAX_LOCATION_BYTES, MIB
from learningchain.addresses import AddressRefused, check_url
from learningchain.amounts import parse_credits
from learningchain.models import get_model_url
from worker.policy import Policy
from worker.resources import LEAST
from worker.sandbox import SandboxSettings

FILE_NAME = "worker.toml"
Count = Annotated[int, Field(ge=0, le=2**31)]


class SettingsError(Exception):
    """The settings cannot be used; the text names the value and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Jobs(_Section):
    """Which jobs are trained."""

    train: bool = True
    risk_bond: bool = False
    min_bounty: str = "1"
    base_bounty: str = "100"
    min_time_left: Count = 10
    max_executions: Count = 0
    max_parallel: Annotated[int, Field(ge=1, le=1_000)] = 1
    allowed_owners: list[str] = []
    refused_owners: list[str] = []
    allowed_registries: list[str] = []
    refused_registries: list[str] = []
    max_refunded_share: Annotated[int, Field(ge=0, le=100)] = 50
    max_image: Count = 8_192
    max_deposit: str = "0"
    checkpoint_every: Annotated[int, Field(ge=1, le=3_600)] = 5
    evaluations: Annotated[int, Field(ge=3, le=100)] = 3


class Resources(_Section):
    """What all trainings together may use; a job that names no needs gets an equal share for `max_parallel` of them."""

    milli_cpus: Annotated[int, Field(ge=LEAST.milli_cpus)] = 1_000
    memory: Annotated[int, Field(ge=LEAST.memory_mib)] = 2_048
    disk: Annotated[int, Field(ge=LEAST.disk_mib)] = 8_192


class SandboxSection(_Section):
    """The container engine."""

    engine: str = ""
    runtime: str = "runc"
    cpus: list[Count] = []
    storage: str = "auto"
    free_reserve: Count = 2_048
    plain_http_registries: list[str] = []
    mirrors: dict[str, list[str]] = {}


class Models(_Section):
    """The model store; without `listen` nothing is served, without `endpoint` no location is given."""

    max_size: Count = 4_096
    listen: str = ""
    endpoint: str = ""
    allow_loopback: bool = False


class WorkerSettings(BaseSettings):
    """All settings of one worker."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix="LC_WORKER_", env_nested_delimiter="__")

    node: str = "http://127.0.0.1:26657"
    key: str = "worker"
    account: str = ""
    """Address, where `key` is a work key of another account."""
    check: bool = True
    jobs: Jobs = Jobs()
    resources: Resources = Resources()
    sandbox: SandboxSection = SandboxSection()
    models: Models = Models()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file that `load_settings` gives."""
        return env_settings, init_settings

    def make_policy(self) -> Policy:
        """Return the decision maker's plain values. Raises SettingsError for amounts, addresses and small shares."""
        jobs = self.jobs
        self._check_shares()
        try:
            return Policy(
                train=jobs.train,
                check=self.check,
                risk_bond=jobs.risk_bond,
                min_bounty=parse_credits(jobs.min_bounty),
                base_bounty=parse_credits(jobs.base_bounty),
                min_time_left_ms=1000 * jobs.min_time_left,
                max_executions=jobs.max_executions,
                max_parallel=jobs.max_parallel,
                allowed_owners=frozenset(decode_address(owner) for owner in jobs.allowed_owners),
                refused_owners=frozenset(decode_address(owner) for owner in jobs.refused_owners),
                allowed_registries=frozenset(jobs.allowed_registries),
                refused_registries=frozenset(jobs.refused_registries),
                max_refunded_share=jobs.max_refunded_share,
                max_image_mib=jobs.max_image,
                milli_cpus=self.resources.milli_cpus,
                memory_mib=self.resources.memory,
                disk_mib=self.resources.disk,
                max_deposit=parse_credits(jobs.max_deposit),
                checkpoint_ms=1000 * jobs.checkpoint_every,
                evaluations=jobs.evaluations,
            )
        except ValueError as error:
            raise SettingsError(f"{FILE_NAME} cannot be used: correct section jobs: {error}") from error

    def _check_shares(self) -> None:
        resources, count = self.resources, self.jobs.max_parallel
        for name, allowed, least in (
            ("milli_cpus", resources.milli_cpus, LEAST.milli_cpus),
            ("memory", resources.memory, LEAST.memory_mib),
            ("disk", resources.disk, LEAST.disk_mib),
        ):
            if allowed < count * least:
                raise SettingsError(
                    f"{FILE_NAME}, section resources: {name} = {allowed} is too little for max_parallel = {count} "
                    f"trainings, each needs {least} at least: raise it, or lower max_parallel"
                )

    def make_sandbox_settings(self, home: Path) -> SandboxSettings:
        """Return the sandbox's settings for the worker's home."""
        section = self.sandbox
        return SandboxSettings(
            home=home / "sandbox",
            engine=section.engine,
            runtime=section.runtime,
            cpus=tuple(section.cpus),
            storage=section.storage,
            free_reserve_mib=section.free_reserve,
            plain_http_registries=tuple(section.plain_http_registries),
            trusted_registries=tuple(self.jobs.allowed_registries),
            allow_loopback=self.models.allow_loopback,
            mirrors={registry: tuple(hosts) for registry, hosts in section.mirrors.items()},
        )

    def get_store_bytes(self) -> int:
        """Return the cap of the model store in bytes."""
        return self.models.max_size * MIB


def load_settings(home: Path) -> WorkerSettings:
    """Read the settings of a worker's home. Raises SettingsError."""
    path = home / FILE_NAME
    try:
        values = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except FileNotFoundError:
        raise SettingsError(
            f"{path} does not exist: run 'lc worker init --home {shlex.quote(str(home))}' first"
        ) from None
    except (OSError, UnicodeDecodeError, tomlkit.exceptions.ParseError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    try:
        settings = WorkerSettings(**values)
    except UnreadableEnvironment as error:
        raise SettingsError(
            f"the environment's settings cannot be read ({error}): lists are written as JSON, like '[\"lc1…\"]'"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise SettingsError(f"{path} cannot be used: correct {where}: {reason}") from error
    _check_endpoint(path, settings.models.endpoint)
    return settings


def _check_endpoint(path: Path, endpoint: str) -> None:
    """Raise SettingsError for one that nobody follows, or whose models' URLs the chain would refuse in a Reveal."""
    try:
        if endpoint:
            check_url(endpoint)
    except AddressRefused as error:
        raise SettingsError(f"{path}, models.endpoint = {endpoint}: {error}; write http://HOST:PORT") from error
    longest = MAX_LOCATION_BYTES - len(get_model_url("", bytes(DIGEST_BYTES)))
    if len(endpoint) > longest:
        raise SettingsError(f"{path}, models.endpoint has {len(endpoint)} characters: {longest} are allowed")


TEMPLATE = """\
# Settings of a LearningChain worker. Credits in credits, times in seconds, sizes in MiB.
node = "http://127.0.0.1:26657"
key = "worker"            # name of the key in this home; keep savings elsewhere: a ban takes what this account holds
account = ""              # lc1… whose work key this is, added with 'lc tx set-key'; empty: the key's own account
check = true              # vote in committees; to be drawn, bond and run 'lc tx set-checker'

[jobs]
train = true
risk_bond = false         # with true also while this account holds a bond, which a ban for an announcement would take
min_bounty = "1"
base_bounty = "100"       # without a history a contractor is trusted up to this bounty, then also with what it paid out
min_time_left = 10
max_executions = 0        # jobs ever taken up, 0 = no limit
max_parallel = 1
# The next four hold for checks too: a seat that stays silent for them counts as missed.
allowed_owners = []       # lc1… addresses; empty = all
refused_owners = []
allowed_registries = []   # hosts as in the image reference; empty = all
refused_registries = []   # one without a port is refused at every port
max_refunded_share = 50   # percent of a contractor's settled jobs that may have ended badly
max_image = 8192
max_deposit = "0"         # larger deposits are not locked: only free places are taken then
checkpoint_every = 5
evaluations = 3           # fresh evaluations before an announcement, at least 3

[resources]               # what all trainings together may use; without needs of its own each gets its share
milli_cpus = 1000
memory = 2048
disk = 8192

[sandbox]
engine = ""               # unix:///… of the Docker Engine; empty: DOCKER_HOST, else the usual socket
runtime = "runc"          # or "runsc" (gVisor)
cpus = []                 # cores the sandbox may use; empty: all
storage = "auto"
free_reserve = 2048       # disk space never filled
plain_http_registries = [] # host:port; these, mirrors and allowed_registries may be at private addresses
mirrors = {}              # hosts asked before a registry, as {"docker.io" = ["mirror.example:5000"]}

[models]
max_size = 4096           # of the model store
listen = ""               # host:port or unix:/path to serve models at; empty: not served, relays are used
endpoint = ""             # the public http(s) URL of what listens; the worker puts it into its profile
allow_loopback = false    # true only where all nodes are on this machine, and the registries of jobs
"""
