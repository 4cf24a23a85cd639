"""RPC over mTLS on the same port: gRPC by grpcio's own client, gRPC-Web and Connect by hand and by curl, `buf curl`."""

from __future__ import annotations

import itertools
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from services.contracts.grpc.health.v1.health_pb import HealthCheckRequest, HealthCheckResponse
from services.contracts.handclasp.greeter.v1.greeter_pb import (
    ConverseRequest,
    ConverseResponse,
    GreetRequest,
    GreetResponse,
    SayHelloRequest,
    SayHelloResponse,
)
from services.contracts.handclasp.identity.v1.identity_pb import WhoAmIRequest, WhoAmIResponse
from services.terms import MAX_MESSAGE
from tests.support.server import ROOT, eventually
from tests.support.tools import require
from tests.support.trust import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.trust import Client, Trusting

GREETER = "/handclasp.greeter.v1.GreeterService"
POLICY = """
[[rule]]
rpc = "handclasp.greeter.v1.GreeterService/Greet"
deny = ["email:eve@example.com"]

[[rule]]
path = "/*"
allow = ["*"]
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("rpc")
    (folder / "policy.toml").write_text(POLICY)
    with trusting(folder, "--policy", str(folder / "policy.toml"), app="services.app:app") as there:
        yield there


@pytest.fixture(scope="module")
def tom(there: Trusting) -> Client:
    return there.client("tom")


def channel_of(client: Client, **options: int) -> grpc.Channel:
    read = {name: (client.folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")}
    credentials = grpc.ssl_channel_credentials(read["ca.crt"], read["tls.key"], read["tls.crt"])
    return grpc.secure_channel(f"localhost:{client.port}", credentials, options=list(options.items()))


@pytest.fixture
def channel(tom: Client) -> Iterator[grpc.Channel]:
    with channel_of(tom) as channel:
        yield channel


def call(channel: grpc.Channel, kind: str, path: str, request: type, response: type) -> grpc.UnaryUnaryMultiCallable:
    """grpcio's callable of one method: `kind` is its own word, such as `unary_stream`."""
    return getattr(channel, kind)(
        path, request_serializer=lambda message: message.to_binary(), response_deserializer=response.from_binary
    )


def refused(make: object) -> tuple[grpc.StatusCode, str]:
    """The status of a call that does not succeed."""
    with pytest.raises(grpc.RpcError) as error:
        list(answer) if hasattr(answer := make(), "__iter__") else answer  # type: ignore[operator]
    return error.value.code(), error.value.details()


# grpcio.


def test_grpcio_says_hello(channel: grpc.Channel) -> None:
    say_hello = call(channel, "unary_unary", f"{GREETER}/SayHello", SayHelloRequest, SayHelloResponse)
    assert say_hello(SayHelloRequest()).message == "Hello tom@example.com!"
    assert say_hello(SayHelloRequest(greeting="Hi")).message == "Hi tom@example.com!"


def test_grpcio_takes_a_stream(channel: grpc.Channel) -> None:
    greet = call(channel, "unary_stream", f"{GREETER}/Greet", GreetRequest, GreetResponse)
    assert [answer.message for answer in greet(GreetRequest(times=1000))] == ["Hello tom@example.com!"] * 1000


def test_grpcio_converses(channel: grpc.Channel) -> None:
    """An answer to each before the next is said: both directions are open at once."""
    converse = call(channel, "stream_stream", f"{GREETER}/Converse", ConverseRequest, ConverseResponse)
    said: list[str] = []

    def speak() -> Iterator[ConverseRequest]:
        for number in range(20):
            eventually(lambda number=number: len(said) == number)  # type: ignore[misc]
            yield ConverseRequest(greeting=f"Hello {number}")

    for answer in converse(speak()):
        said.append(answer.message)
    assert said == [f"Hello {number} tom@example.com!" for number in range(20)]


