"""The policy in front of an application: the same over HTTP/1.1, HTTP/2 and WebSocket, changed while it is in force."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from services import cli
from tests.support.server import eventually
from tests.support.trust import Client, Trusting, trusting
from tests.support.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


RULES = """
[[rule]]
path = "/"
allow = ["*"]

[[rule]]
path = "/method/*"
methods = ["GET"]
allow = ["email:ops@example.com"]

[[rule]]
path = "/ws-echo"
websocket = true
allow = ["email:ops@example.com"]
"""

SPELLINGS = [
    "/method", "//method", "/method/", "/./method", "/x/../method", "/%6dethod", "/%6Dethod", "/x/%2e%2e/method",
    "/x/%2E%2e/method", "/x%2f..%2fmethod", "/method?x=/", "/../method", "/method%2f", "/%2fmethod", "/%2e/method",
    "/method/..;/", "/method/../", "/%2e%2e/method/x", "/#/../method", "/method#x", "/method;x=1", "/x/..;/method",
    "/%5cmethod", "/x%5c..%5cmethod", "/\\method", "/%256dethod", "/x/..%252fmethod", "/method%00", "/method%0a",
    "/%ef%bc%8fmethod", "/%c0%afmethod", "/method%20", "/%E2%80%A5/method", "*",
]  # fmt: skip
"""All of them are answered 403 to who may ask for `/` alone, or by a 400 before that; never by the application."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    """A server with the rules above."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "policy.toml").write_text(RULES)
    with trusting(folder, "--policy", str(folder / "policy.toml")) as made:
        yield made


@pytest.fixture(scope="module")
def ops(there: Trusting) -> Client:
    return there.client("ops")


@pytest.fixture(scope="module")
def eve(there: Trusting) -> Client:
    return there.client("eve")


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_rules_decide(there: Trusting, ops: Client, eve: Client, over: str) -> None:
    """By path, method and identity; no rule, no answer but 403; the connection goes on, and it is written down."""
    with getattr(ops, over)() as mine, getattr(eve, over)() as hers:
        assert (mine.get("/").status, hers.get("/").status) == (200, 200)
        assert (mine.get("/method").status, hers.get("/method").status) == (200, 403)
        assert mine.get("/method/").status == 404  # a rule allows it, and the application has no such path
        assert mine.get("/method", "POST").status == 403
        assert mine.get("/told").status == 403
        refused = hers.get("/told")
        assert (refused.status, bytes(refused.body)) == (403, b"Forbidden\n")
        assert hers.get("/").status == 200
    there.audited("request.refused", status=403, reason="no rule matches")
    there.server.logged("denied")
    assert any("decision=" in line and "rule" in line for line in there.server.logged(" request "))
    assert "rule 2 (line 6) allows it" in there.server.log()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("over", ["h1", "h2"])
def test_no_spelling_slips_past_a_rule(eve: Client, over: str, spelling: str) -> None:
    """Eve may ask for `/` alone."""
    with getattr(eve, over)() as line:
        assert line.get(spelling).status in (400, 403)


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_no_spelling_opens_a_websocket(eve: Client, over: str) -> None:
    """Nor the other kind of request."""
    for path in ("//ws-echo", "/ws-echo/", "/%77s-echo", "/x/../ws-echo", "/ws-echo%0a", "/ws-echo;x", "/#/../ws-echo"):
        with WebSocket(eve, over, path) as websocket:  # type: ignore[arg-type]
            assert websocket.answer().status == 403, path


OPEN = """
[[rule]]
path = "/admin/*"
deny = ["*"]

[[rule]]
path = "/*"
allow = ["*"]
"""


