"""What is asked and what is answered, without a connection: requests as values, replies read into values."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from clients.errors import BadResponse, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Reply", "WhoAmI"]

_SHOWN = 200
"""Characters of an unexpected answer that an error shows."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    http_version: str
    """`1.1` or `2`."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, what is no UTF-8 replaced."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """What the server knows of us: `GET /whoami`. Dates are ISO 8601 in UTC."""

    name: str
    kind: str
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    serial: str
    sha256: str
    not_before: str
    not_after: str
    http_version: str
    tls_version: str
    cipher: str
    group: str | None
    alpn: str | None


def origin(url: str) -> str:
    """Return the URL of a server as `https://host:port`.

    Raises:
        InvalidRequest: it is not https, or says more than a server's address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"'{url}' is no URL: {error}") from None
    if parts.scheme != "https":
        raise InvalidRequest(f"'{url}' is not an https URL: mutual TLS needs one, for example https://localhost:8443")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidRequest(f"'{url}' is more or less than a server's address: write https://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}" if port is None else f"https://{host}:{port}"


def greet_path(greeting: str | None) -> str:
    """Where to ask for a greeting."""
    return "/" if greeting is None else "/greet?" + urlencode({"greeting": greeting})


WHOAMI_PATH = "/whoami"


def checked_path(path: str) -> str:
    """Return a path of the server's; it cannot lead to another one.

    Raises:
        InvalidRequest: it does not begin with a slash, or holds blanks or control characters.
    """
    if not path.startswith("/") or any(character <= " " or character == "\x7f" for character in path):
        raise InvalidRequest(f"{path!r} is no path on the server: it begins with '/', for example /whoami")
    return path


def read_greeting(reply: Reply) -> str:
    """Return the greeting. Raises BadResponse."""
    return _expect_ok(reply).text


def read_whoami(reply: Reply) -> WhoAmI:
    """Return what the server knows of us. Raises BadResponse."""
    try:
        document: dict[str, Any] = json.loads(_expect_ok(reply).body)
        values: dict[str, Any] = {field.name: document[field.name] for field in fields(WhoAmI)}
        for name in ("emails", "uris", "dns_names"):
            values[name] = tuple(values[name])
        return WhoAmI(**values)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadResponse("the server's answer does not say who we are", status=reply.status) from None


def _expect_ok(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        shown = "".join(c if c.isprintable() else " " for c in reply.text[:_SHOWN]).strip()
        raise BadResponse(f"the server answered {reply.status}" + (f": {shown}" if shown else ""), status=reply.status)
    return reply
