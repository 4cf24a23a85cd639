"""Every command of these pages was run, and ends as the page says."""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.docs.transcript import run_page
from tests.support.tools import require

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


PAGES = ("operations", "authorization", "traces", "watching", "rpc", "enrollment", "teams", "shell")


@pytest.mark.parametrize("page", [f"{name}.md" for name in PAGES])
def test_page(page: str, tmp_path: Path) -> None:
    """The commands end as shown, and print as many lines as shown: dates and serial numbers differ."""
    for tool in ("openssl", "certutil", "pk12util", "curl"):
        require(tool)
    text = (DOCS / page).read_text()
    printed = run_page(text, tmp_path)
    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{8,}|[0-9A-F]{8,}|\d+|\s+|[A-Z][a-z]{2} ")
    ran, shown = ([shape.sub("", line) for line in page.splitlines()] for page in (printed, text))
    assert "\n".join(unified_diff(shown, ran, lineterm="")) == ""
