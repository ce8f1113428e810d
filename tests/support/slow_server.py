"""A server that answers as slowly, or as much, as a test wants: what a node must never be waited for."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def serve_pieces(make_pieces: Callable[[threading.Event], Iterable[bytes]]) -> Iterator[str]:
    """Send the pieces to whoever connects and give the address; the event is set when the test is over."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listener, make_pieces, over))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def drip(data: bytes, seconds: float) -> Callable[[threading.Event], Iterator[bytes]]:
    """Return pieces of one byte each, `seconds` apart."""

    def make(over: threading.Event) -> Iterator[bytes]:
        for number in range(len(data)):
            yield data[number : number + 1]
            if over.wait(seconds):
                return

    return make


def _accept(
    listener: socket.socket, make_pieces: Callable[[threading.Event], Iterable[bytes]], over: threading.Event
) -> None:
    serving = []
    while not over.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        serving.append(threading.Thread(target=_serve, args=(connection, make_pieces, over)))
        serving[-1].start()
    for thread in serving:
        thread.join()


def _serve(
    connection: socket.socket, make_pieces: Callable[[threading.Event], Iterable[bytes]], over: threading.Event
) -> None:
    with connection, suppress(OSError):
        connection.recv(1 << 16)
        for piece in make_pieces(over):
            connection.sendall(piece)
