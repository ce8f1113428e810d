"""`python -m abci_app`: the application process that a validator runs beside CometBFT."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from abci_app.protocol.crypto import CryptoMismatch, self_test
from abci_app.server.address import Address, parse_address
from abci_app.server.application import ChainApplication
from abci_app.server.dispatch import Dispatcher, NodeFailure
from abci_app.server.grpc_server import GrpcServer
from abci_app.server.preflight import StartRefused, check_chain, check_protobuf, read_mempool_size
from abci_app.server.socket_server import SocketServer
from abci_app.store.interface import Store, StoreError
from abci_app.store.lmdb_store import LmdbStore

LOG = structlog.get_logger("abci_app")

EXIT_STOPPED: Final = 0
EXIT_REFUSED: Final = 1
EXIT_FAILED: Final = 3
"""Stopped by a signal; refused to start; stopped because going on could have been wrong. 2 is argparse's."""

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Objects before the youngest generation is collected, and collections before the next older one is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the application until a signal comes. Returns the exit code."""
    options = _parse(arguments)
    _configure_logging()
    try:
        self_test()
        check_protobuf()
        mempool_size = read_mempool_size(options.cometbft_home)
        folder = options.home / "state"
        LOG.info("opening", state=str(folder))  # takes seconds for each million of records if nothing is cached
        store = LmdbStore(folder)
    except (CryptoMismatch, StartRefused, StoreError) as error:
        LOG.error("refused to start", reason=str(error))
        return EXIT_REFUSED
    try:
        check_chain(options.cometbft_home, store.meta)
        return _serve(store, mempool_size, options.transport, options.address)
    except StartRefused as error:
        LOG.error("refused to start", reason=str(error))
        return EXIT_REFUSED
    finally:
        store.close()


def _serve(store: Store, mempool_size: int, transport: str, address: Address) -> int:
    application = ChainApplication(store, mempool_size)
    kind: type[SocketServer | GrpcServer] = SocketServer if transport == "socket" else GrpcServer
    try:
        server = kind(Dispatcher(application), address)
    except OSError as error:
        LOG.error("refused to start", reason=str(error))
        return EXIT_REFUSED

    def stop(*_: object) -> None:
        _ignore_signals()  # enough of them would call this within itself until the stack is full
        server.stop()

    for number in _STOPPING:
        signal.signal(number, stop)
    _calm_collector()
    LOG.info("ready", address=str(server.address), transport=transport, height=store.meta.height)
    try:
        server.serve()
    except NodeFailure as error:
        LOG.error("stopped", reason=str(error))
        return EXIT_FAILED
    finally:
        _ignore_signals()  # one that comes while Python ends would change the exit code
    LOG.info("stopped", height=store.meta.height)
    return EXIT_STOPPED


def _ignore_signals() -> None:
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _calm_collector() -> None:
    """Collect cyclic garbage less often: the hot path makes none, and walking the caches costs a tenth of the time."""
    gc.freeze()  # what is loaded by now stays and need not be walked again
    gc.set_threshold(*GC_THRESHOLDS)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m abci_app", description="The LearningChain application.")
    parser.add_argument("--home", type=Path, required=True, help="folder of the application's state")
    parser.add_argument("--transport", choices=("socket", "grpc"), default="socket", help="as 'abci' in config.toml")
    parser.add_argument("--address", help="unix:///path or tcp://127.0.0.1:port (default: abci.sock in the home)")
    parser.add_argument("--cometbft-home", type=Path, help="CometBFT's home, to check its settings")
    options = parser.parse_args(arguments)
    try:
        options.address = parse_address(options.address or f"unix://{options.home.absolute() / 'abci.sock'}")
    except ValueError as error:
        parser.error(str(error))
    return options


class _Stderr:
    """Writes lines to stderr; a node must not end because its terminal or log pipe did."""

    def msg(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # What is left in the buffer would fail again at the end of the process and change its exit code.
            sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115

    debug = info = warning = error = critical = msg


def _configure_logging() -> None:
    """Log to stderr, a line per event, with colours on a terminal only."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=lambda *_: _Stderr(),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it serves either signal ends it at once, without a traceback
    sys.exit(main())
