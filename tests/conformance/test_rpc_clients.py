"""Our clients' calls: every way of saying them, and every way in which they fail, against the real server."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import h2.errors
import pytest

from clients import http1, http2
from clients.errors import CertificateRefused, InvalidRequest, RPCError, Unreachable
from clients.rpc import Codec, Method, Protocol
from clients.rpc.framing import MAX_MESSAGE
from services.contracts.grpc.health.v1.health_pb import HealthCheckRequest, HealthCheckResponse
from services.contracts.handclasp.enrollment.v1.enrollment_pb import RenewRequest, RenewResponse
from services.contracts.handclasp.greeter.v1.greeter_pb import (
    ConverseRequest,
    ConverseResponse,
    GreetRequest,
    GreetResponse,
    SayHelloRequest,
    SayHelloResponse,
)
from tests.conformance._failing_rpc import SECRET
from tests.support.issuer import Issuer
from tests.support.scripted import scripted
from tests.support.server import eventually
from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.scripted import Conversation
    from tests.support.trust import Client

GREETER = "handclasp.greeter.v1.GreeterService"
SAY_HELLO = Method.of(f"{GREETER}/SayHello", SayHelloRequest, SayHelloResponse)
GREET = Method.of(f"{GREETER}/Greet", GreetRequest, GreetResponse)
CONVERSE = Method.of(f"{GREETER}/Converse", ConverseRequest, ConverseResponse)
WATCH = Method.of("grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)
RENEW = Method.of("handclasp.enrollment.v1.EnrollmentService/Renew", RenewRequest, RenewResponse)
POLICY = """
[[rule]]
rpc = "handclasp.greeter.v1.GreeterService/Greet"
deny = ["email:eve@example.com"]

