"""Proofs that a record has a value, or that there is none, against an app hash.

A proof of presence is a chain of CometBFT's `simple:v` operations: one for the record's tree (more if its path is
shared for 60 bits), one for the map of the stores. A proof of absence starts with an operation of our own, AbsenceOp.
The app hash of height H is in the header of H + 1.
"""

from abci_app.protocol.proof.build import prove
from abci_app.protocol.proof.check import ProofError, check_absence, check_value

__all__ = ["ProofError", "check_absence", "check_value", "prove"]
