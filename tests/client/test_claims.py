"""Claims: what opens an announcement made by hand survives until its turn."""

import stat
from pathlib import Path

import pytest

from abci_app.protocol.hashing import compute_model_commitment
from learningchain.claims import Claim, ClaimError, Claims

CLAIM = Claim(b"t" * 8, 3, b"a" * 20, b"d" * 32, 100, b"s" * 32, -5, "/models/m")


def test_a_claim_is_found_by_its_commitment(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    path = claims.save(CLAIM)
    expected = compute_model_commitment(CLAIM.chain_tag, 3, CLAIM.account, CLAIM.digest, CLAIM.salt)
    assert expected == CLAIM.commitment
    assert Claims(tmp_path).find(CLAIM.commitment) == CLAIM
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unknown_commitment_has_no_claim(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.save(CLAIM)
    assert claims.find(b"x" * 32) is None
    claims.forget(CLAIM.commitment)
    assert claims.find(CLAIM.commitment) is None
    claims.forget(CLAIM.commitment)


def test_a_damaged_claim_is_named(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    path = claims.save(CLAIM)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ClaimError, match=path.name):
        claims.find(CLAIM.commitment)