@pytest.mark.parametrize("over", ["h1", "h2"])
@pytest.mark.parametrize(
    "spelling",
    [
        "/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/admin/", "/admin%0a", "/admin%0A", "/admin/%0a",
        "/admin;x", "/;/admin", "/x/..;/admin", "/admin%00", "/%5cadmin", "/x%5C..%5Cadmin", "/%2561dmin",
        "/%252e/admin",
        "/x/..%2fadmin", "/x/..%252Fadmin", "/#/../admin", "/%ef%bc%8fadmin", "/%ef%bd%81dmin",
    ],
)  # fmt: skip
def test_a_route_that_is_closed_is_closed_by_every_name(starlette: Trusting, spelling: str, over: str) -> None:
    """Behind a rule that lets everybody in elsewhere: Starlette's routes answer to `/admin` and to `/admin%0a`."""
    with getattr(starlette.client("eve"), over)() as line:
        assert line.get(spelling).status == 403
        assert line.get("/elsewhere").status == 404


@pytest.fixture(scope="module")
def starlette(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("starlette")
    (folder / "policy.toml").write_text(OPEN)
    app = "docs.adopt.starlette_app:app"
    with trusting(folder, "--policy", str(folder / "policy.toml"), app=app) as made:
        yield made


def test_absolute_form_and_two_hosts(ops: Client, eve: Client) -> None:
    """A target that is a whole URI (RFC 9112 section 3.2.2) is judged by its path, whatever host it names."""
    for target in (
        "https://localhost/method",
        "https://evil/method",
        "http://localhost//method?x=/",
        "https://x/%6dethod",
    ):
        with eve.h1() as line:
            assert line.get(target).status in (400, 403, 421), target
    with eve.h1() as line:
        assert line.get("https://elsewhere/?x").status == 200
    with ops.h1() as line:
        assert line.get("https://elsewhere/method").status == 200
    with eve.h2() as wire:  # differing :authority and Host
        assert wire.get("/method", authority="evil", more=[("host", "localhost")]).reset is not None
    with ops.h2() as wire:
        assert wire.get("/method").status == 200


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_websockets(ops: Client, eve: Client, over: str) -> None:
    """403 in the handshake's answer, and no application."""
    with WebSocket(ops, over, "/ws-echo") as websocket:  # type: ignore[arg-type]
        websocket.accepted().send("hello")
        assert websocket.receive() == "hello"
    with WebSocket(eve, over, "/ws-echo") as websocket:  # type: ignore[arg-type]
        assert websocket.answer().status == 403
    with getattr(ops, over)() as line:  # the rule is for WebSockets alone
        assert line.get("/ws-echo").status == 403


def test_a_policy_changes_while_connections_are_open(there: Trusting, ops: Client, eve: Client) -> None:
    """The next request of an open connection is judged by the new one; one that is not sound changes nothing."""
    policy = there.folder / "policy.toml"
    with eve.h2() as hers, ops.h1() as mine:
        assert hers.get("/told").status == 403
        after = there.server.log_end()
        policy.write_text(RULES + '\n[[rule]]\npath = "/told"\nallow = ["email:eve@example.com"]\n')
        there.taken_up(after)
        assert (hers.get("/told").status, mine.get("/told").status) == (200, 403)
        for broken, why in (("[[rule]]\n", "policy.toml:1: rule 1"), ("", "it has no rule"), ("rule = 1", "[[rule]]")):
            after = there.server.log_end()
            policy.write_text(broken)
            assert why in there.server.logged("reload refused", after)[0]
            assert (hers.get("/told").status, mine.get("/told").status) == (200, 403)
        after = there.server.log_end()
        policy.unlink()
        assert "cannot be read" in there.server.logged("reload refused", after)[0]
        assert hers.get("/told").status == 200
        after = there.server.log_end()
        policy.write_text(RULES)
        there.taken_up(after)
        eventually(lambda: hers.get("/told").status == 403)


def engine(call) -> bool:
    """What `--authorizer` names below."""
    if call.path == "/raise":
        raise RuntimeError("the engine is broken")
    if call.path == "/truthy":
        return "yes"  # type: ignore[return-value]
    return call.peer.identity.name == "ops@example.com"


async def slow_engine(call) -> bool:
    """The same, later."""
    return engine(call)


@pytest.mark.parametrize("name", ["engine", "slow_engine"])
def test_an_engine_of_ones_own(tmp_path: Path, name: str) -> None:
    """It is asked of each request; whatever it raises, and whatever is not True, is a no."""
    made = Trusting(tmp_path, "--authorizer", f"tests.faults.test_authorization:{name}")
    try:
        ops, eve = made.client("ops"), made.client("eve")
        with ops.h2() as mine, eve.h1() as hers:
            assert (mine.get("/").status, hers.get("/").status) == (200, 403)
            assert mine.get("/raise").status == 403
            assert mine.get("/truthy").status == 403
            assert mine.get("/").status == 200
        made.server.logged("the engine failed: denied")
    finally:
        made.stop()


def serve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


def asked(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process: it starts in no time."""
    out, err = io.StringIO(), io.StringIO()
    command = ["handclasp-serve", *map(str, arguments)]
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
        code = cli.main()
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def test_the_policy_is_explained(there: Trusting, eve: Client, tmp_path: Path) -> None:
    """Which rule decides, by its line; exit 1 where the answer is no; exit 2 for what cannot be explained."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES)

    def explained(*words: object, by: Callable[..., subprocess.CompletedProcess[str]] = asked) -> tuple[int, str]:
        done = by("--policy", policy, "--explain-policy", *words)
        assert "Traceback" not in done.stderr
        return done.returncode, (done.stdout or done.stderr).strip()

    allowed = f"allowed: rule 2 (line 6) allows it: {policy}:6, /method/*"
    assert explained("email:ops@example.com", "GET", "/method/x", by=serve) == (0, allowed)
    assert explained("email:ops@EXAMPLE.com", "get", "//%6dethod/x") == (0, allowed)
    assert explained("email:eve@example.com", "GET", "/method") == (1, "denied: no rule matches")
    assert explained(eve.folder, "GET", "/")[0] == 0
    assert explained("email:ops@example.com", "websocket", "/ws-echo")[0] == 0
    assert explained("ops@example.com", "GET", "/method/x") == (0, allowed)
    for who in ("spiffe://example.com/a", f"sha256:{'ab' * 32}", "issuer:CN=Test CA", "dns:b\u00fccher.example"):
        assert explained(who, "GET", "/method") == (1, "denied: no rule matches")
    for wrong in ("email:x@@y", "email:", "uri:nothing", "email:*@example.com", "sha256:12", "", "/etc/passwd"):
        code, said = explained(wrong, "GET", "/")
        assert (code, said.count("\n")) == (2, 0)
        assert said.startswith("handclasp-serve: error: ")
    assert explained("email:a@x.io", "GET", "method")[0] == 2
    for word in ("", "G ET", "GET\n", "/method"):
        assert explained("email:a@x.io", word, "/method")[0] == 2, word
    doubtful = tmp_path / "doubtful.toml"
    doubtful.write_text('[[rule]]\npath = "/a"\nallow = ["dns:x.io"]\n[[rule]]\npath = "/*"\nallow = ["*"]\n')
    done = asked("--policy", doubtful, "--explain-policy", "a@x.io", "GET", "/a")
    assert done.stdout == f"allowed: rule 2 (line 4) allows it: {doubtful}:4, /*\n"
    assert done.stderr.startswith(
        f"handclasp-serve: warning: {doubtful}: rule 1 (line 1) keeps nobody out of /a: rule 2"
    )
    both = explained("ops@example.com", "GET", "/method/x", "--authorizer", "shop.rules:may")
    assert both == (0, f"{allowed}; shop.rules:may is asked next")
    code, said = explained("nobody", "GET", "/")
    assert code == 2
    assert "'nobody' is no identity" in said
    assert asked("--explain-policy", "email:a@x.io", "GET", "/").returncode == 2
    policy.write_text('[[rule]]\npath = "/a"\nallow = ["who"]\n')
    code, said = explained("email:a@x.io", "GET", "/")
    assert code == 2
    assert said.startswith(f"handclasp-serve: error: {policy}:3: rule 1: 'who' is no pattern: it begins with email:")
    done = serve("--policy", policy, "--credential", there.credential)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
