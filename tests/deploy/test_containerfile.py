"""The Containerfile: hadolint has nothing to say, and what the image promises is in it."""

from __future__ import annotations

import json
import re
import subprocess

from tests.support.server import ROOT
from tests.support.tools import ours

FILE = ROOT / "deploy" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its words, continued lines joined."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    all_of_them = instructions()
    return all_of_them[max(index for index, (word, _) in enumerate(all_of_them) if word == "FROM") :]


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [ours("hadolint"), "--failure-threshold", "style", str(FILE)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_images_have_short_names() -> None:
    """Which registry they come from is said where it is built."""
    images = [words.split()[0] for word, words in instructions() if word == "FROM"]
    assert len(images) == 2
    assert all(re.fullmatch(r"[a-z]+:[\w.-]+", image) for image in images)


def test_nothing_of_the_image_needs_a_shell_or_root() -> None:
    """Nothing is run to make the last stage; what it starts, and what asks after it, is no shell's line."""
    stage = last_stage()
    words = dict(stage)
    assert "RUN" not in words
    assert words["USER"] == "65532:65532", "a number: Kubernetes' runAsNonRoot does not read /etc/passwd"
    assert json.loads(words["ENTRYPOINT"]) == ["handclasp-serve"]
    assert json.loads(words["CMD"]) == ["services.app:app"]
    assert json.loads(words["HEALTHCHECK"].partition(" CMD ")[2]) == ["handclasp-serve", "--probe", "readyz"]


def test_nothing_of_the_working_copy_is_in_it_but_the_code() -> None:
    """All is left out, then named: a state folder, a key, the history cannot slip in."""
    rules = [line for line in (ROOT / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, words in instructions()
        if word == "COPY" and "--from" not in words
        for source in words.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
