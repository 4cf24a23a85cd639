"""Which path a request asks for, whatever it is spelled like (RFC 3986 section 6.2.2, RFC 9110 section 4.2.3).

A policy that looks at the spelling is walked around: `//admin`, `/./admin`, `/%61dmin`, `/x/../admin`, `/admin/`. One
that looks at the normal form alone is walked around as well, by an application that reads the spelling. So a path is
read in every way in which something behind us may read it, and each reading has to be allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import normalize
from urllib.parse import unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

Segments = tuple[str, ...]

_MOST_MEANINGS, _MOST_CHARACTERS = 24, 65_536
"""Of one target, and in all of them."""

_PLAIN = re.compile(r"[A-Za-z0-9/._~!$&'()*+,=:@ -]*")
_PARAMETERS = re.compile(";[^/]*")


def readings(target: bytes) -> tuple[Segments, ...]:
    """The paths that a request target may stand for, as segments; one for a path in normal form.

    The target is a path, or a whole URI (absolute-form, RFC 9112 section 3.2.2); a query is left out. A trailing slash
    makes no difference, nor do empty segments. None at all: it can be read in more ways than anybody means.
    """
    raw = target.partition(b"?")[0]
    if not raw.startswith(b"/") and b"://" in raw:
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    found: dict[Segments, None] = {}
    for text in (raw, raw.partition(b"#")[0]) if b"#" in raw else (raw,):
        # An escaped slash is a separator for who decodes first, and part of a segment for who splits first.
        whole = _decoded(text)
        split = tuple(_decoded(part) for part in text.split(b"/"))
        if len(meant := _meanings(whole)) > _most_meanings(whole):
            return ()
        for segments in (*(tuple(one.split("/")) for one in meant), split):
            found[_without_empty(segments)] = None
            if any(segment in _DOTS for segment in segments):
                found[_resolved(segments)] = None
                found[_resolved(split)] = None
    return tuple(found)


def _decoded(raw: bytes) -> str:
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def _meanings(text: str) -> dict[str, None]:
    """The decoded path, and what it is to those who do one thing more, or several one after another."""
    meant = {text: None}
    if _PLAIN.fullmatch(text):
        return meant
    ahead, most = [text], _most_meanings(text)
    while ahead and len(meant) <= most:
        one = ahead.pop()
        for other in _read_on(one):
            if other not in meant:
                meant[other] = None
                ahead.append(other)
    return meant


def _most_meanings(text: str) -> int:
    """Each costs a walk over the path and one through the rules, and a stranger chooses how many and how long."""
    return max(min(_MOST_MEANINGS, _MOST_CHARACTERS // (len(text) + 1)), 2)


def _read_on(text: str) -> Iterator[str]:
    """How a path is read that was decoded already: again (a proxy decoded it first), and by other systems' rules."""
    if "%" in text:
        yield unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    if "\\" in text:  # a separator, on Windows and in browsers
        yield text.replace("\\", "/")
    if ";" in text:  # parameters of a segment (RFC 3986 section 3.3), which servlets leave out
        yield _PARAMETERS.sub("", text)
    if text.endswith("\n"):  # `$` of a regular expression stands before it: so Starlette finds its routes
        yield text[:-1]
    if "\0" in text:  # where a string ends, in C
        yield text.partition("\0")[0]
    if not text.isascii():
        yield normalize("NFKC", text)  # a full-width slash is a slash, and two ways to write a letter are one


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
