"""docs/reference is what the code says, and the site has every page and fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from services.audit import Audit
from services.settings import Settings
from tests.docs.reference import pages, stale
from tests.docs.site import fetched_from_elsewhere

ROOT = Path(__file__).parents[2]


def test_no_page_is_stale() -> None:
    """`just reference` writes them."""
    assert stale() == []


def test_the_pages_are_about_everything() -> None:
    """Read by other means than the pages are written by: nothing of it is missing."""
    page = pages()
    for name in Settings.model_fields:
        assert f"`HANDCLASP_{name.upper()}`" in page["settings.md"]
    assert re.search(r"\| +\|$", page["settings.md"], re.MULTILINE) is None, "a setting says nothing of itself"
    source = "\n".join(file.read_text() for file in (ROOT / "services").rglob("*metrics*.py"))
    for metric in re.findall(r'"(handclasp_[a-z_]+)"', source):
        assert re.search(rf"`{metric}(_total)?`", page["metrics.md"]), metric
    said: list[str] = []
    audit = Audit()
    audit.observers.append(lambda event, facts: said.append(f"| `{event}` | ") or said.extend(facts))
    audit.reload_refused("a reason")
    audit.enrollment_refused("a reason", None, None)
    for line in said:
        assert line in page["audit.md"], line
    for command in ("init", "rotate-ca stage", "token", "doctor"):
        assert f"## `{command}`" in page["handclasp-pki.md"]


def test_every_page_is_in_the_navigation() -> None:
    """Also where mkdocs is not installed: `just docs` says more."""
    text = (ROOT / "mkdocs.yml").read_text()
    named = re.findall(r"([\w/.-]+\.md)$", text.partition("\nnav:")[2], re.MULTILINE)
    assert sorted(named) == sorted(str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md"))
    assert yaml.safe_load(text)["theme"]["font"] is False


def test_what_is_fetched_is_seen() -> None:
    """The look through the site finds what a browser would ask of others, and lets links be."""
    page = """<link rel=canonical href=https://a.example/><link rel="stylesheet" href="https://b.example/x.css">
    <script src=//c.example/y.js></script><img src="d.png"><a href="https://e.example/">there</a>
    <style>@import "https://f.example/z.css"; p {background: url(https://g.example/p.png)}</style>"""
    found = [where.split("//")[1][0] for where in fetched_from_elsewhere(page)]
    assert sorted(found) == ["b", "c", "f", "g"]
