"""Write chain-config/ from the parameter sets and CometBFT settings in the code, or with --check compare.

chain-config/<set>/config.toml holds the settings that differ from CometBFT's default, each with its reason;
chain-config/<set>/genesis.json is a genesis file without accounts and validators, which `lc node init` fills in.
"""

import argparse
import json
import sys
from pathlib import Path

import tomlkit
from tomlkit.items import Table

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis_json import render_genesis
from abci_app.protocol.params import RULES, SETS, get_params
from learningchain.cometbft_config import SETTINGS, build_consensus_params

FOLDER = Path(__file__).resolve().parent.parent / "chain-config"


def render_settings(set_name: str) -> str:
    """Return the part of config.toml that differs from CometBFT's default, with reasons."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"What the set {set_name!r} changes in CometBFT's config.toml, and why."))
    document.add(tomlkit.comment("Written by tools/gen_chain_config.py from learningchain/cometbft_config.py."))
    column = SETS.index(set_name)
    tables: dict[str, Table] = {}
    for setting in SETTINGS:
        value = setting.values[column]
        if value is None:
            continue
        section, _, name = setting.path.rpartition(".")
        target: Table | tomlkit.TOMLDocument = tables.setdefault(section, tomlkit.table()) if section else document
        target.add(tomlkit.comment(setting.reason))
        target.add(name, value)
    for section, table in tables.items():
        document.add(section, table)
    return tomlkit.dumps(document)


def render_genesis_template(set_name: str) -> str:
    """Return a genesis file without a time, accounts and validators."""
    params = get_params(set_name)
    document = {
        "chain_id": f"learningchain-{set_name}",
        "initial_height": "1",
        "consensus_params": build_consensus_params(set_name, params),
        "validators": [],
        "app_hash": "",
        "app_state": json.loads(render_genesis(pb.Genesis(params=params))),
    }
    return json.dumps(document, indent=2) + "\n"


def render_readme() -> str:
    """Return the README: what the folder is, and a table of all parameters."""
    lines = [
        "# Chain configuration",
        "",
        "Four sets of parameters: `devnet` for one machine, `public` for a network of strangers, `minimal` for tests",
        "(small caps, so that every cap is reached) and `bench` for measuring (quota out of the way). Each folder has",
        "`config.toml`: what the set changes in CometBFT's settings, and why; and `genesis.json`: the genesis file",
        "before accounts and validators are filled in. `lc node init` and `lc devnet up` use the same values.",
        "",
        "What differs from node to node is not here, but written by `lc node init`: `moniker`, `proxy_app`, `abci`,",
        "`rpc.laddr` and `p2p.persistent_peers`; and `p2p.laddr`, which is loopback except in a public network, since",
        "the other sets are for one machine.",
        "",
        "This folder is written by `tools/gen_chain_config.py` from `abci_app/protocol/params.py` and",
        "`learningchain/cometbft_config.py`; a test compares. Change the values there.",
        "",
        "## Parameters",
        "",
        f"| parameter | unit | lowest | highest | {' | '.join(SETS)} |",
        f"|---|---|---|---|{'---|' * len(SETS)}",
    ]
    for rule in RULES:
        values = " | ".join(str(getattr(rule, name)) for name in SETS)
        lines.append(f"| `{rule.name}` | {rule.unit} | {rule.low} | {rule.high} | {values} |")
    return "\n".join(lines) + "\n"


def render_all() -> dict[Path, str]:
    """Return all files of the folder by path below it."""
    files = {Path("README.md"): render_readme()}
    for set_name in SETS:
        files[Path(set_name) / "config.toml"] = render_settings(set_name)
        files[Path(set_name) / "genesis.json"] = render_genesis_template(set_name)
    return files


def main() -> int:
    """Write the folder, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed files differ")
    check: bool = parser.parse_args().check
    differ = 0
    for path, text in render_all().items():
        target = FOLDER / path
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"chain-config/{path} is out of date: run 'python -m tools.gen_chain_config'", file=sys.stderr)
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main())
