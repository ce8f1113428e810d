"""A two-layer perceptron in numpy, and its file: an .npz without pickled objects."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Parameters = dict[str, Floats]

PIXELS = 64
CLASSES = 10
MAX_HIDDEN = 4096
"""Refuses a model that would only waste memory."""


def make_parameters(hidden: int, generator: np.random.Generator) -> Parameters:
    """Return untrained weights: He initialisation, zero biases."""
    return {
        "w1": (generator.standard_normal((PIXELS, hidden)) * np.sqrt(2 / PIXELS)).astype(np.float32),
        "b1": np.zeros(hidden, np.float32),
        "w2": (generator.standard_normal((hidden, CLASSES)) * np.sqrt(1 / hidden)).astype(np.float32),
        "b2": np.zeros(CLASSES, np.float32),
    }


def compute_hidden(parameters: Parameters, pixels: Floats) -> Floats:
    """Return the hidden activations, shape (n, hidden)."""
    return np.maximum(pixels @ parameters["w1"] + parameters["b1"], 0)


def compute_probabilities(parameters: Parameters, hidden: Floats) -> Floats:
    """Return the class probabilities, shape (n, 10), each row with sum 1."""
    logits = hidden @ parameters["w2"] + parameters["b2"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def save(parameters: Parameters, path: Path) -> None:
    """Write a model file, replaced atomically, so that a copy taken at any moment is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as output:
        np.savez(output, **parameters)
        output.flush()
        os.fsync(output.fileno())
    part.replace(path)


def load(path: Path) -> Parameters:
    """Read a model file; raise ValueError unless it holds exactly the weights of such a network."""
    with np.load(path, allow_pickle=False) as stored:
        parameters = {name: np.asarray(stored[name], np.float32) for name in ("w1", "b1", "w2", "b2")}
    hidden = parameters["b1"].size
    shapes = {"w1": (PIXELS, hidden), "b1": (hidden,), "w2": (hidden, CLASSES), "b2": (CLASSES,)}
    if not 0 < hidden <= MAX_HIDDEN or any(parameters[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("the model's arrays do not have the shapes of a 64–hidden–10 network")
    if not all(np.isfinite(array).all() for array in parameters.values()):
        raise ValueError("the model holds numbers that are not finite")
    return parameters
