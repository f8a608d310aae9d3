"""A proxy that answers for services on the internet: TLS ends at it, with certificates of an authority of its own, and
requests for named hosts go to local servers. Every other host gets 502, so that a test never reaches a real service.

    with TlsRedirect(folder, {"api.stripe.com": stripe.url}) as proxy:
        environment = {**os.environ, **proxy.environment}

It is also what a company's proxy does that inspects TLS.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from syncline.testing.certificates import make_certificates

__all__ = ["TlsRedirect"]

_CHUNK = 1 << 16
_IDLE_SECONDS = 30.0


class TlsRedirect:
    """``hosts`` maps names to addresses such as ``http://127.0.0.1:8080``. ``seen`` are the hosts asked for."""

    def __init__(self, folder: Path, hosts: Mapping[str, str]) -> None:
        self.seen: list[str] = []
        self._hosts = {name: urlsplit(url) for name, url in hosts.items()}
        made = make_certificates(folder, host=list(hosts))
        self.ca = made.ca
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(made.server_cert, made.server_key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="tls redirect", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to go through here."""
        ca = str(self.ca)
        return {"HTTPS_PROXY": self.url, "SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca, "NO_PROXY": "127.0.0.1"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        # A thread in accept() is not woken by close().
        with contextlib.suppress(OSError), socket.create_connection(self._listener.getsockname(), 1):
            pass
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ssl.SSLError):
            client.settimeout(_IDLE_SECONDS)
            head = b""
            while b"\r\n\r\n" not in head:
                part = client.recv(_CHUNK)
                if not part:
                    return
                head += part
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            host = target.rsplit(":", 1)[0]
            self.seen.append(host)
            if method != "CONNECT" or host not in self._hosts:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self._context.wrap_socket(client, server_side=True) as secure:
                self._pass(secure, host)

    def _pass(self, secure: ssl.SSLSocket, host: str) -> None:
        there = self._hosts[host]
        with socket.create_connection((str(there.hostname), there.port or 80), _IDLE_SECONDS) as server:
            while not self._closing.is_set():
                ready = [secure] if secure.pending() else select.select([secure, server], [], [], _IDLE_SECONDS)[0]
                if not ready:
                    return
                for one in ready:
                    data = one.recv(_CHUNK)
                    if not data:
                        return
                    (server if one is secure else secure).sendall(data)
