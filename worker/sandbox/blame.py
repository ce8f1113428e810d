"""Whose failure it is when the engine refuses to make or start a container: of the image, if it can with our own.

The engine's words do not tell: they hold names that the image chose, and an image can fail in more ways than anybody
lists. Were it the machine's failure, all checkers would be silent about such an image.
"""

import contextlib
from collections.abc import Iterator

from worker.sandbox.engine import Engine, Json
from worker.sandbox.types import BrokenImageError, EngineRefusedError
from worker.sandbox.volumes import HELPER_IMAGE, ensure_helper


@contextlib.contextmanager
def blaming_image(engine: Engine, name: str, config: Json, *, starts: bool) -> Iterator[None]:
    """Raise BrokenImageError when the block fails to make, or start, what another image makes of the same `config`.

    `name` is that of the container in the block, and the beginning of the other's.
    """
    try:
        yield
    except EngineRefusedError as error:
        if engine.image(str(config["Image"])) is None:
            raise  # it was removed meanwhile
        _try_own(engine, f"{name}-own", config, starts=starts)
        raise BrokenImageError(f"no container can be started from the image: {error}") from error


def _try_own(engine: Engine, name: str, config: Json, *, starts: bool) -> None:
    """Raise OwnFailureError unless an image that holds no program can be made a container, and started, likewise."""
    ensure_helper(engine)
    container = engine.create(name, {**config, "Image": HELPER_IMAGE})
    try:
        if starts:
            engine.start(container)  # its init finds nothing to run and ends
    finally:
        engine.remove(container)