[[rule]]
path = "/*"
allow = ["*"]
"""

WAYS = [
    (package, protocol, codec)
    for package, protocol, codec in itertools.product((http1, http2), Protocol, Codec)
    if package is http2 or protocol is Protocol.CONNECT
]
ids = [f"{package.__name__.rpartition('.')[2]}-{protocol.value}-{codec.value}" for package, protocol, codec in WAYS]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("calls")
    (folder / "policy.toml").write_text(POLICY)
    with trusting(folder, "--policy", str(folder / "policy.toml"), app="services.app:app") as there:
        yield there


@pytest.fixture(scope="module")
def tom(there: Trusting) -> Client:
    return there.client("tom")


def url(client: Client) -> str:
    return f"https://localhost:{client.port}"


def over(client: Client, package: Any = http2) -> Any:
    return package.AsyncClient(url(client), client.folder)


async def fails(call: Any) -> RPCError:
    with pytest.raises(RPCError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize(("package", "protocol", "codec"), WAYS, ids=ids)
def test_every_way(tom: Client, package: Any, protocol: Protocol, codec: Codec) -> None:
    """Unary and a stream of answers; over HTTP/2 a conversation, each answer before the next is said."""
    how = {"protocol": protocol, "codec": codec}

    async def main() -> None:
        async with over(tom, package) as session:
            for greeting in ("", "Hi"):
                answer = await session.unary(SAY_HELLO, SayHelloRequest(greeting=greeting), **how)
                assert answer.message == f"{greeting or 'Hello'} tom@example.com!"
            stream = session.server_stream(GREET, GreetRequest(times=500), **how)
            assert [answer.message async for answer in stream] == ["Hello tom@example.com!"] * 500
            if package is not http2:
                with pytest.raises(InvalidRequest, match="needs HTTP/2"):
                    session.converse(CONVERSE, stream)
                return
            heard: list[str] = []

            async def speak() -> AsyncIterator[ConverseRequest]:
                for number in range(10):
                    while len(heard) < number:
                        await asyncio.sleep(0.001)
                    yield ConverseRequest(greeting=f"Hello {number}")

            async for answer in session.converse(CONVERSE, speak(), **how):
                heard.append(answer.message)
            assert heard == [f"Hello {number} tom@example.com!" for number in range(10)]

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("package", [http1, http2], ids=["http1", "http2"])
def test_without_an_event_loop(tom: Client, package: Any) -> None:
    with package.Client(url(tom), tom.folder) as session:
        assert session.unary(SAY_HELLO, SayHelloRequest()).message == "Hello tom@example.com!"
        assert len(list(session.server_stream(GREET, GreetRequest(times=50)))) == 50
        with session.server_stream(WATCH, HealthCheckRequest()) as watching:
            assert next(watching).status is HealthCheckResponse.ServingStatus.SERVING
        with pytest.raises(RPCError, match="invalid argument"):
            session.unary(SAY_HELLO, SayHelloRequest(greeting="a\nb"))
        if package is http2:
            said = (ConverseRequest(greeting=f"Hi {number}") for number in range(3))
            answers = [answer.message for answer in session.converse(CONVERSE, said)]
            assert answers == [f"Hi {number} tom@example.com!" for number in range(3)]


def test_many_messages_and_many_calls(tom: Client) -> None:
    """10,000 messages in one stream; 300 calls at once, which the server takes 100 at a time on a connection."""

    async def main() -> None:
        async with over(tom) as session:
            count = 0
            async for _ in session.server_stream(GREET, GreetRequest(times=10_000)):
                count += 1
            assert count == 10_000
            answers = await asyncio.gather(*(session.unary(SAY_HELLO, SayHelloRequest()) for _ in range(300)))
            assert {answer.message for answer in answers} == {"Hello tom@example.com!"}

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(("package", "protocol", "codec"), WAYS, ids=ids)
def test_errors_have_codes(there: Trusting, tom: Client, package: Any, protocol: Protocol, codec: Codec) -> None:
    how = {"protocol": protocol, "codec": codec}
    unknown = Method(
        "/handclasp.greeter.v1.GreeterService/Nothing", SayHelloRequest, SayHelloResponse, repeatable=False
    )

    async def main() -> None:
        async with over(tom, package) as session:
            error = await fails(session.unary(SAY_HELLO, SayHelloRequest(greeting="a\nb"), **how))
            assert (error.code, error.args[0]) == (
                "invalid_argument",
                "a greeting has 1 to 100 printable characters",
            )
            assert (
                await fails(session.server_stream(GREET, GreetRequest(times=10**6), **how))
            ).code == "invalid_argument"
            assert (await fails(session.unary(unknown, SayHelloRequest(), **how))).code == "unimplemented"
            assert (await fails(session.unary(RENEW, RenewRequest(csr=b"x"), **how))).code == "failed_precondition"
            large = SayHelloRequest(greeting="x" * (MAX_MESSAGE + 1))
            assert (await fails(session.unary(SAY_HELLO, large, **how))).code == "resource_exhausted"
            assert (await session.unary(SAY_HELLO, SayHelloRequest(), **how)).message, "the session goes on"
        async with over(there.client("eve"), package) as session:
            assert (await fails(session.server_stream(GREET, GreetRequest(), **how))).code == "permission_denied"

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("package", [http1, http2], ids=["http1", "http2"])
def test_a_deadline_ends_the_call_on_both_sides(there: Trusting, tom: Client, package: Any) -> None:
    async def main() -> None:
        async with over(tom, package) as session:
            begun, marked = time.monotonic(), there.server.log_end()
            error = await fails(session.server_stream(WATCH, HealthCheckRequest(), timeout=0.5))
            assert error.code == "deadline_exceeded"
            assert time.monotonic() - begun < 15
            there.server.logged("path=/grpc.health.v1.Health/Watch", after=marked)
            with pytest.raises(InvalidRequest):
                await session.unary(SAY_HELLO, SayHelloRequest(), timeout=0)

    asyncio.run(main())


def test_who_leaves_a_stream_ends_it(there: Trusting, tom: Client) -> None:
    """The server's handler ends; the connection goes on."""

    async def main() -> None:
        async with over(tom) as session:
            marked = there.server.log_end()
            async with aclosing(session.server_stream(WATCH, HealthCheckRequest())) as watching:
                await anext(watching)
            there.server.logged("path=/grpc.health.v1.Health/Watch", after=marked)
            assert (await session.unary(SAY_HELLO, SayHelloRequest())).message

    asyncio.run(main())


def test_the_caller_s_own_fault_in_a_conversation(tom: Client) -> None:
    async def speak() -> AsyncIterator[ConverseRequest]:
        yield ConverseRequest()
        raise ValueError("of the caller's own")

    async def main() -> None:
        async with over(tom) as session:
            with pytest.raises(ValueError, match="of the caller's own"):
                async for _ in session.converse(CONVERSE, speak()):
                    pass
            assert (await session.unary(SAY_HELLO, SayHelloRequest())).message

    asyncio.run(asyncio.wait_for(main(), 60))


def test_nobody_there_and_nobody_let_in(tmp_path: Path, there: Trusting, tom: Client) -> None:
    """No connection keeps the words that it has everywhere else."""
    stranger = there.client("stranger", issuer=Issuer())

    async def main() -> None:
        async with http2.AsyncClient("https://localhost:1", tom.folder) as session:
            with pytest.raises(Unreachable):
                await session.unary(SAY_HELLO, SayHelloRequest())
        async with over(stranger) as session:
            with pytest.raises((CertificateRefused, RPCError), match=r"refuse|unavailable"):
                await session.unary(SAY_HELLO, SayHelloRequest())

    asyncio.run(main())


