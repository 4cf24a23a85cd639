"""Looks through the site that was built: `python -m tests.docs.site site`. Nothing in it may be fetched from elsewhere.

mkdocs itself, with `--strict`, has seen that no link and no anchor inside is dead. A link to another site, which a
reader may follow, is not a resource.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

_FETCHED = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "object": ("data",), "embed": ("src",),
    "use": ("href", "xlink:href"),
}  # fmt: skip
_LINKS = {"canonical", "next", "prev", "alternate", "edit"}
"""What a `<link>` may say that is not fetched."""
_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class _Page(HTMLParser):
    """Collects what a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and not set(given.get("rel", "").split()) <= _LINKS:
            self.fetched.append(given.get("href", ""))
        self.fetched += [given[name] for name in _FETCHED.get(tag, ()) if name in given]


def fetched_from_elsewhere(page: str) -> list[str]:
    """The addresses of other hosts that a browser asks when it shows this page."""
    parser = _Page()
    parser.feed(page)
    return [where for where in (*parser.fetched, *_IN_STYLES.findall(page)) if _ELSEWHERE.match(where)]


def look(site: Path) -> list[str]:
    """What is wrong with the pages and styles of a site, a line each."""
    pages = sorted(site.rglob("*.html"))
    found = [] if pages else [f"{site}: no page in it"]
    for page in pages:
        found += [f"{page}: {where}" for where in fetched_from_elsewhere(page.read_text())]
    for style in sorted(site.rglob("*.css")):
        found += [f"{style}: {where}" for where in _IN_STYLES.findall(style.read_text())]
    return found


def main() -> int:
    """Say what is fetched from elsewhere; the exit code is 1 where anything is."""
    found = look(Path(sys.argv[1]))
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
