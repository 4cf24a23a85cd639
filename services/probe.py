"""`handclasp-serve --probe readyz`: ask the admin listener, where no curl and no shell is at hand (a container)."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.settings import SettingsError
from services.transport.passed import is_passed
from services.transport.sockets import Address

if TYPE_CHECKING:
    from services.settings import Settings

QUESTIONS = ("livez", "readyz")
_PATIENCE = 5.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to dial where somebody listens there
_LONGEST = 1_000
"""Bytes of an answer that are read."""


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def probe(settings: Settings, question: str) -> tuple[bool, str]:
    """Whether the answer is 200, and what it says. `question` is `livez`, `readyz` or an `http://` URL.

    Raises:
        SettingsError: it is none of these, or there is no admin listener to be asked.
    """
    connection, path = _door(settings, question)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = response.read(_LONGEST).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return response.status == 200, said or f"status {response.status}"


def _door(settings: Settings, question: str) -> tuple[http.client.HTTPConnection, str]:
    if question.startswith("http://"):
        url = urlsplit(question)
        try:
            port = url.port or 80
        except ValueError as error:
            raise SettingsError(f"probe: '{question}' is no URL: {error}") from None
        if not url.hostname:
            raise SettingsError(f"probe: '{question}' names no host")
        return http.client.HTTPConnection(url.hostname, port, timeout=_PATIENCE), url.path or "/"
    path = f"/{question.removeprefix('/')}"
    if path.removeprefix("/") not in QUESTIONS:
        raise SettingsError(f"probe: '{question}' is no question: ask {', '.join(QUESTIONS)} or an http:// URL")
    bind = settings.admin_bind
    if bind is None:
        raise SettingsError("probe: there is no admin listener to ask: say --admin-bind, or a URL")
    if bind.startswith("unix:"):
        return _OverUnix(bind.removeprefix("unix:")), path
    if is_passed(bind):
        raise SettingsError(f"probe: {bind} is known to the server alone: ask its http:// URL")
    address = Address.parse(bind)
    host = _ANYWHERE.get(address.host, address.host)
    return http.client.HTTPConnection(host, address.port, timeout=_PATIENCE), path
