"""The proxy of the fault suite: passes bytes on, and fails in the ways that it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from syncline.testing.proxy import Proxy


class _Echo:
    """Sends back what it gets."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    echo = _Echo()
    with Proxy("127.0.0.1", echo.port) as running:
        yield running
    echo.close()


def _ask(connection: socket.socket, data: bytes = b"hello") -> bytes:
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        part = connection.recv(1 << 16)
        if not part:
            break
        got += part
    return got


def _connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port))
    connection.settimeout(5)
    return connection


def test_passes_on_more_than_fits_into_buffers(proxy: Proxy) -> None:
    data = bytes(range(256)) * 20_000
    with _connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(1 << 16)
        sender.join(5)
    assert got == data


def test_the_end_of_a_connection_is_passed_on(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(100):
            got += part
    assert got == b"last"


def test_a_cut_resets_what_is_open_and_takes_new_connections(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        assert _ask(connection) == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with _connect(proxy) as connection:
        assert _ask(connection) == b"hello"
    assert proxy.connections == 2


@pytest.mark.parametrize("direction", ["both", "up", "down"])
def test_a_stall_says_nothing_and_loses_nothing(proxy: Proxy, direction: str) -> None:
    with _connect(proxy) as connection:
        assert _ask(connection) == b"hello"
        proxy.stall(direction)
        connection.sendall(b"waits")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.resume()
        connection.settimeout(5)
        assert connection.recv(100) == b"waits"


def test_refuses_until_it_is_told_to_go_on(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        assert _ask(connection) == b"hello"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with _connect(proxy) as connection, pytest.raises(ConnectionError):
        _ask(connection)
    proxy.resume()
    with _connect(proxy) as connection:
        assert _ask(connection) == b"hello"
