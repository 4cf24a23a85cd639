"""`handclasp-pki` as somebody at a terminal meets it: answers on stdout, one line on stderr where it fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.cli import main
from pki.credential import load_folder
from pki.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sys.executable).with_name("handclasp-pki")
Run = "Callable[..., tuple[int, str, str]]"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fails(run: Run) -> Callable[..., str]:
    """Run a command that has to fail: with this code, nothing on stdout, one line on stderr, which is returned."""

    def call(code: int, *arguments: str | Path) -> str:
        got, out, err = run(*arguments)
        assert (got, out) == (code, ""), err
        assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", err)
        assert "Traceback" not in err
        return err

    return call


def tree(folder: Path = Path()) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def test_the_story(run: Run) -> None:
    """init, issue, list, rotate, inspect: what the README shows."""
    assert run("init")[0] == 0
    assert run("issue", "server", "localhost", "--dns", "localhost", "--ip", "127.0.0.1", "--ip", "::1")[0] == 0
    code, out, err = run("issue", "client", "alice", "--email", "alice@EXAMPLE.com")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"issued client alice \(alice@example\.com\), valid until 20\d\d-\d\d-\d\d, in state/credentials/alice\n", out
    )
    assert (
        run(
            "issue", "peer", "billing", "--email", "b@x.io", "--uri", "https://x.io/b", "--dns", "b.x.io", "--ip", "::1"
        )[0]
        == 0
    )
    before, trust = load_folder(Path("state/credentials/alice"))
    assert run("rotate", "--all")[1].count("\n") == 3
    assert run("rotate", "alice", "billing")[1].count("\n") == 2
    after, _ = load_folder(Path("state/credentials/alice"))
    assert before.leaf.public_key() != after.leaf.public_key()
    assert Identity.from_certificate(after.leaf).name == "alice@example.com"
    assert len(trust) == 1


def test_list_as_json(run: Run) -> None:
    """An array, empty at first; one object a certificate, with at least these members."""
    run("init")
    assert json.loads(run("list", "--json")[1]) == []
    assert run("list")[1] == "nothing has been issued yet\n"
    run("issue", "peer", "p", "--email", "p@x.io", "--dns", "p.x.io", "--ip", "::1", "--key", "ed25519")
    (entry,) = json.loads(run("list", "--json")[1])
    credential, trust = load_folder(Path("state/credentials/p"))
    leaf = credential.leaf
    issued_at = leaf.not_valid_before_utc + timedelta(minutes=1)
    assert re.fullmatch(r"\S+@\S+", entry.pop("requested_by"))
    assert entry == {
        "name": "p",
        "profile": "peer",
        "current": True,
        "issuer": Identity.from_certificate(trust.anchors[0], allow_common_name=True).sha256,
        "issued_at": issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": None,
        "revoked_at": None,
        "serial": format(leaf.serial_number, "x"),
        "state": "valid",
        "not_before": leaf.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "emails": ["p@x.io"],
        "uris": [],
        "dns_names": ["p.x.io"],
        "ip_addresses": ["::1"],
        "key": "ed25519",
        "sha256": Identity.from_certificate(leaf).sha256,
        "folder": "state/credentials/p",
    }
    table = run("list")[1].splitlines()
    assert table[0].split()[:3] == ["NAME", "PROFILE", "STATE"]
    assert table[1].split()[:3] == ["p", "peer", "valid"]
    assert len(table) == 2


def test_inspect(run: Run) -> None:
    """A folder, a PEM file, DER, a chain: the leaf's facts, as a table and as JSON."""
    run("init", "--name", "The CA", "--key", "p384")
    run("issue", "client", "alice", "--email", "alice@example.com", "--uri", "https://example.com/a", "--days", "3")
    folder = Path("state/credentials/alice")
    facts = json.loads(run("inspect", folder, "--json")[1])
    assert facts["identity"] == "alice@example.com"
    assert facts["issuer"] == "CN=The CA"
    assert facts["purposes"] == ["client"]
    assert (facts["key"], facts["signature"]) == ("p256", "ecdsa-with-sha384")
    assert (facts["authority"], facts["days_left"], facts["chain"]) == (False, 2, [])
    leaf = load_folder(folder)[0].leaf
    assert facts["serial"] == format(leaf.serial_number, "x")
    Path("leaf.der").write_bytes(leaf.public_bytes(Encoding.DER))
    assert json.loads(run("inspect", "leaf.der", "--json")[1]) == facts
    chain = Path("chain.pem")
    chain.write_bytes((folder / "tls.crt").read_bytes() + (folder / "ca.crt").read_bytes())
    both = json.loads(run("inspect", chain, "--json")[1])
    assert both.pop("chain")[0]["subject"] == "CN=The CA"
    assert both | {"chain": []} == facts
    for text in ("alice@example.com", facts["sha256"], facts["serial"], "(2 days left)", "CN=The CA", "yes"):
        assert text in run("inspect", chain)[1]


