"""A Unix socket before the engine's that can be cut, as if the engine had died."""

import contextlib
import socket
import threading
from pathlib import Path


class EngineProxy:
    """Forwards bytes both ways until `cut`; from then on nothing answers, until `mend`."""

    def __init__(self, path: Path, docker_host: str) -> None:
        self.url = f"unix://{path}"
        self._target = docker_host.removeprefix("unix://")
        self._is_cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for connection in self._open:
            _end(connection)

    def mend(self) -> None:
        self._is_cut = False

    def stop(self) -> None:
        self.cut()
        _end(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self._is_cut:
                    client.close()
                    continue
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._target)
                self._open += [client, engine]
                for source, target in ((client, engine), (engine, client)):
                    threading.Thread(target=_forward, args=(source, target), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _end(source)
    _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