@pytest.mark.slow
def test_a_rolling_restart_fails_no_call(tmp_path: Path) -> None:
    """Calls of every kind go on while workers are replaced: GOAWAY, new connections, and refused streams again."""
    with trusting(tmp_path, "--workers", "2", app="services.app:app") as there:
        tom = there.client("tom")

        async def main() -> int:
            done = 0
            async with over(tom) as one, over(tom, http1) as other:

                async def work(session: Any) -> None:
                    nonlocal done
                    while not stopping.is_set():
                        await session.unary(SAY_HELLO, SayHelloRequest())
                        async for _ in session.server_stream(GREET, GreetRequest(times=20)):
                            pass
                        done += 1

                stopping = asyncio.Event()
                tasks = [asyncio.create_task(work(session)) for session in (one, one, one, other)]
                there.server.signal(signal.SIGUSR2)
                await asyncio.to_thread(there.server.logged, "worker replaced", times=2, timeout=30)
                await asyncio.sleep(1)
                stopping.set()
                await asyncio.gather(*tasks)
            return done

        assert asyncio.run(main()) > 20


def test_a_stream_that_outlasts_the_server(tmp_path: Path) -> None:
    """It is told so in words, before the server's patience ends."""
    with trusting(tmp_path, "--graceful-timeout", "2s", app="services.app:app") as there:

        async def main() -> RPCError:
            async def speak() -> AsyncIterator[ConverseRequest]:
                yield ConverseRequest()
                await asyncio.sleep(60)

            async with over(there.client("tom")) as session:
                answers = session.converse(CONVERSE, speak())
                await anext(answers)
                there.server.signal()
                return await fails(answers)

        error = asyncio.run(main())
        assert (error.code, error.args[0]) == (
            "unavailable",
            "the server is stopping and ended the stream: call again, another one will answer",
        )
        assert there.server.exit_code() == 0


def test_a_handler_that_fails_tells_the_log_alone(tmp_path: Path) -> None:
    """INTERNAL, whatever it raised; of a stream, behind what was said before."""
    there = Trusting(tmp_path, app="tests.conformance._failing_rpc:app")
    try:

        async def speak() -> AsyncIterator[ConverseRequest]:
            yield ConverseRequest()

        async def main() -> None:
            for package, protocol, codec in WAYS:
                how = {"protocol": protocol, "codec": codec}
                async with over(there.client("tom"), package) as session:
                    calls = [session.unary(SAY_HELLO, SayHelloRequest(), **how)]
                    calls.append(session.server_stream(GREET, GreetRequest(), **how))
                    if package is http2:
                        calls.append(session.converse(CONVERSE, speak(), **how))
                    for call in calls:
                        error = await fails(call)
                        assert (error.code, error.args[0]) == (
                            "internal",
                            "the handler failed; the server's log says how",
                        )

        asyncio.run(main())
        assert SECRET in there.server.log()
    finally:
        there.stop()


# Servers that do not behave, by script.


@pytest.fixture
def client(tmp_path: Path, there: Trusting) -> Client:
    return there.client("scripted")


def hello(message: str = "Hello") -> bytes:
    data = SayHelloResponse(message=message).to_binary()
    return b"\x00" + len(data).to_bytes(4, "big") + data


async def call(port: int, client: Client, method: Any = SAY_HELLO, message: Any = None) -> Any:
    async with http2.AsyncClient(f"https://localhost:{port}", client.folder) as session:
        return await asyncio.wait_for(session.unary(method, message or SayHelloRequest()), 20)


def refuse(conversation: Conversation, stream: int) -> None:
    conversation.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
    conversation.flush()


@pytest.mark.parametrize(("method", "message"), [(SAY_HELLO, SayHelloRequest()), (RENEW, RenewRequest())])
def test_a_refused_stream_is_sent_again(there: Trusting, client: Client, method: Any, message: Any) -> None:
    """Whatever the method does: it was not processed. Twice; then it is an error."""
    turns = itertools.count(1)

    def script(conversation: Conversation, stream: int) -> None:
        if next(turns) < 3:
            refuse(conversation, stream)
        else:
            body = hello() if method is SAY_HELLO else bytes(5)
            conversation.answer(stream, body=body, grpc_status="0")

    with scripted(there.credential, script) as (port, asked):
        asyncio.run(call(port, client, method, message))
        assert len(asked) == 3
    with scripted(there.credential, refuse) as (port, asked):
        with pytest.raises(RPCError, match="unavailable"):
            asyncio.run(call(port, client, method, message))
        assert len(asked) == 3