def test_inspect_shows_a_hostile_certificate_harmlessly(run: Run) -> None:
    """NUL, escapes and newlines in its names are shown as such, the refusal with them; no control byte gets out."""
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime(2026, 1, 1, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "\x1b[31m[bold]\u202eevil\n")])
    san = x509.SubjectAlternativeName([x509.RFC822Name("a@x.io\0.evil"), x509.DNSName("x\x1b]0;y\x07.io")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
        .add_extension(san, critical=False)
        .sign(key, hashes.SHA256())
    )
    Path("evil.pem").write_bytes(made.public_bytes(Encoding.PEM))
    code, out, _ = run("inspect", "evil.pem")
    assert code == 0
    assert r"a@x.io\x00.evil" in out
    assert "[bold]" in out
    assert "none: the email" in out
    assert all(line.isprintable() for line in out.split("\n"))
    assert json.loads(run("inspect", "evil.pem", "--json")[1])["identity"] is None


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN PRIVATE KEY-----"],
)
def test_inspect_of_what_is_no_certificate(content: bytes, fails: Callable[..., str]) -> None:
    """Garbage, an empty file, a missing one, an endless one, a folder without one: exit 1 and one line."""
    Path("file").write_bytes(content)
    Path("folder").mkdir()
    for file in ("file", "nowhere", "folder", "/dev/zero", "file/x"):
        assert file.split("/")[-1] in fails(1, "inspect", file)
    fails(2, "inspect", "")


