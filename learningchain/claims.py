"""What this machine announced by hand and must be able to open later: the model, its digest and the salt.

A claim is written before the announcement is sent. `lc job reveal` opens it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from abci_app.protocol.hashing import compute_model_commitment
from learningchain.wallet.files import FileError, make_private_folder, read_private, write_private

FOLDER: Final = "claims"


class ClaimError(Exception):
    """A claim cannot be read; the text says which."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An announcement with what opens its commitment. `loss` in 1e-9, `size` in bytes; `path` is the model's file."""

    chain_tag: bytes
    job_id: int
    account: bytes
    digest: bytes
    size: int
    salt: bytes
    loss: int
    path: str

    @property
    def commitment(self) -> bytes:
        """What the announcement committed to."""
        return compute_model_commitment(self.chain_tag, self.job_id, self.account, self.digest, self.salt)


class Claims:
    """A private folder of claims: one file per commitment."""

    def __init__(self, home: Path) -> None:
        """Use the folder `claims` of a home, made at the first write."""
        self.folder = home / FOLDER

    def save(self, claim: Claim) -> Path:
        """Write a claim durably and return its file."""
        make_private_folder(self.folder)
        path = self._path(claim.commitment)
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(claim).items()}
        write_private(path, (json.dumps(fields, indent=1) + "\n").encode("utf-8"), overwrite=True)
        return path

    def find(self, commitment: bytes) -> Claim | None:
        """Return the claim that opens a commitment. Raises ClaimError for a file that cannot be used."""
        path = self._path(commitment)
        try:
            return _decode(json.loads(read_private(path)))
        except FileNotFoundError:
            return None
        except FileError as error:
            raise ClaimError(f"the claim {path} cannot be used: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ClaimError(
                f"the claim {path} is damaged: restore it from a backup, the model cannot be revealed without ({error})"
            ) from error

    def forget(self, commitment: bytes) -> None:
        """Remove a claim that is of no use any more; the model's file stays."""
        self._path(commitment).unlink(missing_ok=True)

    def _path(self, commitment: bytes) -> Path:
        return self.folder / f"{commitment.hex()}.json"


def _decode(fields: dict[str, Any]) -> Claim:
    return Claim(
        chain_tag=bytes.fromhex(fields["chain_tag"]),
        job_id=int(fields["job_id"]),
        account=bytes.fromhex(fields["account"]),
        digest=bytes.fromhex(fields["digest"]),
        size=int(fields["size"]),
        salt=bytes.fromhex(fields["salt"]),
        loss=int(fields["loss"]),
        path=str(fields["path"]),
    )
