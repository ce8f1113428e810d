"""Train a perceptron on shifted copies of the scans, for as long as the job lasts; LC_SEED draws its character.

The seed fixes weights, width, step size, the strength of the shifts, and where in its cycles the step size begins: it
goes up and down, so a training learns fast for a while and then settles, and two machines that race take turns at being
ahead. A model file is written at the start and then every SAVE_SECONDS. SIGTERM saves the state; the same attempt
goes on from there.
"""

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import net
import numpy as np
from numpy.typing import NDArray

MODEL = Path("/lc/out/model")
STATE = Path("/lc/state/training.npz")
JOB = Path("/lc/in/job.json")
SIDE = 8
BATCH = 32
SAVE_SECONDS = 2.0
DEFAULT_SECONDS = 60.0
STEPS_AT_ONCE = 10
RISE = 4.0
"""The first step size is exp(-RISE) of the peak: the loss falls during the whole run, not in its first seconds."""
CYCLES = 3
DEPTH = 1.5
MEAN_OF_CYCLE = float(np.i0(DEPTH))
"""The step size swings between exp(DEPTH) and exp(-DEPTH) times its course; divided by this its mean stays the same."""
LEAST_SHARE = 0.05
"""The step size falls to this share of its peak at the end."""


@dataclass(frozen=True, slots=True)
class Character:
    """What the seed decides."""

    hidden: int
    peak: float
    warm_up: float
    shift: float
    phase: float

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "Character":
        """Draw from ranges in which every choice learns, at about the same pace."""
        return cls(
            hidden=int(generator.integers(48, 81)),
            peak=float(np.exp(generator.uniform(np.log(0.08), np.log(0.12)))),
            warm_up=float(generator.uniform(0.65, 0.8)),
            shift=float(generator.uniform(0.25, 0.4)),
            phase=float(generator.uniform(0, 1)),
        )

    def get_rate(self, progress: float) -> float:
        """Return the step size at `progress` (0 to 1): an exponential rise, then a cosine down, times the cycles."""
        cycle = float(np.exp(DEPTH * np.sin(2 * np.pi * (CYCLES * progress + self.phase))) / MEAN_OF_CYCLE)
        if progress < self.warm_up:
            return cycle * self.peak * float(np.exp(-RISE * (1 - progress / self.warm_up)))
        rest = min((progress - self.warm_up) / (1 - self.warm_up), 1.0)
        return cycle * self.peak * (LEAST_SHARE + (1 - LEAST_SHARE) * 0.5 * (1 + float(np.cos(np.pi * rest))))


def compute_seed() -> int:
    """Return the number that LC_SEED stands for, whatever text it is."""
    return int.from_bytes(hashlib.sha256(os.environ.get("LC_SEED", "0").encode()).digest()[:8], "big")


def get_seconds() -> float:
    """Return how long to train: until shortly before the deadline of job.json, within its train seconds."""
    try:
        job = json.loads(JOB.read_text())
    except FileNotFoundError:  # run by hand
        return DEFAULT_SECONDS
    limits = job.get("limits", {})
    left = job["deadline_ms"] / 1000 - time.time() if "deadline_ms" in job else DEFAULT_SECONDS
    return max(1.0, min(left, float(limits.get("seconds", left))) * 0.9)


def shift_images(images: net.Floats, strength: float, generator: np.random.Generator) -> net.Floats:
    """Return copies of flat images moved by up to `strength` pixels each way, by linear interpolation."""
    squares = images.reshape(-1, SIDE, SIDE)
    for axis in (1, 2):
        amount = generator.uniform(-strength, strength, (len(squares), 1, 1)).astype(np.float32)
        forward = np.roll(squares, 1, axis)
        backward = np.roll(squares, -1, axis)
        squares = (1 - np.abs(amount)) * squares + np.maximum(amount, 0) * forward + np.maximum(-amount, 0) * backward
    return squares.reshape(len(images), -1)