def test_a_self_signed_certificate(run: Run, fails: Callable[..., str]) -> None:
    """One P-521 certificate that server and client accept; it needs no state, and overwrites nothing."""
    assert run("self-signed")[0] == 0
    credential, trust = load_folder(Path())
    assert list(trust) == [credential.leaf]
    identity = Identity.from_certificate(credential.leaf)
    assert (identity.name, identity.dns_names) == ("alice@example.com", ("localhost",))
    assert Path("key.pem").stat().st_mode & 0o777 == 0o600
    facts = json.loads(run("inspect", "cert.pem", "--json")[1])
    assert (facts["key"], facts["purposes"], facts["authority"]) == ("p521", ["server", "client"], True)
    assert facts["ip_addresses"] == ["127.0.0.1", "::1"]
    before = tree()
    assert "cert.pem is there already" in fails(1, "self-signed")
    Path("cert.pem").rename("elsewhere.pem")
    assert "key.pem is there already" in fails(1, "self-signed")
    Path("elsewhere.pem").rename("cert.pem")
    assert tree() == before
    assert run("self-signed", "--out", "new/bob", "--email", "bob@x.io", "--dns", "b.x.io", "--key", "ed25519")[0] == 0
    assert Identity.from_certificate(load_folder(Path("new/bob"))[0].leaf).dns_names == ("b.x.io",)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("issue client ../x --email a@x.io", "letters, digits"),
        ("issue client -- -x --email a@x.io", "--help"),
        ("issue client alice", "--email"),
        ("issue client alice --email alice", "alice@example.com"),
        ("issue client alice --email a@x.io --email a@", "domain"),
        ("issue client alice --dns a_b.io", "labels"),
        ("issue client alice --uri nothing", "scheme"),
        ("issue client alice --uri spiffe://x//y", "SPIFFE"),
        ("issue client alice --ip ::1", "No such option"),
        ("issue server web", "--dns"),
        ("issue server web --dns 127.0.0.1", "--ip"),
        ("issue server web --ip web", "192.0.2.1"),
        ("issue server web --ip 10.0.0.0/8", "192.0.2.1"),
        ("issue server web --dns x.io --email a@x.io", "No such option"),
        ("issue server web --dns x.io --days 0", "--days 1"),
        ("issue server web --dns x.io --days -1", "--days 1"),
        ("issue server web --dns x.io --days 3000000", "9999"),
        ("issue server web --dns x.io --days 99999999999999999999999", "9999"),
        ("issue server web --dns x.io --days soon", "integer"),
        ("issue server web --dns x.io --days 1.5", "integer"),
        ("issue server web --dns x.io --key rsa1024", "rsa3072"),
        ("issue server web --dns", "requires"),
        ("issue server", "NAME"),
        ("issue", "issue --help"),
        ("issue emperor x", "emperor"),
        ("init --days 0", "--days 1"),
        ("init --days 3000000", "9999"),
        ("init --key dsa", "p256"),
        ("rotate", "--all"),
        ("rotate alice --all", "--all"),
        ("self-signed --days 0", "--days 1"),
        ("self-signed --email x", "alice@example.com"),
        ("self-signed --key p192", "p521"),
        ("list extra", "extra"),
        ("frobnicate", "frobnicate"),
        ("--frobnicate", "--frobnicate"),
        ("", "--help"),
    ],
)
def test_a_request_that_makes_no_sense(arguments: str, hint: str, fails: Callable[..., str]) -> None:
    """Exit 2, one line that says what is meant instead, and not a file made or touched."""
    assert hint in fails(2, *arguments.split())
    assert tree() == {}


@pytest.mark.parametrize(
    "text", ["a\0@x.io", "a@x.io\0.evil", "a\n@x.io", "\x1b[2J@x.io", "a@x.io ", "\udcff@x.io", "é@x.io", ""]
)
def test_text_that_reads_in_two_ways(text: str, fails: Callable[..., str]) -> None:
    """NUL and control bytes, blanks at an end, other alphabets: refused in every option, shown escaped."""
    for arguments in (
        ["issue", "client", "alice", "--email", text],
        ["issue", "client", "alice", "--uri", f"https:{text}"],
        ["issue", "client", "alice", "--dns", text],
        ["issue", "client", text, "--email", "a@x.io"],
        ["issue", "server", "web", "--ip", text],
    ):
        if text or "--uri" not in arguments:
            assert fails(2, *arguments)[:-1].isprintable()
    if text not in ("é@x.io", "a@x.io\0.evil", "a\0@x.io"):
        fails(2, "init", "--name", f"{text} ")
    assert tree() == {}


def test_a_name_that_is_there(run: Run, fails: Callable[..., str]) -> None:
    """Exit 1 with what to do; --ensure makes it fine."""
    run("init")
    assert "--state" in fails(1, "init")
    assert run("init", "--ensure")[1].startswith("kept the authority in state/authority")
    run("issue", "client", "alice", "--email", "a@x.io")
    assert "rotate alice" in fails(1, "issue", "client", "alice", "--email", "a@x.io")
    assert run("issue", "client", "alice", "--email", "a@x.io", "--ensure")[1].startswith("kept client alice")
    assert "known are alice" in fails(1, "rotate", "alice", "nobody")


def test_nothing_to_rotate(run: Run) -> None:
    """--all of none is no error."""
    run("init")
    assert run("rotate", "--all") == (0, "nothing has been issued yet, so there is nothing to rotate\n", "")


