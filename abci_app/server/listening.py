"""Opening sockets for this user alone, and clearing away those of killed servers."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

from abci_app.server.address import Address, TcpAddress, UnixAddress


def open_listener(address: Address, backlog: int) -> socket.socket:
    """Return a listening socket. Raises OSError with a reason if that is impossible."""
    if isinstance(address, TcpAddress):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=backlog)
    remove_stale_socket(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with private_umask():
        try:
            listener.bind(str(address.path))
        except OSError as error:
            listener.close()
            raise OSError(
                f"cannot listen at {address}: {error.strerror}; see to its folder, or choose another"
            ) from error
    listener.listen(backlog)
    return listener


def get_bound_address(listener: socket.socket, address: Address) -> Address:
    """Return the address with the port the system chose."""
    if isinstance(address, TcpAddress):
        return TcpAddress(address.host, listener.getsockname()[1])
    return address


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Create files, sockets among them, for this user alone."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def remove_stale_socket(address: UnixAddress) -> None:
    """Remove the socket that a killed server left. Raises OSError if a server still listens there."""
    try:
        mode = address.path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{address.path} exists and is no socket: remove it or choose another --address")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(address.path))
        except ConnectionRefusedError:
            address.path.unlink()
            return
        except BlockingIOError:  # somebody is there who has not accepted for a while
            pass
    raise OSError(f"another process serves {address}: stop it or choose another --address")
