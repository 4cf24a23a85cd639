"""How the four commands behave at a shell: completions, help, colours, pipes, Ctrl-C, exit codes."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from clients.cli import _command
from clients.http1 import Client as HTTP1Client
from clients.http2 import Client as HTTP2Client
from pki import shell
from pki.cli import app as pki_app
from pki.cli import main as pki_main
from services import cli as services_cli
from tests.support.terminal import Terminal
from tests.support.tools import ours, require

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = ("handclasp-pki", "handclasp-serve", "handclasp-http1", "handclasp-http2")
SHELLS = ("bash", "zsh", "fish")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of somebody who has our commands on the PATH, and an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    folder = str(Path(ours("handclasp-pki")).parent)
    return {"HOME": str(home), "PATH": f"{folder}:/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def run(words: list[str], environment: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        **options,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version(command: str, environment: dict[str, str]) -> None:
    done = run([command, "--version"], environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{command} \d+\.\d+\.\d+\n", done.stdout)


PRESSED = [  # what is typed before the key; what the shell makes of it
    ("handclasp-pki revo", "revoke"),
    ("handclasp-pki issue client bob --key ed", "ed25519"),
    ("handclasp-serve --tls-po", "--tls-policy"),
    ("handclasp-http1 who", "whoami"),
    ("handclasp-http2 get --cred", "--credential"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "wanted"), PRESSED, ids=[typed for typed, _ in PRESSED])
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_the_tab_key(name: str, typed: str, wanted: str, environment: dict[str, str]) -> None:
    """A real shell on a terminal, our script, and the key."""
    quiet = {"bash": ["--noprofile", "--norc", "-i"], "zsh": ["-f", "-i"]}[name]
    begin = {"bash": "", "zsh": "autoload -U compinit; compinit -u; unsetopt zle_bracketed_paste; "}[name]
    program = typed.partition(" ")[0]
    with Terminal([require(name), *quiet], environment | {"PS1": "$ "}, environment["HOME"]) as terminal:
        terminal.type(f'{begin}eval "$({program} --show-completion {name})"; echo re""ady\n')
        terminal.wait_for("ready\n")
        before = len(terminal.text)
        terminal.type(f"{typed}\t")
        terminal.wait_for(wanted, before)


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "wanted"), PRESSED, ids=[typed for typed, _ in PRESSED])
def test_fish_completes(typed: str, wanted: str, environment: dict[str, str]) -> None:
    """By fish's own word for the key, and with what a command is for."""
    program = typed.partition(" ")[0]
    script = f"{program} --show-completion fish | source; complete --do-complete '{typed}'"
    done = run([require("fish"), "--no-config", "-c", script], environment)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [wanted], done.stderr


@pytest.mark.parametrize("name", SHELLS)
def test_completions_are_put_where_the_shell_looks(name: str, environment: dict[str, str]) -> None:
    """Into the home, for the shell that is named or that one is in; a shell that is unknown is refused."""
    done = run(["handclasp-pki", "--install-completion", name], environment)
    assert (done.returncode, done.stderr) == (0, "")
    found = [path for path in Path(environment["HOME"]).rglob("*handclasp-pki*") if path.is_file()]
    assert len(found) == 1
    assert str(found[0]) in done.stdout
    shown = run(["handclasp-pki", "--show-completion"], environment | {"SHELL": f"/usr/bin/{name}"})
    assert shown.stdout.strip() == found[0].read_text().strip()
    assert run(["handclasp-pki", "--show-completion", "tcsh"], environment).returncode == 2


