"""Write the Python modules of proto/ to a folder (default abci_app/pb), or with --check compare them.

protoc emits absolute imports by proto path; they are rewritten to live inside the package `abci_app.pb`.
"""

import argparse
import filecmp
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUT = ROOT / "abci_app" / "pb"
SERVICES = {"tendermint/abci/types.proto"}
IMPORT = re.compile(r"^(from|import) (tendermint|gogoproto|learningchain)\b", re.MULTILINE)


def generate(out: Path) -> None:
    """Run protoc for every schema and make the result a package below `out`."""
    files = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    base = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    subprocess.run([*base, f"--python_out={out}", f"--pyi_out={out}", *files], check=True)
    subprocess.run([*base, f"--grpc_python_out={out}", *sorted(SERVICES)], check=True)
    for path in sorted([*out.rglob("*.py"), *out.rglob("*.pyi")]):
        path.write_text(IMPORT.sub(r"\1 abci_app.pb.\2", path.read_text()))
    for folder in [out, *(p for p in out.rglob("*") if p.is_dir())]:
        (folder / "__init__.py").touch()


def list_files(folder: Path) -> list[Path]:
    """Return all generated files below `folder`, relative and sorted."""
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.suffix in {".py", ".pyi"})


def main() -> int:
    """Generate, or compare with what is committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed code differs")
    args = parser.parse_args()
    if not args.check:
        OUT.mkdir(parents=True, exist_ok=True)
        generate(OUT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = sorted({*list_files(fresh), *list_files(OUT)})
        _, differ, missing = filecmp.cmpfiles(fresh, OUT, [str(n) for n in names], shallow=False)
    for name in sorted([*differ, *missing]):
        print(f"abci_app/pb/{name} is not what proto/ gives: run 'make proto' and commit it", file=sys.stderr)
    return 1 if differ or missing else 0


if __name__ == "__main__":
    sys.exit(main())