def test_a_clamped_life_is_said_on_stderr(run: Run) -> None:
    """The answer stays the answer; the note is beside it."""
    run("init", "--days", "5")
    code, out, err = run("issue", "server", "localhost")
    assert code == 0
    assert out.startswith("issued server localhost")
    assert re.fullmatch(r"handclasp-pki: note: localhost ends on \S+ with its authority, not after 30 days\n", err)


def test_the_state_folder_before_and_behind_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--state in both places and within `issue`; behind wins; the environment comes after; ./state is the last."""
    monkeypatch.setenv("HANDCLASP_STATE", "from-environment")
    assert run("--state", "one", "init")[0] == 0
    assert run("init", "--state", "two")[0] == 0
    assert run("init")[0] == 0
    assert run("--state", "nowhere", "issue", "client", "--state", "one", "a", "--email", "a@x.io")[0] == 0
    assert run("issue", "--state", "two", "client", "b", "--email", "a@x.io")[0] == 0
    assert run("--state=one", "list", "--json")[1] == run("list", "--json", "--state=one")[1]
    assert [path.name for path in sorted(Path().glob("*/credentials/*"))] == ["a", "b"]
    assert Path("from-environment/authority/ca.crt").exists()
    monkeypatch.setenv("HANDCLASP_STATE", "")
    run("init")
    assert Path("state/authority/ca.crt").exists()


def test_the_passphrase(run: Run, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment or a file, before or behind the command; wrong, missing or empty is one line without it."""
    Path("right").write_text("correct horse\n")
    Path("wrong").write_text("battery staple\n")
    Path("empty").write_text("\n")
    assert run("init", "--passphrase-file", "right")[0] == 0
    assert b"ENCRYPTED" in Path("state/authority/ca.key").read_bytes()
    issue = ("issue", "client", "alice", "--email", "a@x.io")
    assert "HANDCLASP_CA_PASSPHRASE" in fails(1, *issue)
    assert "staple" not in fails(1, "--passphrase-file", "wrong", *issue)
    assert "empty" in fails(1, *issue, "--passphrase-file", "empty")
    assert "nowhere" in fails(1, *issue, "--passphrase-file", "nowhere")
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "battery staple")
    assert "staple" not in fails(1, *issue)
    assert run("--passphrase-file", "right", *issue)[0] == 0
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "correct horse")
    assert run("rotate", "--all")[0] == 0
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "")
    assert "empty" in fails(1, "init", "--state", "other")
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "x" * 2000)
    assert "1023" in fails(1, "init", "--state", "other")
    assert not Path("other").exists()


def test_a_state_that_cannot_be_one(run: Run, fails: Callable[..., str]) -> None:
    """A file in its place, an empty name, no authority, a lock that is a link: one line each."""
    Path("file").touch()
    assert "is a file" in fails(1, "init", "--state", "file")
    fails(1, "init", "--state", "file/state")
    fails(1, "list", "--state", "file")
    fails(1, "issue", "server", "localhost", "--state", "file")
    fails(2, "list", "--state", "")
    assert "handclasp-pki --state nowhere init" in fails(1, "list", "--state", "nowhere")
    fails(1, "rotate", "--all", "--state", "/dev/null")
    run("init")
    Path("state/.lock").unlink()
    Path("state/.lock").symlink_to("/nowhere")
    fails(1, "issue", "server", "localhost")


