"""Which path a request asks for, whatever it is spelled like (RFC 3986 section 6.2.2, RFC 9110 section 4.2.3).

A policy that looks at the spelling is walked around: `//admin`, `/./admin`, `/%61dmin`, `/x/../admin`, `/admin/`. One
that looks at the normal form alone is walked around as well, by an application that reads the spelling. So a path is
read in every way in which something behind us may read it, and each reading has to be allowed.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

Segments = tuple[str, ...]


def readings(target: bytes) -> tuple[Segments, ...]:
    """The paths that a request target may stand for, as segments; one for a path in normal form.

    The target is a path, or a whole URI (absolute-form, RFC 9112 section 3.2.2); a query is left out. A trailing slash
    makes no difference, nor do empty segments.
    """
    raw = target.partition(b"?")[0].partition(b"#")[0]
    if not raw.startswith(b"/") and b"://" in raw:
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    # An escaped slash is a separator for who decodes first, and part of a segment for who splits first.
    decoded = tuple(unquote_to_bytes(raw).decode("utf-8", "surrogateescape").split("/"))
    split = tuple(unquote_to_bytes(part).decode("utf-8", "surrogateescape") for part in raw.split(b"/"))
    found = {_without_empty(decoded): None}
    if any(segment in _DOTS for segment in decoded):
        found[_resolved(decoded)] = None
        found[_resolved(split)] = None
    if split != decoded:
        found[_without_empty(split)] = None
    return tuple(found)


def pattern_segments(pattern: str) -> Segments:
    """A pattern of a policy as segments: `*` is one of them, and at the end whatever is there or below.

    Raises ValueError for one that no request matches, or that means something else than it seems to.
    """
    if not pattern.startswith("/"):
        raise ValueError("it begins with /")
    parts = urlsplit(pattern)
    if parts.query or parts.fragment or "?" in pattern or "#" in pattern:
        raise ValueError("a query is no part of a path")
    segments = pattern[1:].split("/") if pattern != "/" else []
    if segments and not segments[-1]:
        raise ValueError(f"it ends with /: write {pattern.rstrip('/') or '/'} (a trailing slash makes no difference)")
    for segment in segments:
        if not segment or segment in _DOTS:
            raise ValueError(f"no path is matched with {segment or 'nothing'!r} between two slashes")
        if "%" in segment:
            raise ValueError("paths are matched decoded: write the character, and no %-escape")
        if "*" in segment and segment != "*":
            raise ValueError("* stands for a whole segment")
    return tuple(segments)


def is_under(segments: Segments, pattern: Segments) -> bool:
    """Whether a path, or everything that another pattern matches, is matched by this pattern."""
    if pattern and pattern[-1] == "*":
        beginning = pattern[:-1]
        longer = len(segments) >= len(beginning)
        return longer and all(own in ("*", other) for own, other in zip(beginning, segments, strict=False))
    if segments and segments[-1] == "*":
        return False
    return len(segments) == len(pattern) and all(
        own in ("*", other) for own, other in zip(pattern, segments, strict=True)
    )


_DOTS = (".", "..")


def _without_empty(segments: Segments) -> Segments:
    return tuple(filter(None, segments))


def _resolved(segments: Segments) -> Segments:
    done: list[str] = []
    for segment in segments:
        if segment == "..":
            del done[-1:]
        elif segment and segment != ".":
            done.append(segment)
    return tuple(done)
