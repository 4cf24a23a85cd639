"""Authorizers, paths as they are read, and the policy file: who may do what."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.identity import Identity
from services.authorization.authorizers import (
    Authorizer,
    PatternError,
    all_of,
    allow_dns,
    allow_email,
    allow_fingerprint,
    allow_issuer,
    allow_uri,
    any_of,
    covers,
    deny,
    key_of,
)
from services.authorization.paths import readings
from services.authorization.policy import Policy, PolicyError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)


def who(*names: str, sha256: str = "ab" * 32) -> Identity:
    """An identity with these names: emails have an @, URIs a colon, the others are DNS names."""
    emails = tuple(name for name in names if "@" in name)
    uris = tuple(name for name in names if ":" in name)
    dns = tuple(name for name in names if name not in emails and name not in uris)
    kind = "email" if emails else "uri" if uris else "dns"
    return Identity(names[0], kind, emails, uris, dns, "1", sha256, NOW, NOW, "CN=Test CA")


ALICE, OPS = who("alice@example.com"), who("spiffe://example.com/ops/deploy")


@pytest.mark.parametrize(
    ("authorizer", "yes", "no"),
    [
        (allow_email("alice@example.com"), ["alice@example.com"], ["Alice@example.com", "alice@example.org"]),
        (allow_email("*@EXAMPLE.com"), ["bob@example.com"], ["bob@evil.example.com", "bob@example.com.evil.org"]),
        (allow_uri("spiffe://example.com/ops/*"), ["spiffe://example.com/ops/a/b"], ["spiffe://example.com/ops"]),
        (allow_uri("spiffe://example.com/*"), ["spiffe://example.com/a"], ["spiffe://example.com.evil.org/a"]),
        (allow_uri("spiffe://example.com/ops"), ["spiffe://example.com/ops"], ["spiffe://example.com/opsx"]),
        (allow_uri("SPIFFE://Example.com/Ops/*"), ["spiffe://example.com/Ops/a"], ["spiffe://example.com/ops/a"]),
        (allow_dns("*.svc.example.com"), ["a.svc.example.com", "a.b.svc.example.com"], ["svc.example.com"]),
        (allow_dns("db.example.com"), ["db.example.com"], ["x.db.example.com", "xdb.example.com"]),
        (allow_fingerprint(":".join(["AB"] * 32)), ["alice@example.com"], []),
        (allow_fingerprint("cd" * 32), [], ["alice@example.com"]),
        (allow_issuer("CN=Test CA"), ["alice@example.com"], []),
        (allow_issuer("CN=Other CA"), [], ["alice@example.com"]),
        (any_of(allow_email("a@x.io"), allow_dns("b.io")), ["a@x.io", "b.io"], ["c.io"]),
        (any_of(), [], ["a@x.io"]),
        (all_of(allow_email("*@x.io"), deny(allow_email("a@x.io"))), ["b@x.io"], ["a@x.io", "b@y.io"]),
    ],
)
def test_authorizers(authorizer: Authorizer, yes: list[str], no: list[str]) -> None:
    """Whom each of them means; a name of one kind is never taken for one of another."""
    assert [name for name in yes if not authorizer(who(name))] == []
    assert [name for name in no if authorizer(who(name))] == []


def test_each_name_counts() -> None:
    """A certificate with several names is meant by a pattern for any of them."""
    assert allow_email("*@x.io")(who("a@example.com", "b@x.io"))
    assert not allow_dns("x.io")(who("a@x.io"))


@pytest.mark.parametrize(
    "pattern",
    [
        "alice@example.com", "email:", "email:alice", "email:@example.com", "email:a*@example.com", "email:*@*.com",
        "dns:*", "dns:a.*.com", "dns:..", "uri:nothing", "uri:spiffe:///x", "uri:spiffe://x/y?z", "uri:spiffe://*/x",
        "uri:urn:x/*", "uri:spiffe://x/a b", "uri:spiffe://x/../y", "uri:spiffe://x/ops/", "uri:spiffe://x:1/*",
        "email:a b@x.io", "email:\u00fc@x.io", "email:*@-x.io", "email:*x@x.io", "dns:a b", "dns:-x.io",
        "issuer:Test CA", "sha256:12", "sha256:" + "g" * 64, "issuer:*", "name:x", "email: a@x.io", "dns:a\u202eb.io",
        "**",
    ],
)  # fmt: skip
def test_patterns_that_cannot_be_meant(pattern: str) -> None:
    """Each is refused."""
    with pytest.raises(PatternError):
        key_of(pattern)


def test_a_domain_is_written_either_way() -> None:
    """In letters or as certificates have it."""
    assert key_of("email:*@B\u00fccher.example") == key_of("email:*@xn--bcher-kva.example")
    assert allow_dns("*.b\u00fccher.example")(who("a.xn--bcher-kva.example"))
    assert allow_uri("https://User@EXAMPLE.com/a/*")(who("https://User@example.com/a/b"))


def test_what_covers_what() -> None:
    """The wider pattern, of the same kind."""
    assert covers("*", "email:a@x.io")
    assert covers("email:*@x.io", "email:a@x.io")
    assert covers("dns:*.x.io", "dns:*.y.x.io")
    assert covers("uri:spiffe://x/*", "uri:spiffe://x/ops/*")
    assert not covers("uri:spiffe://x/ops/*", "uri:spiffe://x/*")
    assert not covers("email:a@x.io", "email:*@x.io")
    assert not covers("dns:*.x.io", "dns:x.io")


@pytest.mark.parametrize(
    "target",
    [
        b"/admin/users", b"//admin/users", b"/admin//users", b"/admin/users/", b"/admin/users//", b"/./admin/users",
        b"/admin/./users", b"/x/../admin/users", b"/admin/x/../users", b"/../admin/users", b"/%61dmin/users",
        b"/%61%64min/users", b"/admin%2fusers", b"/admin%2Fusers", b"/%2e/admin/users", b"/x/%2e%2e/admin/users",
        b"/x/%2E%2E/admin/users", b"/x%2f..%2fadmin/users", b"/admin/users?x=/public", b"/admin/users#/public",
        b"/admin;x=1/users;y", b"/x/..;/admin/users", b"/admin%3bx/users", b"/%2561dmin/users",
        b"/x/%252e%252e/admin/users", b"/x/..%252fadmin/users", b"/%25252561dmin/users", b"/admin\\users",
        b"/x%5c..%5cadmin%5cusers", b"/admin/users%00", b"/admin/users%00.html", b"/admin/users%0a",
        b"/admin%ef%bc%8fusers", b"/%ef%bd%81dmin/users", b"/#/../admin/users", b"/x#/../admin/users",
        b"/x/%2e%2e;a/admin%5cusers%00%0a", b"/admin%253b%255c/users",
        b"https://localhost:8443/admin/users", b"https://evil/admin//users?x", b"http://x/%61dmin/users",
    ],
)  # fmt: skip
def test_every_spelling_of_a_path_is_that_path(target: bytes) -> None:
    """Whatever it is spelled like, `/admin/users` is among its readings."""
    assert ("admin", "users") in readings(target)


def test_a_path_in_normal_form_is_read_in_one_way() -> None:
    """So the readings cost nothing where there is nothing to doubt."""
    for target, segments in ((b"/", ()), (b"/a", ("a",)), (b"/a/b-c/d.e", ("a", "b-c", "d.e")), (b"*", ("*",))):
        assert readings(target) == (segments,)
    assert readings("/caf\u00e9".encode()) == (("caf\u00e9",),)


@pytest.mark.parametrize(
    "target",
    [b"/%25;a%5c%00%2525%25;b%252f%5c%e2%84%a0%0a", b"/" + b"%25" * 5_000 + b"25" * 5_000, b"/;" * 20_000 + b"%5c"],
)
def test_what_has_too_many_meanings_has_none(policy: Policy, target: bytes) -> None:
    """A path that is made for it costs no more than others, and is nobody's."""
    assert readings(target) == ()
    decision = policy.decide(ALICE, "GET", target)
    assert (decision.allowed, decision.reason) == (False, "the path can be read in too many ways")