def test_grpcio_asks_after_health(channel: grpc.Channel) -> None:
    check = call(channel, "unary_unary", "/grpc.health.v1.Health/Check", HealthCheckRequest, HealthCheckResponse)
    for service in ("", "handclasp.greeter.v1.GreeterService", "handclasp.identity.v1.IdentityService"):
        assert check(HealthCheckRequest(service=service)).status is HealthCheckResponse.ServingStatus.SERVING
    assert refused(lambda: check(HealthCheckRequest(service="x.Y")))[0] is grpc.StatusCode.NOT_FOUND
    watch = call(channel, "unary_stream", "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)
    watching = watch(HealthCheckRequest())
    assert next(watching).status is HealthCheckResponse.ServingStatus.SERVING
    watching.cancel()


def test_nobody_without_a_certificate(there: Trusting, tom: Client) -> None:
    credentials = grpc.ssl_channel_credentials((tom.folder / "ca.crt").read_bytes())
    with grpc.secure_channel(f"localhost:{there.server.port}", credentials) as channel:
        say_hello = call(channel, "unary_unary", f"{GREETER}/SayHello", SayHelloRequest, SayHelloResponse)
        assert refused(lambda: say_hello(SayHelloRequest(), timeout=5))[0] is grpc.StatusCode.UNAVAILABLE


# What goes wrong: a canonical code, in one line.


def raw(channel: grpc.Channel, path: str, body: bytes) -> bytes:
    return channel.unary_unary(path, request_serializer=None, response_deserializer=None)(body)


def test_canonical_codes(channel: grpc.Channel) -> None:
    code = grpc.StatusCode
    greet = call(channel, "unary_stream", f"{GREETER}/Greet", GreetRequest, GreetResponse)
    say_hello = call(channel, "unary_unary", f"{GREETER}/SayHello", SayHelloRequest, SayHelloResponse)
    cases = {
        "malformed": (lambda: raw(channel, f"{GREETER}/SayHello", b"\xff\xff\xff"), code.INVALID_ARGUMENT),
        "unknown method": (lambda: raw(channel, f"{GREETER}/Nothing", b""), code.UNIMPLEMENTED),
        "unknown service": (lambda: raw(channel, "/x.Y/Z", b""), code.UNIMPLEMENTED),
        "too large": (lambda: raw(channel, f"{GREETER}/SayHello", bytes(MAX_MESSAGE + 1)), code.RESOURCE_EXHAUSTED),
        "not a greeting": (lambda: say_hello(SayHelloRequest(greeting="a\nb")), code.INVALID_ARGUMENT),
        "too many": (lambda: greet(GreetRequest(times=10**6)), code.INVALID_ARGUMENT),
    }
    for what, (make, wanted) in cases.items():
        found, words = refused(make)
        assert found is wanted, (what, found, words)
        assert len(words.splitlines()) <= 1, what
        assert "Traceback" not in words
    assert say_hello(SayHelloRequest()).message, "the connection goes on"


def test_what_fails_is_written_down(there: Trusting, tom: Client) -> None:
    """Who called what, the canonical code and a line: nonsense, too much, no such method, a deadline, who left."""
    with channel_of(tom) as channel:
        say_hello = f"{GREETER[1:]}/SayHello"
        for body, code in ((b"\xff\xff", "invalid_argument"), (bytes(MAX_MESSAGE + 1), "resource_exhausted")):
            refused(lambda body=body: raw(channel, f"/{say_hello}", body))  # type: ignore[misc]
            there.audited("rpc.failed", method=say_hello, code=code, identity="tom@example.com")
        refused(lambda: raw(channel, f"{GREETER}/Nothing", b""))
        there.audited("rpc.failed", method=f"{GREETER[1:]}/Nothing", code="unimplemented")
        converse = call(channel, "stream_stream", f"{GREETER}/Converse", ConverseRequest, ConverseResponse)
        assert len(list(converse(iter([ConverseRequest(greeting="Hi")])))) == 1
    with channel_of(tom) as channel:
        watch = call(channel, "unary_stream", "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)
        next(watch(HealthCheckRequest()))
    there.audited("rpc.failed", method="grpc.health.v1.Health/Watch", code="canceled")
    with tom.h2() as wire:  # grpcio cancels at the same instant, and the server may hear of that first
        more = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m")]
        stream = wire.open("/grpc.health.v1.Health/Watch", "POST", end=False, more=more)
        wire.say(stream, bytes(5), end=True)
        assert wire.reply(stream).trailers["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    there.audited("rpc.failed", method="grpc.health.v1.Health/Watch", code="deadline_exceeded")
    curl(tom, "--http1.1", "--header", "content-type: application/grpc", f"https://localhost:{tom.port}/{say_hello}")
    entries = there.audited("rpc.failed", method=say_hello, code="unimplemented")
    assert "gRPC needs HTTP/2" in entries[0]["reason"]
    curl(tom, "--json", '"a secret"', f"https://localhost:{tom.port}/{say_hello}")
    there.audited("rpc.failed", method=say_hello, reason="the message cannot be read")
    for entry in there.audited("rpc.failed"):
        assert entry["reason"].isprintable()
        assert "secret" not in entry["reason"]


def test_a_deadline_ends_the_call_on_both_sides(there: Trusting, channel: grpc.Channel) -> None:
    watch = call(channel, "unary_stream", "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)
    begun = there.server.log_end()
    assert refused(lambda: watch(HealthCheckRequest(), timeout=0.5))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    there.server.logged("path=/grpc.health.v1.Health/Watch", after=begun)


def test_a_client_that_vanishes_ends_its_call(there: Trusting, tom: Client) -> None:
    begun = there.server.log_end()
    with channel_of(tom) as channel:
        watch = call(channel, "unary_stream", "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)
        next(watch(HealthCheckRequest()))
    there.server.logged("path=/grpc.health.v1.Health/Watch", after=begun)


def test_who_watches_is_told_that_the_server_stops(tmp_path: Path) -> None:
    """And does not hold it up."""
    with trusting(tmp_path, "--graceful-timeout", "60s", app="services.app:app") as there:
        with channel_of(there.client("tom")) as channel:
            watch = call(
                channel, "unary_stream", "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse
            )
            watching = watch(HealthCheckRequest())
            assert next(watching).status is HealthCheckResponse.ServingStatus.SERVING
            there.server.signal()
            assert next(watching).status is HealthCheckResponse.ServingStatus.NOT_SERVING
            assert list(watching) == []
        assert there.server.exit_code(10) == 0


def test_the_policy_decides_by_rpc_name(there: Trusting) -> None:
    """For the method that the rule names, and for no other; whatever the path is spelled like."""
    eve = there.client("eve")
    with channel_of(eve) as channel:
        greet = call(channel, "unary_stream", f"{GREETER}/Greet", GreetRequest, GreetResponse)
        assert refused(lambda: greet(GreetRequest()))[0] is grpc.StatusCode.PERMISSION_DENIED
        say_hello = call(channel, "unary_unary", f"{GREETER}/SayHello", SayHelloRequest, SayHelloResponse)
        assert say_hello(SayHelloRequest()).message == "Hello eve@example.com!"
    with eve.h2() as wire:
        for spelling in ("%47reet", "./Greet", "Greet/", "x/../Greet", "/Greet", "Greet%2f"):
            reply = wire.get(f"{GREETER}/{spelling}", "POST")
            assert reply.status in (403, 404), spelling
    there.audited("request.refused", status=403, identity="eve@example.com")


# Connect and gRPC-Web, by hand and by curl.


def curl(client: Client, *words: str) -> subprocess.CompletedProcess[str]:
    pair = ["--cacert", "ca.crt", "--cert", "tls.crt", "--key", "tls.key"]
    return subprocess.run(
        [require("curl"), "--silent", "--show-error", *pair, *words],
        cwd=client.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_speaks_connect(tom: Client, version: str) -> None:
    url = f"https://localhost:{tom.port}{GREETER}/SayHello"
    json_body = ("--header", "content-type: application/json", "--data", '{"greeting": "Hi"}')
    assert json.loads(curl(tom, version, *json_body, url).stdout) == {"message": "Hi tom@example.com!"}
    # What has no side effects may be asked by GET, and so be cached (Connect protocol, "Unary-Get-Request").
    query = "?connect=v1&encoding=json&message=%7B%7D"
    assert json.loads(curl(tom, version, url + query).stdout) == {"message": "Hello tom@example.com!"}


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("--header", "content-type: application/json", "--data", "{"), 400, "invalid_argument"),
        (("--header", "content-type: application/json", "--data", '{"greeting": "a\\nb"}'), 400, "invalid_argument"),
        (("--header", "content-type: application/json", "--data", '"a\\nb"'), 400, "invalid_argument"),
        (("--header", "content-type: application/json", "--data", f'"{"x" * 9999}"'), 400, "invalid_argument"),
        (("--header", "content-type: application/json", "--data", "{}", "--url-query", "x"), 200, None),
        (("--header", "content-type: text/plain", "--data", "{}"), 415, "invalid_argument"),
        (("--header", "content-type: application/grpc-web+xml", "--data", "{}"), 415, "invalid_argument"),
        (("--request", "PUT", "--header", "content-type: application/json", "--data", "{}"), 405, "invalid_argument"),
        (("--header", "content-type: application/grpc", "--data", ""), 505, "unimplemented"),
    ],
)
def test_curl_is_told_what_is_wrong(tom: Client, words: tuple[str, ...], status: int, code: str | None) -> None:
    url = f"https://localhost:{tom.port}{GREETER}/SayHello"
    done = curl(tom, "--http1.1", "--write-out", "\n%{http_code}", *words, url)
    body, _, seen = done.stdout.rpartition("\n")
    assert int(seen) == status
    if code is not None:
        assert json.loads(body)["code"] == code
        assert json.loads(body)["message"].isprintable()
        assert len(body) < 400


def test_no_such_method(tom: Client) -> None:
    """In words that clients of each protocol read; also to who asks for the head alone."""
    url = f"https://localhost:{tom.port}{GREETER}/Nothing"
    for version in ("--http1.1", "--http2"):
        done = curl(tom, version, "--json", "{}", url)
        assert json.loads(done.stdout) == {"code": "unimplemented", "message": "this service has no such method"}
        assert " 404" in curl(tom, version, "--head", url).stdout.splitlines()[0]
    for kind, path in (("grpc", url), ("grpc-web", url), ("grpc+proto", f"https://localhost:{tom.port}/x.Y/Z")):
        sent = ("--http2", "--include", "--header", f"content-type: application/{kind}", "--data", "")
        head = curl(tom, *sent, path).stdout.splitlines()
        assert head[0].split()[1] == "200", kind
        assert {f"content-type: application/{kind}", "grpc-status: 12"} <= set(head), kind


def test_grpc_is_told_in_words_what_is_not_there(channel: grpc.Channel) -> None:
    """And not by the status of an answer that has the form of a page."""
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    assert refused(lambda: raw(channel, f"{GREETER}/Nothing", b"")) == (
        unimplemented,
        "this service has no such method",
    )
    assert refused(lambda: raw(channel, "/x.Y/Z", b"")) == (unimplemented, "no such service is served here")


@pytest.mark.parametrize(
    "message",
    [
        "[" * 100_000,
        '{"greeting":' * 50_000,
        '{"greeting": ' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"x": "\\"' + "[" * 9**6,
    ],
    ids=["lists", "objects", "within a field", "within a string"],
)
def test_json_that_is_nested_too_deep(tom: Client, message: str) -> None:
    """A word, and not the end of the process: its parser's stack has no bound of its own."""
    url = f"https://localhost:{tom.port}{GREETER}/SayHello"
    (tom.folder / "deep.json").write_text(message)
    done = curl(tom, "--header", "content-type: application/json", "--data-binary", "@deep.json", url)
    assert json.loads(done.stdout)["code"] == "invalid_argument", done.stderr
    shallow = '{"greeting": "' + "[" * 99 + '", "more": [' + ", ".join(["[[]]"] * 1000) + "]}"
    done = curl(tom, "--header", "content-type: application/json", "--data", shallow, url)
    assert json.loads(done.stdout) == {"message": "[" * 99 + " tom@example.com!"}


def test_header_fields_that_are_no_text(there: Trusting, tom: Client) -> None:
    """RFC 9110 section 5.5 has them be opaque: the call is answered, and the log hears of no fault."""
    for version in ("--http1.1", "--http2"):
        fields = (b"--header", b"content-type: application/json", b"--header", b"x-name: J\xf6rg")
        words = [word.decode("utf-8", "surrogateescape") for word in fields]
        done = curl(tom, version, *words, "--data", "{}", f"https://localhost:{tom.port}{GREETER}/SayHello")
        assert json.loads(done.stdout) == {"message": "Hello tom@example.com!"}
    assert "Traceback" not in there.server.log()


def test_a_conversation_over_http1(tom: Client) -> None:
    """It needs HTTP/2, and this is said; nothing of it reaches the handler."""
    words = ["--header", "content-type: application/connect+json", "--data-binary", "", "--write-out", "\n%{http_code}"]
    body, _, status = curl(
        tom, "--http1.1", *words, f"https://localhost:{tom.port}{GREETER}/Converse"
    ).stdout.rpartition("\n")
    assert (status, json.loads(body)["code"]) == ("505", "unimplemented")
    assert "needs HTTP/2" in json.loads(body)["message"]


def test_grpc_web(tom: Client) -> None:
    """Its trailers are the last message of the body: flag 0x80."""
    message = SayHelloRequest().to_binary()
    framed = struct.pack(">BI", 0, len(message)) + message
    for over in ("h1", "h2"):
        if over == "h1":
            with tom.h1() as line:
                head = f"POST {GREETER}/SayHello HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(framed)}\r\n"
                line.send_bytes(f"{head}content-type: application/grpc-web+proto\r\n\r\n".encode() + framed)
                body = bytes(line.reply("POST").body)
        else:
            with tom.h2() as wire:
                more = [("content-type", "application/grpc-web+proto")]
                stream = wire.open(f"{GREETER}/SayHello", "POST", end=False, more=more)
                wire.say(stream, framed, end=True)
                body = bytes(wire.reply(stream).body)
        flag, length = struct.unpack(">BI", body[:5])
        assert (flag, SayHelloResponse.from_binary(body[5 : 5 + length]).message) == (0, "Hello tom@example.com!")
        assert body[5 + length] == 0x80
        assert b"grpc-status: 0" in body[5 + length :].lower() or b"grpc-status:0" in body[5 + length :].lower()


def test_buf_curl_by_reflection(tom: Client) -> None:
    """It knows of no contract but what the server tells."""
    buf = Path(sys.executable).with_name("buf")
    pair = ["--cacert", "ca.crt", "--cert", "tls.crt", "--key", "tls.key"]
    base = f"https://localhost:{tom.port}"
    for protocol in ("grpc", "grpcweb", "connect"):
        done = subprocess.run(
            [buf, "curl", *pair, "--protocol", protocol, "--data", '{"greeting": "Hi"}', f"{base}{GREETER}/SayHello"],
            cwd=tom.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"message": "Hi tom@example.com!"}
    listed = subprocess.run(
        [buf, "curl", *pair, "--list-methods", base], cwd=tom.folder, capture_output=True, text=True, check=True
    )
    assert "handclasp.greeter.v1.GreeterService/Converse" in listed.stdout.split()
    assert "handclasp.identity.v1.IdentityService/WhoAmI" in listed.stdout.split()


# Contracts.


def test_the_generated_code_is_what_the_contracts_say(tmp_path: Path) -> None:
    """`just contracts` writes it; and the contracts are in good style."""
    contracts = ROOT / "services" / "contracts"
    copy = tmp_path / "contracts"
    shutil.copytree(contracts, copy, ignore=lambda _, names: [n for n in names if n.endswith((".py", "__pycache__"))])
    scripts = Path(sys.executable).parent
    environment = {"PATH": str(scripts), "HOME": str(tmp_path)}
    for words in (["lint"], ["generate"]):
        done = subprocess.run(
            [scripts / "buf", *words],
            cwd=copy,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    written = {path.relative_to(copy): path.read_text() for path in copy.rglob("*.py")}
    kept = {path.relative_to(contracts): path.read_text() for path in contracts.rglob("*.py")}
    assert kept.pop(Path("nesting.py")), "written by hand, for both ends"
    assert written == kept


def test_no_release_is_broken(tmp_path: Path) -> None:
    """`just contracts` holds the contracts against the last tag: a field that goes is found. Ours are held here."""
    repository = tmp_path / "repository"
    contracts = repository / "services" / "contracts"
    shutil.copytree(ROOT / "services" / "contracts", contracts, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    signed = itertools.product(("AUTHOR", "COMMITTER"), ("NAME", "EMAIL"))
    environment |= {f"GIT_{who}_{what}": "x@example.com" for who, what in signed}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=repository, capture_output=True, text=True, env=environment, check=False)

    script = ("bash", "services/contracts/unbroken.sh")
    for words in (("git", "init", "-q"), ("git", "add", "."), ("git", "commit", "-qm", "A release")):
        assert run(*words).returncode == 0
    assert run(*script).stdout == "no release yet: nothing to break\n"
    run("git", "tag", "v0.1.0")
    done = run(*script)
    assert (done.returncode, done.stdout) == (0, "nothing is broken since v0.1.0\n"), done.stderr
    proto = contracts / "handclasp" / "greeter" / "v1" / "greeter.proto"
    proto.write_text(proto.read_text().replace("string message = 1;", "string words = 1;", 1))
    done = run(*script)
    assert done.returncode != 0
    assert "message" in done.stdout + done.stderr
    assert run("git", "checkout", "-q", ".").returncode == 0
    assert run("git", "worktree", "add", "-q", "../another", "HEAD").returncode == 0
    repository = tmp_path / "another"
    assert run(*script).stdout == "nothing is broken since v0.1.0\n"
    repository = ROOT
    done = run(*script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whoami_says_what_the_web_says(tom: Client, channel: grpc.Channel) -> None:
    who = call(channel, "unary_unary", "/handclasp.identity.v1.IdentityService/WhoAmI", WhoAmIRequest, WhoAmIResponse)
    said = who(WhoAmIRequest())
    with tom.h2() as wire:
        web = json.loads(wire.get("/whoami").body)
    for name in (
        "name",
        "kind",
        "emails",
        "uris",
        "dns_names",
        "serial",
        "sha256",
        "http_version",
        "tls_version",
        "alpn",
    ):
        assert getattr(said, name) == web[name], name
    for name in ("not_before", "not_after"):
        assert getattr(said, name).to_datetime().strftime("%Y-%m-%dT%H:%M:%SZ") == web[name]