def commands() -> Iterator[tuple[str, Any]]:
    """Every command there is, with those below it."""
    serve = shell.new_app()
    serve.command(help=services_cli._HELP)(services_cli.serve)
    apps = (pki_app, serve, _command("handclasp-http1", HTTP1Client), _command("handclasp-http2", HTTP2Client))
    context = importlib.import_module("typer._click").Context
    for name, app in zip(COMMANDS, apps, strict=True):
        waiting = [(name, get_command(app))]
        while waiting:
            path, command = waiting.pop()
            yield path, command
            if hasattr(command, "list_commands"):
                here = context(command)
                waiting += [(f"{path} {word}", command.get_command(here, word)) for word in command.list_commands(here)]


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL)
def test_help_is_made_of_examples(path: str) -> None:
    """Each shows itself as it is typed, with options that it has."""
    command = ALL[path]
    examples = [
        line.strip() for line in (command.help or "").splitlines() if line.strip().startswith(("handclasp", "HAND"))
    ]
    own = [line for line in examples if path in line]
    assert own, f"{path} shows no example of itself"
    for line in own:
        said = line.partition(path)[2].partition("  ")[0]
        known = {option for parameter in _parameters(path, said) for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z][a-z0-9-]*", said)) <= known | {"--help"}, line


def _parameters(path: str, said: str) -> list[Any]:
    """Of the command and of those above it and, where it is a group, of the one that the example names."""
    words = path.split()
    paths = [" ".join(words[: count + 1]) for count in range(len(words))]
    for word in said.split():
        if f"{paths[-1]} {word}" in ALL:
            paths.append(f"{paths[-1]} {word}")
    return [parameter for one in paths for parameter in ALL[one].params]


def test_exit_codes_are_documented() -> None:
    """On the page, where every one has its line."""
    page = (DOCS / "shell.md").read_text()
    for code in (0, 1, 2, 3, 130):
        assert re.search(rf"^\| `{code}` \|", page, re.MULTILINE), code


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_exit_codes(command: str, environment: dict[str, str]) -> None:
    assert "Exit codes: 0 done, 1" in run([command, "--help"], environment).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with an authority and Alice."""
    state = tmp_path_factory.mktemp("made") / "state"
    for words in (["init"], ["issue", "client", "alice", "--email", "alice@example.com"]):
        assert pki_main(["--state", str(state), *words]) == 0
    return state


@pytest.fixture
def authority(made: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment of somebody at home in a folder that has a copy of it."""
    shutil.copytree(made, Path(environment["HOME"], "state"), symlinks=True)
    return environment


PLACES = {
    "a terminal": ({}, True),
    "NO_COLOR": ({"NO_COLOR": "1"}, False),
    "NO_COLOR, though FORCE_COLOR": ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    "an empty NO_COLOR": ({"NO_COLOR": ""}, True),
    "a dumb terminal": ({"TERM": "dumb"}, False),
}


@pytest.mark.parametrize(("more", "coloured"), PLACES.values(), ids=PLACES)
def test_colours_on_a_terminal(authority: dict[str, str], more: dict[str, str], coloured: bool) -> None:
    """https://no-color.org: what is set and not empty means it."""
    with Terminal([ours("handclasp-pki"), "list"], authority | more, authority["HOME"]) as terminal:
        assert terminal.end() == 0
        assert "alice@example.com" in terminal.text
        assert terminal.coloured is coloured