class Training:
    """The weights, the number of steps done and the random generator: all that a restart needs."""

    def __init__(self) -> None:
        data = np.load("/lc/data/train.npz", allow_pickle=False)
        self.pixels: net.Floats = data["pixels"]
        self.labels: NDArray[np.int64] = data["labels"]
        self.generator = np.random.default_rng(compute_seed())
        self.character = Character.draw(self.generator)
        self.parameters = net.make_parameters(self.character.hidden, self.generator)
        self.spent = 0.0
        self.step = 0

    def learn(self, progress: float) -> float:
        """Take one step of gradient descent; return the loss on its batch."""
        chosen = self.generator.integers(0, len(self.labels), BATCH)
        images = shift_images(self.pixels[chosen], self.character.shift, self.generator)
        hidden = net.compute_hidden(self.parameters, images)
        error = net.compute_probabilities(self.parameters, hidden)
        truth = error[np.arange(BATCH), self.labels[chosen]]
        loss = float(-np.log(np.maximum(truth, 1e-12)).mean())
        error[np.arange(BATCH), self.labels[chosen]] -= 1
        rate = np.float32(self.character.get_rate(progress) / BATCH)
        back = (error @ self.parameters["w2"].T) * (hidden > 0)
        self.parameters["w2"] -= rate * (hidden.T @ error)
        self.parameters["b2"] -= rate * error.sum(axis=0)
        self.parameters["w1"] -= rate * (images.T @ back)
        self.parameters["b1"] -= rate * back.sum(axis=0)
        self.step += 1
        return loss

    def save_state(self) -> None:
        """Write everything a restart of the same attempt needs."""
        if not STATE.parent.is_dir():
            return
        random = json.dumps(self.generator.bit_generator.state)
        attempt = f"{os.environ.get('LC_SEED')} {os.environ.get('LC_ATTEMPT')}"
        part = STATE.with_name("part.npz")
        np.savez(part, step=self.step, spent=self.spent, random=random, attempt=attempt, **self.parameters)
        part.replace(STATE)

    def resume(self) -> None:
        """Go on where the same attempt stopped; another attempt's state is left alone."""
        if not STATE.exists():
            return
        with np.load(STATE, allow_pickle=False) as stored:
            if str(stored["attempt"]) != f"{os.environ.get('LC_SEED')} {os.environ.get('LC_ATTEMPT')}":
                return
            self.step, self.spent = int(stored["step"]), float(stored["spent"])
            self.generator.bit_generator.state = json.loads(str(stored["random"]))
            self.parameters = {name: stored[name] for name in self.parameters}
        print(f"resumed at step {self.step}", flush=True)


def report(training: Training, total: int, loss: float) -> None:
    """Print one line of progress."""
    line = {"step": training.step, "total": max(total, training.step), "loss": round(loss, 6)}
    print(json.dumps(line), flush=True)


def train(training: Training, seconds: float) -> None:
    """Train for `seconds`, saving the model as it goes."""
    started = saved = time.monotonic()
    smooth = 2.3
    before = training.spent
    total_seconds = before + seconds
    while training.spent < total_seconds:
        for _ in range(STEPS_AT_ONCE):
            smooth += 0.02 * (training.learn(training.spent / total_seconds) - smooth)
        now = time.monotonic()
        training.spent = before + now - started
        if now - saved >= SAVE_SECONDS:
            saved = now
            net.save(training.parameters, MODEL)
            report(training, int(training.step * total_seconds / training.spent), smooth)
    net.save(training.parameters, MODEL)
    report(training, training.step, smooth)


def main() -> None:
    """Write an untrained model at once, then train; SIGTERM ends the run with its state saved."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    training = Training()
    training.resume()
    if not MODEL.exists():
        net.save(training.parameters, MODEL)
    try:
        train(training, get_seconds())
    finally:
        training.save_state()


if __name__ == "__main__":
    main()
