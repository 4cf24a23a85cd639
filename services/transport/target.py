"""What an HTTP/1.1 request asks for: its target as the path alone, whichever form it came in (RFC 9112 section 3.2)."""

from __future__ import annotations

Fields = list[tuple[bytes, bytes]]


class TargetError(ValueError):
    """Nothing that this server could be asked for; `status` is the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def origin_form(target: bytes, fields: Fields) -> tuple[bytes, Fields]:
    """The target and the fields of a request as if it had been sent in origin-form.

    A whole URI (absolute-form) is a path at an authority, which takes the place of the Host field (section 3.2.2).

    Raises:
        TargetError: 400 for what is neither a path, `*` nor a URI with a host and nothing before it; 421 for a URI of
            another scheme than https, of which this server is no origin (RFC 9110 section 7.4).
    """
    if target.startswith(b"/") or target == b"*":
        return target, fields
    scheme, found, rest = target.partition(b"://")
    if not found or not scheme.isalpha():
        raise TargetError(400)
    if scheme.lower() != b"https":
        raise TargetError(421)
    end = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or b"@" in authority:
        raise TargetError(400)
    others = [field for field in fields if field[0] != b"host"]
    return path if path.startswith(b"/") else b"/" + path, [(b"host", authority), *others]
