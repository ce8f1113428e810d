"""Takes the sample model out of an image."""

from pathlib import Path

from worker.sandbox.artifacts import NoArtifactError, copy_archived
from worker.sandbox.blame import blaming_image
from worker.sandbox.host import Host
from worker.sandbox.types import BrokenImageError

SAMPLE = "/lc/sample"


def copy_sample(host: Host, image: str, cap: int, into: Path) -> None:
    """Copy /lc/sample of at most `cap` bytes to the new file `into`. Raises BrokenImageError, OwnFailureError.

    The container is made only to be read; nothing of the image runs.
    """
    config = {
        "Image": image,
        "Entrypoint": ["/lc/run"],
        "Cmd": [],
        "Labels": host.get_labels(),
        "NetworkDisabled": True,
    }
    with host.name() as name:
        with blaming_image(host.engine, name, config, starts=False):
            container = host.engine.create(name, config)
        try:
            with host.engine.archive(container, SAMPLE) as found, into.open("xb") as target:
                if found is None:
                    raise BrokenImageError(f"the image has no {SAMPLE}: put a small valid model there")
                copy_archived(found[0], SAMPLE, cap, target)
        except NoArtifactError as error:
            raise BrokenImageError(f"the image has no usable sample: {error}") from None
        finally:
            host.engine.remove(container)
