"""Every command of these pages was run, and ends as the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.docs.transcript import run_page
from tests.support.tools import require

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PAGES = {
    "tutorial": ("curl", "openssl"),
    "from-go": ("curl", "openssl", "go"),
    "how-to/callers": ("curl", "go", "node"),
    "how-to/java": ("java",),
    "how-to/browsers": ("openssl", "certutil", "pk12util"),
    "how-to/authorities": ("openssl",),
    "drills": (),
    "operations": ("openssl", "certutil", "pk12util"),
    "authorization": ("curl",),
    "traces": (),
    "watching": ("curl",),
    "rpc": ("curl",),
    "enrollment": ("curl", "openssl"),
    "teams": (),
    "shell": (),
}
"""And the tools that each takes."""

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHAPE = re.compile(
    r"""
    [0-9a-f]{8}-[0-9a-f-]{27}              # a UUID
    | \b(?:0x)?[0-9a-f]{8,}\b | \b[0-9A-F]{8,}\b  # a serial number, a fingerprint, a trace
    | \b[A-Z][a-z]{2}[ ]+\d{1,2}\b         # a day in words
    | \d{4}[-/]\d{2}[-/]\d{2}             # a day
    | \d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?  # a time
    | (?<="client.port":[ ])\d+
    | (?<=ms=)[\d.]+ | (?<="ms":[ ])[\d.]+
    | /tmp/\S+
    | \s+                                 # which widens with what it stands beside
    """,
    re.VERBOSE,
)
"""What differs from run to run. All other numbers are held against the page: a status, a version, a count."""


def compare(shown: str, printed: str) -> None:
    """What was printed has the shape of what is shown, line by line."""
    ran, said = ([SHAPE.sub("", line) for line in page.splitlines()] for page in (printed, shown))
    assert "\n".join(unified_diff(said, ran, lineterm="")) == ""


def follow(page: Path, above: Path, *path: Path, **environment: str) -> None:
    """Run a page in a folder of its name, and compare."""
    folder = above / page.stem
    folder.mkdir()
    compare(page.read_text(), run_page(page.read_text(), folder, path=path, **environment))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path) -> None:
    """The commands end as shown, and print what is shown but for dates and numbers."""
    for tool in PAGES[page]:
        require(tool)
    follow(DOCS / f"{page}.md", tmp_path, GOCACHE=str(tmp_path / "go-cache"), GOPATH=str(tmp_path / "go"))


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    """In a clone that has been installed: `uv run` runs what is in the environment that runs the tests."""
    require("curl")
    clone, words = tmp_path / "README", tmp_path / "words"
    clone.mkdir()
    words.mkdir()
    shutil.copy(ROOT / "Justfile", clone)
    for name, does in {"uv": 'shift; exec "$@"', "pip": "exit 0"}.items():
        (words / name).write_text(f"#!/bin/sh\n{does}\n")
        (words / name).chmod(0o755)
    text = (ROOT / "README.md").read_text()
    compare(text, run_page(text, clone, path=(words,)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_from_nothing(tmp_path: Path) -> None:
    """A fresh environment with the wheel and nothing else, an empty home, an empty folder."""
    for tool in PAGES["tutorial"]:
        require(tool)
    dist, fresh = tmp_path / "dist", tmp_path / "venv"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = dist.iterdir()
    install = [require("uv"), "pip", "install", "--quiet", "--python", str(fresh / "bin" / "python")]
    subprocess.run([require("uv"), "venv", "--quiet", "--python", sys.executable, str(fresh)], check=True, timeout=300)
    lock = ["--constraint", str(ROOT / "requirements.lock")]
    subprocess.run([*install, *lock, str(wheel)], cwd=tmp_path, check=True, timeout=300)
    follow(DOCS / "tutorial.md", tmp_path, fresh / "bin")


def test_what_looks_like_a_command_is_run() -> None:
    """No `$` outside of a block that is run, and no block that does not say what it is."""
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if page.parent.name == "reference":
            continue
        for kind, text in BLOCK.findall(page.read_text()):
            assert kind, f"{page}: a block that does not say what it is:\n{text}"
            if kind != "console":
                assert not re.search(r"^\$ ", text, re.MULTILINE), f"{page}: not run:\n{text}"


def test_every_page_with_commands_is_run() -> None:
    """A page with console blocks is in the list above; docs/adopt has a test of its own."""
    with_commands = {
        str(page.relative_to(DOCS).with_suffix(""))
        for page in DOCS.rglob("*.md")
        if any(kind == "console" for kind, _ in BLOCK.findall(page.read_text()))
    }
    assert with_commands == {*PAGES, "adopt/README"}


def test_the_listings_are_the_files() -> None:
    """docs/from-go.md shows docs/from-go/*.go."""
    shown = dict(re.findall(r'^```go title="(\w+\.go)"\n(.*?)^```$', (DOCS / "from-go.md").read_text(), re.S | re.M))
    assert shown == {file.name: file.read_text() for file in (DOCS / "from-go").glob("*.go")}


def test_each_alert_has_its_line() -> None:
    """docs/drills.md says of each alert what it means and what to do."""
    known = re.findall(r"alert: (\w+)", (DOCS / "monitoring" / "alerts.yaml").read_text())
    assert known
    assert re.findall(r"^\| `(Handclasp\w+)` \|", (DOCS / "drills.md").read_text(), re.M) == known
