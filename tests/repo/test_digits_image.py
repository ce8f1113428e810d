"""The demo's job image keeps the contract of job images; tried in plain containers, without the worker."""

import http.client
import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

UID = 41234
"""No user of the image."""
UNTRAINED_LOSS = 2.0
WITHOUT_LEARNING = (
    "import sys; sys.path.insert(0, '/lc/code'); import train; train.train = lambda *_: None; train.main()"
)
ENVIRONMENT = {"LC_SEED": "7", "LC_ATTEMPT": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HOME": "/tmp"}
MANIFEST_TYPES = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


class Box:
    """Runs the image's actions on folders of one test."""

    def __init__(self, client: Any, image: str, folder: Path) -> None:
        self.client = client
        self.image = image
        self.folder = folder
        for name in ("in", "out", "state"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        folder.chmod(0o755)

    def give(self, name: str, data: bytes) -> None:
        """Put a file into /lc/in."""
        (self.folder / "in" / name).write_bytes(data)

    def start(self, action: str, *, hide: bool = True, entrypoint: Sequence[str] = ("/lc/run",)) -> Any:
        """Start an action as the worker does: no network, read-only root, some uid, labels covered but for score."""
        mounts = {str(self.folder / name): {"bind": f"/lc/{name}", "mode": "rw"} for name in ("out", "state")}
        mounts[str(self.folder / "in")] = {"bind": "/lc/in", "mode": "ro"}
        return self.client.containers.run(
            self.image, entrypoint=[*entrypoint, action], detach=True, network_mode="none", read_only=True,
            user=str(UID), tmpfs={"/tmp": ""} | ({"/lc/private": "ro"} if hide else {}), volumes=mounts,
            environment=ENVIRONMENT, cap_drop=["ALL"], security_opt=["no-new-privileges"], working_dir="/", init=True,
        )  # fmt: skip

    def finish(self, container: Any, seconds: int = 60) -> tuple[int, str]:
        """Wait for the end; return exit code and output, and remove the container."""
        try:
            code = container.wait(timeout=seconds)["StatusCode"]
            return code, container.logs().decode()
        finally:
            container.remove(force=True)

    def run(self, action: str, *, hide: bool = True) -> tuple[int, str]:
        """Run an action to its end."""
        return self.finish(self.start(action, hide=hide))


@pytest.fixture(scope="module")
def client(docker_host: str, digits_image: str) -> Iterator[Any]:
    found = docker.DockerClient(base_url=docker_host, timeout=60)
    found.images.pull(digits_image)
    yield found
    found.close()


@pytest.fixture
def box(client: Any, digits_image: str, tmp_path: Path) -> Box:
    folder = tmp_path / "box"
    folder.mkdir()
    return Box(client, digits_image, folder)


def evaluate(box: Box, model: bytes) -> dict[str, Any]:
    """Predict and score a model; return the score."""
    box.give("job.json", b'{"contract": 1}')
    box.give("model", model)
    assert box.run("predict") == (0, "")
    box.give("predictions", (box.folder / "out" / "predictions").read_bytes())
    assert box.run("score", hide=False) == (0, "")
    score: dict[str, Any] = json.loads((box.folder / "out" / "score.json").read_bytes())
    return score


def read_sample(box: Box) -> bytes:
    """Return the image's sample model."""
    container = box.client.containers.create(box.image, network_mode="none")
    try:
        chunks, _ = container.get_archive("/lc/sample")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile("sample")
            assert member is not None
            return member.read()
    finally:
        container.remove(force=True)


def wait_for_output(container: Any, text: bytes, seconds: float = 120.0) -> None:
    """Wait until a program has printed a text."""
    end = time.monotonic() + seconds
    while text not in (printed := container.logs()):
        assert time.monotonic() < end, printed
        time.sleep(0.05)


def test_the_digest_names_a_single_manifest(registry: str, digits_image: str) -> None:
    repository, digest = digits_image.removeprefix(f"{registry}/").split("@")
    connection = http.client.HTTPConnection(registry, timeout=10)
    connection.request("GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": MANIFEST_TYPES})
    manifest = json.loads(connection.getresponse().read())
    connection.close()
    assert manifest["mediaType"] in MANIFEST_TYPES
    assert len(manifest["layers"]) >= 2


def test_the_image_is_for_linux_on_amd64_and_names_its_contract(client: Any, digits_image: str) -> None:
    image = client.images.get(digits_image)
    assert (image.attrs["Os"], image.attrs["Architecture"]) == ("linux", "amd64")
    assert image.labels["org.learningchain.contract"] == "1"
    assert not image.attrs["Config"].get("Volumes")


def test_the_sample_model_gets_an_untrained_score(box: Box) -> None:
    score = evaluate(box, read_sample(box))
    assert score["loss"] > UNTRAINED_LOSS
    assert 0 <= score["metrics"]["accuracy"] < 0.5


def test_the_same_model_gets_the_same_predictions_and_score_again(box: Box) -> None:
    sample = read_sample(box)
    first = evaluate(box, sample)
    predictions = (box.folder / "out" / "predictions").read_bytes()
    assert evaluate(box, sample) == first
    assert (box.folder / "out" / "predictions").read_bytes() == predictions


def test_training_writes_an_untrained_model_before_it_learns_anything(box: Box) -> None:
    box.give("job.json", json.dumps({"contract": 1, "limits": {"seconds": 12}}).encode())
    code, output = box.finish(box.start("train", entrypoint=("python3", "-c", WITHOUT_LEARNING)))
    assert (code, output) == (0, "")
    assert evaluate(box, (box.folder / "out" / "model").read_bytes())["loss"] > UNTRAINED_LOSS


def test_training_ends_with_a_good_model(box: Box) -> None:
    box.give("job.json", json.dumps({"contract": 1, "limits": {"seconds": 12}}).encode())
    code, output = box.run("train")
    assert code == 0
    progress = [json.loads(line) for line in output.splitlines()]
    assert len(progress) >= 3
    assert {"step", "total", "loss"} <= set(progress[0])
    assert progress[-1]["step"] > progress[0]["step"]
    last = (box.folder / "out" / "model").read_bytes()
    assert evaluate(box, last)["loss"] < 0.3


def test_a_stopped_training_goes_on_where_it_was(box: Box) -> None:
    box.give("job.json", json.dumps({"contract": 1, "limits": {"seconds": 60}}).encode())
    training = box.start("train")
    wait_for_output(training, b'"step"')
    training.kill("SIGTERM")
    code, output = box.finish(training)
    assert code == 0
    steps = json.loads(output.splitlines()[-1])["step"]
    again = box.start("train")
    wait_for_output(again, b"resumed at step")
    again.kill("SIGTERM")
    _, output = box.finish(again)
    assert output.startswith("resumed at step ")
    assert int(output.splitlines()[0].rpartition(" ")[2]) >= steps


def test_another_attempt_does_not_take_over_the_state(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.give("job.json", json.dumps({"contract": 1, "limits": {"seconds": 3}}).encode())
    assert box.run("train")[0] == 0
    assert (box.folder / "state" / "training.npz").exists()
    monkeypatch.setitem(ENVIRONMENT, "LC_SEED", "8")
    assert "resumed" not in box.run("train")[1]


def test_labels_are_out_of_reach_but_for_scoring(box: Box) -> None:
    mounts = {"/lc/private": "ro"}
    listing = box.client.containers.run(
        box.image, entrypoint=["find", "/lc", "-name", "*labels*"], remove=True, network_mode="none", tmpfs=mounts
    )
    assert listing == b""


@pytest.mark.parametrize(
    "predictions",
    [
        b"",
        b"1,0,0,0,0,0,0,0,0,0\n",
        b"nan," * 9 + b"1\n",
        b"not numbers",
        b"\xff\xfe",
    ],
)
def test_junk_instead_of_predictions_gets_no_score(box: Box, predictions: bytes) -> None:
    box.give("predictions", predictions)
    code, _ = box.run("score", hide=False)
    assert code != 0
    assert not (box.folder / "out" / "score.json").exists()


@pytest.mark.parametrize("model", [b"", b"PK\x03\x04 torn", b"\x80\x04\x95junk that looks like a pickle"])
def test_junk_instead_of_a_model_gets_no_predictions(box: Box, model: bytes) -> None:
    box.give("model", model)
    code, _ = box.run("predict")
    assert code != 0
    assert not (box.folder / "out" / "predictions").exists()


def test_an_unknown_action_is_refused(box: Box) -> None:
    code, output = box.run("evaluate")
    assert code == 2
    assert "usage" in output


def test_every_program_of_the_build_folder_is_named_in_its_dockerfile() -> None:
    folder = Path(__file__).resolve().parents[2] / "docker" / "examples" / "digits"
    text = (folder / "Dockerfile").read_text()
    for path in folder.glob("*.py"):
        assert path.name in text
    assert (folder / "run").stat().st_mode & 0o111
