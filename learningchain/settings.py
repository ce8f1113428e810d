"""Settings of the tools: command line before environment (LC_…) before `<home>/client.toml` before defaults."""

import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import tomlkit
from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from learningchain.client.rpc import split_address
from learningchain.wallet import Keystore
from learningchain.wallet.files import make_private_folder, write_private

FILE: Final = "client.toml"
DEFAULT_NODE: Final = "http://127.0.0.1:26657"


class SettingsError(Exception):
    """A setting cannot be used; the text says which one and why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "correct it and run the command again") -> None:
        super().__init__(message)
        self.hint = hint


class SettingsFileError(SettingsError):
    """The settings file cannot be read."""


class NoHome(SettingsError):
    """Nothing tells where the user's files are."""

    def __init__(self) -> None:
        super().__init__("this user has no home folder", "name a folder with --home")


class Settings(BaseSettings):
    """What the tools need to know. `home` holds keys, journal and this file."""

    # An empty variable is how a shell takes one back; as a path it would be the current folder.
    model_config = SettingsConfigDict(env_prefix="LC_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(default_factory=lambda: default_home(), description="folder of keys, journal and settings")
    node: str = Field(default=DEFAULT_NODE, description="RPC address: http://HOST:PORT or unix:///PATH")
    key: str = Field(default="", description="name of the key that signs when --from is not given")
    output: Literal["text", "json"] = Field(default="text", description="form of the data on stdout")
    chain_tag: str = Field(default="", pattern="^([0-9a-f]{16})?$", description="refuse nodes of any other chain")
    password_file: Path | None = Field(default=None, description="file whose first line is the password of the key")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; there is no .env file."""
        del dotenv_settings, file_secret_settings
        chosen = init_settings().get("home") or env_settings().get("home") or default_home()
        path = Path(chosen) / FILE
        try:
            file = TomlConfigSettingsSource(settings_cls, path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise SettingsFileError(
                f"{path} cannot be read: {error}", "correct it, or move it away and write it anew: lc config set"
            ) from error
        return init_settings, env_settings, file


def default_home() -> Path:
    """Return the folder used without --home and LC_HOME. Raises SettingsError if the user has none."""
    try:
        return user_data_path("learningchain")
    except RuntimeError as error:
        raise NoHome from error


def load_settings(**given: Any) -> Settings:
    """Return the settings; `given` are those of the command line, None for not given. Raises SettingsError."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"the setting {name} is not usable: {first['msg']}") from None


def save_setting(home: Path, name: str, value: str) -> None:
    """Write one setting into the file, keeping its comments and order. Raises SettingsError, KeystoreError.

    An address is checked for its form, a key must be there; an empty key, tag or file takes the setting back.
    """
    if name not in Settings.model_fields or name == "home":
        known = ", ".join(sorted(set(Settings.model_fields) - {"home"}))
        raise SettingsError(f"there is no setting {name}", f"choose one of {known}")
    load_settings(home=home, **{name: value})
    _check_value(home, name, value)
    path = home / FILE
    if not home.exists():
        make_private_folder(home)
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    if value:
        document[name] = value
    else:
        document.pop(name, None)
    write_private(path, tomlkit.dumps(document).encode("utf-8"), overwrite=True)


def _check_value(home: Path, name: str, value: str) -> None:
    if name == "node":
        try:
            split_address(value)
        except ValueError as error:
            raise SettingsError("the setting node is not usable", str(error)) from None
    elif name == "key" and value:
        Keystore(home / "keys").find(value)
