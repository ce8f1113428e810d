"""Write /lc/out/score.json: log-loss of the predictions against the hidden labels, and their accuracy for people."""

import json
from pathlib import Path

import numpy as np

LEAST = 1e-6
"""Smallest probability that counts; the predictions carry six digits."""
CLASSES = 10
MAX_BYTES = 1 << 20


def main() -> None:
    """Score /lc/in/predictions; anything but a table of probabilities ends in an error, that is, in no score."""
    labels = np.load("/lc/private/labels.npy", allow_pickle=False)
    with Path("/lc/in/predictions").open("rb") as source:
        text = source.read(MAX_BYTES).decode("ascii")
    table = np.array([[float(cell) for cell in line.split(",")] for line in text.splitlines()])
    if table.shape != (labels.size, CLASSES):
        raise SystemExit(f"expected {labels.size} rows of {CLASSES} probabilities")
    if not np.isfinite(table).all() or (table < 0).any() or (table.sum(axis=1) <= 0).any():
        raise SystemExit("probabilities are finite, not negative, and not all zero in a row")
    shares = table / table.sum(axis=1, keepdims=True)
    loss = float(-np.log(np.maximum(shares[np.arange(labels.size), labels], LEAST)).mean())
    accuracy = float((table.argmax(axis=1) == labels).mean())
    score = {"loss": round(loss, 9), "metrics": {"accuracy": round(accuracy, 6)}}
    Path("/lc/out/score.json").write_text(json.dumps(score) + "\n")


if __name__ == "__main__":
    main()