def test_goaway_lets_the_others_end(there: Trusting, client: Client) -> None:
    """Streams up to the last one that is named are answered where they were asked; those behind, elsewhere."""

    def script(conversation: Conversation, stream: int) -> None:
        if conversation.number == 1 and stream < 3:
            return
        if conversation.number == 1 and stream == 3:
            # As it is on the wire: h2 would refuse to say anything behind it.
            conversation._sock.sendall(bytes.fromhex("0000080700000000000000000100000000"))
            conversation.answer(1, body=hello("the first"), grpc_status="0")
        elif conversation.number > 1:
            conversation.answer(stream, body=hello("the second"), grpc_status="0")

    async def main(port: int) -> list[str]:
        async with http2.AsyncClient(f"https://localhost:{port}", client.folder) as session:
            first = asyncio.create_task(session.unary(RENEW_LIKE, SayHelloRequest()))
            await asyncio.sleep(0.3)
            second = asyncio.create_task(session.unary(RENEW_LIKE, SayHelloRequest()))
            return [answer.message for answer in await asyncio.wait_for(asyncio.gather(first, second), 20)]

    with scripted(there.credential, script) as (port, asked):
        assert asyncio.run(main(port)) == ["the first", "the second"]
        assert asked == [1, 1, 2]


RENEW_LIKE = Method(SAY_HELLO.path, SayHelloRequest, SayHelloResponse, repeatable=False)


def test_what_may_have_been_done_is_not_done_twice(there: Trusting, client: Client) -> None:
    """UNAVAILABLE of a method with side effects, and a lost connection, are the caller's to decide upon."""

    def unavailable(conversation: Conversation, stream: int) -> None:
        conversation.answer(stream, grpc_status="14", grpc_message="not%20now")

    def lost(conversation: Conversation, stream: int) -> None:
        conversation._sock.close()

    for script in (unavailable, lost):
        for method, times in ((RENEW_LIKE, 1), (SAY_HELLO, 3)):
            with scripted(there.credential, script) as (port, asked):
                with pytest.raises(RPCError) as caught:
                    asyncio.run(call(port, client, method))
                assert caught.value.code == "unavailable"
                eventually(lambda asked=asked, times=times: len(asked) == times)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"body": hello()}, "unknown"),
        ({"body": hello(), "grpc_status": "99"}, "unknown"),
        ({"body": hello() + hello(), "grpc_status": "0"}, "internal"),
        ({"body": b"", "grpc_status": "0"}, "internal"),
        ({"body": hello()[:-2], "grpc_status": "0"}, "unavailable"),
        ({"body": b"\x00\x00\x00\x00\x02\xff\xff", "grpc_status": "0"}, "internal"),
        ({"body": b"\x01\x00\x00\x00\x01x", "grpc_status": "0"}, "internal"),
        ({"body": b"\x00\xff\xff\xff\xff", "grpc_status": "0"}, "resource_exhausted"),
        ({"status": 502, "kind": "text/html", "body": b"<html>"}, "unavailable"),
        ({"kind": "text/html", "body": b"<html>"}, "unknown"),
        ({"grpc_status": "5", "grpc_message": "%0d%0agone%1b[2J" + "x" * 5000}, "not_found"),
    ],
)
def test_answers_that_make_no_sense(there: Trusting, client: Client, answer: dict[str, Any], code: str) -> None:
    """A canonical code, one printable line in bounds."""
    with scripted(there.credential, lambda c, s: c.answer(s, **answer)) as (port, _):
        with pytest.raises(RPCError) as caught:
            asyncio.run(call(port, client, RENEW_LIKE))
        assert caught.value.code == code
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    "body", [b'{"message": ' + b"[" * 16_000, b"[" * 16_000, b'{"message": 1}', b'{"message": "\xff"}', b"{"]
)
def test_json_that_makes_no_sense(there: Trusting, client: Client, body: bytes) -> None:
    """By Connect, in answers and in errors; what our contract does not have yet is passed over."""

    def by(status: int, body: bytes) -> str:
        async def main(port: int) -> str:
            async with http2.AsyncClient(f"https://localhost:{port}", client.folder) as session:
                words = {"protocol": Protocol.CONNECT, "codec": Codec.JSON, "timeout": 20}
                return (await session.unary(RENEW_LIKE, SayHelloRequest(), **words)).message

        says = {"status": status, "kind": "application/json", "body": body}
        with scripted(there.credential, lambda c, s: c.answer(s, **says)) as (port, _):
            return asyncio.run(main(port))

    for status, code in ((200, "internal"), (500, "unknown")):
        with pytest.raises(RPCError) as caught:
            by(status, body)
        assert caught.value.code == code
    assert by(200, b'{"message": "Hi", "since": [{}]}') == "Hi"


def test_methods_are_read_from_the_contract() -> None:
    assert SAY_HELLO.repeatable
    assert not RENEW.repeatable
    with pytest.raises(LookupError, match="no method"):
        Method.of(f"{GREETER}/Nothing", SayHelloRequest, SayHelloResponse)
    with pytest.raises(LookupError, match="takes"):
        Method.of(f"{GREETER}/SayHello", GreetRequest, SayHelloResponse)