@given(st.binary(max_size=60))
def test_any_bytes_have_a_reading(target: bytes) -> None:
    """And no reading has an empty segment, nor does a resolved one climb above the root."""
    for segments in readings(target):
        assert all(segments)


POLICY = """
[[rule]]
path = "/healthz"
allow = ["*"]

[[rule]]
path = "/admin/*"
deny = ["email:mallory@example.com"]

[[rule]]
path = "/admin/*"
methods = ["GET", "POST"]
allow = ["email:*@example.com", "uri:spiffe://example.com/ops/*"]

[[rule]]
path = "/users/*/photo"
allow = ["dns:*.svc.example.com"]

[[rule]]
rpc = "greet.v1.Greeter/*"
allow = ["email:*@example.com"]

[[rule]]
path = "/live"
websocket = true
allow = ["*"]

[[rule]]
path = "/pub/*"
websocket = false
allow = ["*"]
"""


def test_an_rpc_that_is_denied_is_denied_by_every_method(tmp_path: Path) -> None:
    """Connect asks by GET for methods without side effects; what is allowed is a POST."""
    few = '[[rule]]\nrpc = "x.Y/Z"\nallow = ["email:*@example.com"]\n[[rule]]\nrpc = "x.Y/*"\ndeny = ["*"]\n'
    (tmp_path / "policy.toml").write_text(few + '[[rule]]\npath = "/*"\nallow = ["*"]\n')
    policy = Policy.load(tmp_path / "policy.toml")
    assert policy.decide(ALICE, "POST", b"/x.Y/Z").allowed
    assert not policy.decide(ALICE, "GET", b"/x.Y/Z").allowed
    assert not policy.decide(OPS, "GET", b"/x.Y/Z").allowed
    assert not policy.decide(OPS, "POST", b"/x.Y/W").allowed
    assert policy.decide(OPS, "GET", b"/x").allowed