@pytest.mark.parametrize(("more", "coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_colours_in_a_pipe(authority: dict[str, str], more: dict[str, str], coloured: bool) -> None:
    """None, unless somebody insists; JSON has none then either."""
    done = run(["handclasp-pki", "list"], authority | more)
    assert ("\x1b[" in done.stdout) is coloured
    assert "\x1b" not in run(["handclasp-pki", "list", "--json"], authority | more).stdout
    assert "\x1b" not in run(["handclasp-pki", "revoke", "--name", "nobody"], authority | more).stderr


READ_NO_FURTHER = ("list", "list --json", "--help", "issue --help", "inspect state/credentials/alice", "doctor --json")


@pytest.mark.parametrize("words", READ_NO_FURTHER)
def test_a_reader_who_has_seen_enough(authority: dict[str, str], words: str) -> None:
    """`| head -1`, and one that reads nothing at all: quiet."""
    for reader in ("head -1", "true"):
        done = run(["bash", "-c", f"handclasp-pki {words} | {reader}"], authority)
        assert done.stderr == "", reader


@pytest.mark.parametrize("words", ["handclasp-serve --help", "handclasp-http1 --help", "handclasp-http2 --version"])
def test_a_reader_of_the_others_who_has_seen_enough(environment: dict[str, str], words: str) -> None:
    assert run(["bash", "-c", f"{words} | true"], environment).stderr == ""


def test_ctrl_c_is_quiet(authority: dict[str, str]) -> None:
    """At a question, exit 130 and nothing done."""
    words = [ours("handclasp-pki"), "revoke", "--name", "alice"]
    with Terminal(words, authority, authority["HOME"]) as terminal:
        terminal.wait_for("[y/N]: ")
        terminal.interrupt()
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text
    assert '"valid"' in run(["handclasp-pki", "list", "--json"], authority).stdout


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_it_begins_is_quiet(command: str, delay: float, authority: dict[str, str]) -> None:
    """While modules are being read, and behind that."""
    words = {"handclasp-serve": ["--explain-policy", "email:a@x.io", "GET", "/"], "handclasp-pki": ["doctor"]}
    begun = [ours(command), *words.get(command, ["--credential", "state/credentials/alice"])]
    telling = authority | {"PYTHONPROFILEIMPORTTIME": "1"}  # a line on stderr for each module
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(begun, env=telling, cwd=authority["HOME"], **pipes) as process:
        assert process.stderr is not None
        first = {"handclasp-pki": "pki.__main__", "handclasp-serve": "services.__main__"}.get(command, "clients.entry")
        while first not in (line := process.stderr.readline()):
            assert line, "it ended before it began"
        time.sleep(delay)  # no sign to wait for: the instant is what is tried
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert len(said) <= 1, rest
    assert process.returncode in (-signal.SIGINT, 130, 0, 1, 2)


ERRORS = {  # what is typed, and the next command that the error names
    "list": "handclasp-pki --state state init",
    "renew nobody": "handclasp-pki --state state init",
    "isue": "handclasp-pki --help",
    "issue client": "--from FILE",
    "apply": "handclasp-pki init --toml",
    "list --frob": "handclasp-pki list --help",
}


@pytest.mark.parametrize("words", ERRORS)
def test_an_error_names_the_next_command(words: str, environment: dict[str, str]) -> None:
    done = run(["handclasp-pki", *words.split()], environment)
    assert (done.returncode in (1, 2), done.stdout) == (True, "")
    assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", done.stderr)
    assert ERRORS[words] in done.stderr


def test_a_policy_explains_itself_as_json(environment: dict[str, str]) -> None:
    Path(environment["HOME"], "policy.toml").write_text('[[rule]]\npath = "/a"\nallow = ["email:a@x.io"]\n')
    words = ["handclasp-serve", "--policy", "policy.toml", "--json"]
    done = run([*words, "--explain-policy", "email:a@x.io", "GET", "/a"], environment)
    assert json.loads(done.stdout)["rule"] == {"number": 1, "line": 1, "path": "/a"}
    assert (done.returncode, json.loads(done.stdout)["allowed"]) == (0, True)
    done = run([*words, "--explain-policy", "email:a@x.io", "GET", "/b"], environment)
    assert (done.returncode, json.loads(done.stdout)["rule"]) == (1, None)
    done = run(words, environment)
    assert (done.returncode, done.stdout) == (2, "")


def test_exit_codes_of_the_others(environment: dict[str, str]) -> None:
    """2 for words that make no sense, 1 for what cannot be done; one line each, with the next step."""
    for command in COMMANDS[1:]:
        done = run([command, "--frob"], environment)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{command} --help" in done.stderr
    done = run(["handclasp-serve"], environment)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    done = run(["handclasp-http2"], environment)
    assert done.returncode == 2
    assert "handclasp-pki issue client" in done.stderr
    done = run(["handclasp-http1", "--credential", "nowhere"], environment)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
