"""What a request has to be like before the application hears of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from pki.errors import IdentityError
from pki.identity import check_dns_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Fields = Sequence[tuple[bytes, bytes]]

_PEER_FIELDS = frozenset({b"x-forwarded-client-cert", b"client-cert", b"client-cert-chain"})
_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_PEER_PREFIXES = (b"x-ssl-", b"x-client-")


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of one request, and the hosts that are served here: none stands for all."""

    server_names: frozenset[bytes] = frozenset()
    max_header_fields: int = 100
    max_body: int | None = None

    def objection(self, fields: Fields, authority: bytes | None = None) -> int | None:
        """The status that answers this request in the application's place; None where there is nothing to object.

        `authority` is that of HTTP/2; without it, the Host field speaks. 431: too many fields (RFC 6585 section 5).
        421: not a host of ours (RFC 9110 section 15.5.20). 413: the body that is announced is too large (15.5.14).
        """
        if len(fields) > self.max_header_fields:
            return 431
        if self.server_names and _host(authority if authority is not None else _field(fields, b"host")) not in (
            self.server_names
        ):
            return 421
        if self.max_body is not None and announced(fields) > self.max_body:
            return 413
        return None


def without_peer_fields(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields without those by which a proxy says who is calling: here TLS alone says so (RFC 9440 section 2).

    `_` counts as `-`: CGI and WSGI make the same variable of both.
    """
    return [field for field in fields if not _says_who_calls(field[0])]


def server_names(names: Iterable[str]) -> frozenset[bytes]:
    """Host names and addresses as `Admission` compares them. Raises ValueError for what no client can ask for."""
    return frozenset(map(_server_name, names))


def _server_name(text: str) -> bytes:
    try:
        name = text.strip().encode("ascii" if text.isascii() else "idna").decode("ascii")
        host = _host(name.encode("ascii")).decode("ascii")
        if host.startswith("[") and "]" in name:
            IPv6Address(host[1:-1])
        elif not _IPV4.fullmatch(host):
            check_dns_name(host)
        if not set(name) & set("*/@?#"):
            return host.encode("ascii")
    except (ValueError, IdentityError):
        pass
    raise ValueError(f"{text!r} is no host name: give each as clients ask for it, for example shop.example.com")


@lru_cache(maxsize=1024)
def _says_who_calls(name: bytes) -> bool:
    plain = name.lower().replace(b"_", b"-")
    return plain in _PEER_FIELDS or plain.startswith(_PEER_PREFIXES)


def _field(fields: Fields, wanted: bytes) -> bytes:
    return next((value for name, value in fields if name == wanted), b"")


def _host(authority: bytes) -> bytes:
    """The host of an authority: without its port, in lower case, without the root's dot. No host has a user."""
    if authority.startswith(b"["):
        return authority.partition(b"]")[0].lower() + b"]"
    return authority.partition(b":")[0].lower().removesuffix(b".")


def announced(fields: Fields) -> int:
    """Bytes of the body that the fields announce; 0 where they announce none."""
    length = _field(fields, b"content-length")
    return int(length) if length.isdigit() else 0