UNPRIVILEGED = """
import contextlib, importlib, io, json, os, pkgutil, sys
import pki
from pki.cli import main

def call(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return main(arguments), out.getvalue(), err.getvalue()

# So that everything is imported before the rights are gone: an interpreter may lie where only root reads.
commands, rehearsal = json.loads(sys.argv[1]), sys.argv[2]
for module in pkgutil.walk_packages(pki.__path__, "pki."):
    if not module.name.endswith("__main__") and ".migrations." not in module.name:
        importlib.import_module(module.name)
for arguments in (["init"], ["issue", "server", "a"], ["issue", "server", "a"], ["rotate", "--all"], ["list"]):
    call([*arguments, "--state", rehearsal])
call(["inspect", rehearsal])
if os.geteuid() == 0:
    os.setgroups([]), os.setegid(65534), os.seteuid(65534)
print(json.dumps([call(arguments) for arguments in commands]))
"""


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o555])
def test_a_state_folder_that_may_not_be_read_or_written(mode: int, run: Run, tmp_path: Path) -> None:
    """As a user without rights to it: one line and exit 1, for every command, and the folder as it was."""
    if mode and os.geteuid() != 0:
        pytest.skip("only root can become another user, and these modes do not bar the owner from what is inside")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        state = folder / "state"
        run("init", "--state", state)
        run("issue", "server", "localhost", "--state", state)
        before = tree(state)
        commands = [
            ["init", "--ensure", "--state", state],
            ["init", "--state", folder / "other"],
            ["issue", "client", "alice", "--email", "a@x.io", "--state", state],
            ["rotate", "--all", "--state", state],
            ["self-signed", "--out", state],
        ]
        if not mode:
            commands += [["list", "--state", state], ["inspect", state / "credentials" / "localhost"]]
        folder.chmod(0o555)
        state.chmod(mode)
        script = [sys.executable, "-c", UNPRIVILEGED, json.dumps(commands, default=str), str(tmp_path / "rehearsal")]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        state.chmod(0o700)
        folder.chmod(0o755)
        for arguments, (code, out, err) in zip(commands, json.loads(done.stdout), strict=True):
            assert (code, out) == (1, ""), arguments
            assert re.fullmatch(r"handclasp-pki: error: [^\n]+denied[^\n]*\n", err), arguments
        assert tree(state) == before
        assert [path.name for path in folder.iterdir()] == ["state"]


def test_help_is_made_of_examples(run: Run) -> None:
    """Every command shows how it is called, and exits 0."""
    for command in ([], ["init"], ["issue"], ["issue", "server"], ["issue", "client"], ["issue", "peer"], ["rotate"],
                    ["renew"], ["prune"], ["upgrade"], ["self-signed"], ["list"], ["inspect"]):  # fmt: skip
        code, out, err = run(*command, "--help")
        assert (code, err) == (0, "")
        assert " ".join(["  handclasp-pki", *command]) in out
    assert re.fullmatch(r"handclasp-pki \d+\.\d+\.\d+\S*\n", run("--version")[1])


def test_the_installed_command(tmp_path: Path) -> None:
    """Exit codes reach the shell; `python -m pki` is the same command; a closed pipe or full disk is no traceback."""
    environment = os.environ | {"HANDCLASP_STATE": str(tmp_path / "s")}

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("pki ", f"{COMMAND} ").replace("python ", f"{sys.executable} ")
        return subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=environment)

    assert shell("pki init && pki issue server localhost").returncode == 0
    assert shell("pki nonsense").returncode == 2
    assert shell("python -m pki init").returncode == 1
    closed = shell("pki list --json | true")
    assert "Traceback" not in closed.stderr
    for closed in (shell("pki list >&-"), shell("pki list --json >&- 2>&-"), shell("pki list >&- <&-")):
        assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")
    full = shell("pki list --json > /dev/full")
    assert full.returncode == 1
    assert re.fullmatch(r"handclasp-pki: error: [^\n]*No space left[^\n]*\n", full.stderr)


def test_a_short_command_imports_nothing_that_it_does_not_use(run: Run) -> None:
    """Each of these takes as long to import as a tenth of a command, or all of it."""
    run("init")
    script = (
        "import sys; from pki.cli import main; assert main(sys.argv[1:]) == 0;"
        "print(sorted({'pydantic', 'alembic', 'psycopg', 'rich', 'ctypes'} & sys.modules.keys()))"
    )
    for arguments in (["issue", "client", "alice", "--email", "a@x.io"], ["revoke", "--name", "alice", "--yes"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr
