"""Ports for servers that listen later: nobody else gets one meanwhile, nor while a server is down."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Give loopback ports that are this test's inside the block.

    Each is bound and not listened at: the system gives it to no other socket that asks for any, and a server that sets
    SO_REUSEADDR, as all do, may bind it too.
    """
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            bound = held.enter_context(socket.socket())
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            ports.append(int(bound.getsockname()[1]))
        yield ports
