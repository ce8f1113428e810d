"""Split the scans into what the image holds: training set, held-out inputs, hidden labels, an untrained sample model.

Usage: prepare.py digits.csv.gz FOLDER. Every fifth scan is held out. Pixels go from 0–16 to 0–1.
"""

import gzip
import sys
from pathlib import Path

import net
import numpy as np

SCANS = 1797
HOLD_OUT_EVERY = 5
SAMPLE_SEED = 1
SAMPLE_HIDDEN = 16


def main() -> None:
    """Read the table (64 pixels and the digit in each row) and write the folder."""
    table = np.loadtxt(gzip.open(sys.argv[1], "rt"), delimiter=",")  # noqa: SIM115  # the process ends right after
    if table.shape != (SCANS, net.PIXELS + 1):
        raise SystemExit(f"expected {SCANS} rows of {net.PIXELS + 1} numbers, found {table.shape}")
    pixels, labels = (table[:, :-1] / 16).astype(np.float32), table[:, -1].astype(np.int64)
    held_out = np.arange(SCANS) % HOLD_OUT_EVERY == 0
    out = Path(sys.argv[2])
    for folder in (out / "data", out / "private"):
        folder.mkdir(parents=True)
    np.savez(out / "data" / "train.npz", pixels=pixels[~held_out], labels=labels[~held_out])
    np.save(out / "data" / "held_out.npy", pixels[held_out])
    np.save(out / "private" / "labels.npy", labels[held_out])
    net.save(net.make_parameters(SAMPLE_HIDDEN, np.random.default_rng(SAMPLE_SEED)), out / "sample")


if __name__ == "__main__":
    main()