@pytest.fixture(name="policy")
def loaded(tmp_path: Path) -> Policy:
    """The policy above."""
    (tmp_path / "policy.toml").write_text(POLICY)
    return Policy.load(tmp_path / "policy.toml")


@pytest.mark.parametrize(
    ("name", "method", "target", "protocol", "rule"),
    [
        ("x.io", "GET", "/healthz", "http", 1),
        ("x.io", "GET", "/", "http", None),
        ("mallory@example.com", "GET", "/admin", "http", -2),
        ("mallory@example.com", "GET", "/admin/x/y", "http", -2),
        ("alice@example.com", "GET", "/admin/x/y", "http", 3),
        ("alice@example.com", "GET", "/admin", "http", 3),
        ("alice@example.com", "DELETE", "/admin/x", "http", None),
        ("alice@example.com", "GET", "/administrator", "http", None),
        ("alice@evil.com", "GET", "/admin/x", "http", None),
        ("spiffe://example.com/ops/a", "POST", "/admin/x", "http", 3),
        ("spiffe://example.com/dev/a", "POST", "/admin/x", "http", None),
        ("a.svc.example.com", "GET", "/users/7/photo", "http", 4),
        ("a.svc.example.com", "GET", "/users/7/8/photo", "http", None),
        ("a.svc.example.com", "GET", "/users/photo", "http", None),
        ("alice@example.com", "POST", "/greet.v1.Greeter/Hello", "http", 5),
        ("alice@example.com", "GET", "/greet.v1.Greeter/Hello", "http", None),
        ("alice@example.com", "POST", "/greet.v2.Greeter/Hello", "http", None),
        ("x.io", "GET", "/live", "websocket", 6),
        ("x.io", "GET", "/live", "http", None),
        ("x.io", "GET", "/pub/a", "http", 7),
        ("x.io", "GET", "/pub/a", "websocket", None),
        # Ways around: what is allowed only in one reading is not allowed.
        ("x.io", "GET", "/pub/../admin/x", "http", None),
        ("x.io", "GET", "/admin/../pub/a", "http", None),
        ("x.io", "GET", "/pub/%2e%2e/admin/x", "http", None),
        ("x.io", "GET", "/admin%2f..%2fpub/a", "http", None),
        ("x.io", "GET", "/pub/x%2f..%2f..%2fadmin", "http", None),
        ("mallory@example.com", "GET", "//admin/", "http", -2),
        ("x.io", "GET", "/pub/x#/../../admin", "http", None),
        ("x.io", "GET", "/pub/..;/admin", "http", None),
        ("x.io", "GET", "/pub/..%5cadmin", "http", None),
        ("x.io", "GET", "/pub/%252e%252e/admin", "http", None),
        ("x.io", "GET", "/healthz%0a", "http", None),
        ("x.io", "GET", "/pub/a;x=1%20100%25", "http", 7),
        ("mallory@example.com", "GET", "/%41dmin", "http", None),
        ("mallory@example.com", "GET", "/%61dmin/./x", "http", -2),
    ],
)
def test_decisions(policy: Policy, name: str, method: str, target: str, protocol: str, rule: int | None) -> None:
    """The first rule that matches decides; a minus sign stands for a no."""
    decision = policy.decide(who(name), method, target.encode(), protocol)  # type: ignore[arg-type]
    found = decision.rule and (decision.rule.number if decision.allowed else -decision.rule.number)
    assert found == rule
    assert decision.allowed == (rule is not None and rule > 0)


RULE = '[[rule]]\npath = "/a"\nallow = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: it has no rule"),
        ("[[rule]\n", "is not TOML"),
        ("rules = []\n", "1: 'rules' is not known"),
        ("rule = 3\n", "1: a rule is written as"),
        ('[[rule]]\npath = "/a"\nallow = ["*"]\nroles = ["x"]\n', "4: rule 1: 'roles' is not known"),
        (
            RULE + '\n[[rule]]\npath = "/b"\nallow = [\n  "email:a@x.io",\n  "mail:b@x.io",\n]\n',
            "9: rule 2: 'mail:b@x.io'",
        ),
        (RULE + '[[rule]]\npath = "/b"\n', "4: rule 2: it has allow or deny"),
        (RULE + '[[rule]]\nallow = ["*"]\n', "4: rule 2: it has a path or an rpc"),
        ('[[rule]]\npath = "/a"\nallow = ["*"]\ndeny = ["*"]\n', "1: rule 1: it has allow or deny"),
        ('[[rule]]\npath = "/a"\nallow = []\n', "3: rule 1: allow is empty"),
        ('[[rule]]\npath = "/a"\nallow = "*"\n', "3: rule 1: allow: input should be a valid list"),
        ('[[rule]]\npath = "a"\nallow = ["*"]\n', "2: rule 1: 'a' can never match: it begins with /"),
        ('[[rule]]\npath = "/a//b"\nallow = ["*"]\n', "2: rule 1: '/a//b' can never match"),
        ('[[rule]]\npath = "/a/../b"\nallow = ["*"]\n', "2: rule 1: '/a/../b' can never match"),
        ('[[rule]]\npath = "/a/"\nallow = ["*"]\n', "2: rule 1: '/a/' can never match"),
        ('[[rule]]\npath = "/%61"\nallow = ["*"]\n', "2: rule 1: '/%61' can never match"),
        ('[[rule]]\npath = "/a?b"\nallow = ["*"]\n', "2: rule 1: '/a?b' can never match"),
        ('[[rule]]\npath = "/a*"\nallow = ["*"]\n', "2: rule 1: '/a*' can never match"),
        ('[[rule]]\npath = "/a"\nmethods = ["get"]\nallow = ["*"]\n', "3: rule 1: 'get' is no method"),
        ('[[rule]]\npath = "/a"\nmethods = []\nallow = ["*"]\n', "3: rule 1: methods is empty"),
        ('[[rule]]\nrpc = "x"\nallow = ["*"]\n', "2: rule 1: 'x' can never match"),
        ('[[rule]]\nrpc = "x.Y/Z"\nmethods = ["GET"]\nallow = ["*"]\n', "3: rule 1: an rpc is a POST"),
        (
            '[[rule]]\npath = "/a"\nwebsocket = true\nmethods = ["POST"]\nallow = ["*"]\n',
            "4: rule 1: a WebSocket begins",
        ),
        ("a = 1\n[[rule]\n", "2: it is not TOML: "),
        ('[[rule]]\npath = "/a"\nallow = ["*"', "3: it is not TOML: unclosed array"),
        ('[["rule"]]\npath = "/a"\nallow = ["*"]\nroles = 1\n', "4: rule 1: 'roles' is not known"),
        (
            (
                '[[rule]]\npath = "/*"\nallow = ["email:a@x.io"]\n[[rule]]\npath = "/a"\ndeny = ["dns:x.io"]\n'
                '[[rule]]\npath = "/a"\nallow = ["dns:x.io", "email:a@x.io"]\n'
            ),
            "7: rule 3: it can never match, behind rule 1 (line 1) and rule 2 (line 4)",
        ),
        (
            (
                '[[rule]]\npath = "/a"\nmethods = ["GET"]\nallow = ["*"]\n'
                '[[rule]]\npath = "/a"\nmethods = ["POST"]\nallow = ["*"]\n'
                '[[rule]]\npath = "/a"\nmethods = ["GET", "POST"]\nallow = ["*"]\n'
            ),
            "9: rule 3: it can never match, behind rule 1 (line 1) and rule 2 (line 5)",
        ),
        (
            (
                '[[rule]]\npath = "/a"\nmethods = ["GET"]\nallow = ["*"]\n'
                '[[rule]]\npath = "/a"\nwebsocket = true\nallow = ["*"]\n'
            ),
            "5: rule 2: it can never match, behind rule 1 (line 1)",
        ),
        (RULE + RULE, "4: rule 2: it is the same as rule 1 (line 1)"),
        ('[[rule]]\npath = "/*"\nallow = ["*"]\n' + RULE, "4: rule 2: it can never match, behind rule 1"),
        (
            '[[rule]]\npath = "/*"\ndeny = ["email:*@x.io"]\n[[rule]]\npath = "/a"\nallow = ["email:a@x.io"]\n',
            "4: rule 2: it can",
        ),
        ('[[rule]]\npath = "/a"\nallow = ["dns:x.io", "dns:X.io"]\n', "3: rule 1: 'dns:X.io' is there twice"),
    ],
)
def test_a_policy_that_is_not_sound(tmp_path: Path, text: str, said: str) -> None:
    """It is refused as a whole, by file and line."""
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(PolicyError) as caught:
        Policy.load(tmp_path / "policy.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "policy.toml") in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        # Each looks as if nothing were left to the last rule, and something is.
        '[[rule]]\npath = "/a"\nmethods = ["GET"]\nallow = ["*"]\n[[rule]]\npath = "/a"\nallow = ["*"]\n',
        '[[rule]]\npath = "/a"\nwebsocket = false\nallow = ["*"]\n[[rule]]\npath = "/a"\nallow = ["*"]\n',
        '[[rule]]\npath = "/a"\nallow = ["*"]\n[[rule]]\npath = "/a/*"\nallow = ["*"]\n',
        '[[rule]]\npath = "/*"\nallow = ["dns:x.io"]\n[[rule]]\npath = "/a"\nallow = ["dns:x.io", "dns:y.io"]\n',
    ],
)
def test_a_rule_that_is_left_something_is_a_rule(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    assert len(Policy.load(tmp_path / "policy.toml").rules) == 2


@pytest.mark.parametrize(
    ("between", "methods", "doubted"),
    [
        ("", "", True),
        ('[[rule]]\npath = "/admin/*"\ndeny = ["*"]\n', "", False),
        ('[[rule]]\npath = "/admin/*"\ndeny = ["email:mallory@x.io"]\n', "", True),
        ("", 'methods = ["GET"]\n', False),
    ],
)
def test_a_rule_that_keeps_nobody_out_is_doubted(tmp_path: Path, between: str, methods: str, doubted: bool) -> None:
    """Whom it does not name goes on to the next: it is sound, and hardly what was meant."""
    few = '[[rule]]\npath = "/admin/*"\nallow = ["email:*@ops.x.io"]\n'
    (tmp_path / "policy.toml").write_text(f'{few}{between}[[rule]]\npath = "/*"\n{methods}allow = ["*"]\n')
    doubts = list(Policy.load(tmp_path / "policy.toml").doubts())
    assert len(doubts) == doubted
    assert not doubted or doubts[0].startswith("rule 1 (line 1) keeps nobody out of /admin/*: rule ")


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        Policy.load(tmp_path / "nothing.toml")


def test_what_is_remembered_is_of_that_caller_and_request_alone(tmp_path: Path) -> None:
    """And of no more requests than are bounded, none of them long; it goes with the policy, at once."""
    file = tmp_path / "policy.toml"
    file.write_text('[[rule]]\npath = "/a/*"\nmethods = ["GET"]\nallow = ["email:alice@example.com"]\n')
    policy = Policy.load(file)
    for _ in range(2):
        assert policy.decide(ALICE, "GET", b"/a/b").allowed
        assert not policy.decide(OPS, "GET", b"/a/b").allowed
        assert not policy.decide(ALICE, "POST", b"/a/b").allowed
        assert not policy.decide(ALICE, "GET", b"/b").allowed
    assert policy.decide(ALICE, "GET", b"/a/b") is policy.decide(ALICE, "GET", b"/a/b")
    for method, target in (("GET", b"/a/" + b"x" * 600), ("X" * 600, b"/a/b")):
        assert policy.decide(ALICE, method, target) is not policy.decide(ALICE, method, target)
    for number in range(10_000):
        policy.decide(ALICE, "GET", b"/a/%d" % number)
    assert len(policy._known) <= 4_096
    gone = weakref.ref(policy)
    gc.disable()
    try:
        del policy
        assert gone() is None
    finally:
        gc.enable()
