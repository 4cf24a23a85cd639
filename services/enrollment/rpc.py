"""`handclasp.enrollment.v1.EnrollmentService`, and `BootstrapService`, which has a listener of its own."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from pki.credential import locate
from pki.errors import CSRError, EnrollmentError, PKIError, TokenError
from pki.pem import to_pem
from services.contracts.handclasp.enrollment.v1.enrollment_connect import BootstrapService, EnrollmentService
from services.contracts.handclasp.enrollment.v1.enrollment_pb import (
    EnrollResponse,
    GetCRLResponse,
    GetTrustBundleResponse,
    Issued,
    RenewResponse,
    WatchResponse,
)
from services.endings import ToldError
from services.enrollment.service import TooOftenError, current_enrollment
from services.overview import current_overview
from services.peer import current_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from pki.enrolling import Enrolled
    from services.contracts.handclasp.enrollment.v1.enrollment_pb import (
        EnrollRequest,
        GetCRLRequest,
        GetTrustBundleRequest,
        RenewRequest,
        WatchRequest,
    )
    from services.enrollment.service import Enrollment
    from services.overview import Overview
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.enrollment")

MAX_REQUEST = 64 * 1024
"""Bytes of a request: the largest key that is taken has a signing request of ten kilobytes."""

_PIECE = 1024 * 1024
_BEAT = 1.0
"""Seconds between two looks at whether the trust has changed."""


class Enroller(EnrollmentService):
    """Renews the certificates of callers, and tells them whom to trust."""

    async def renew(self, request: RenewRequest, ctx: Any, /) -> RenewResponse:  # noqa: ARG002
        enrollment = current_enrollment()
        if enrollment is None:
            raise ConnectError(
                Code.FAILED_PRECONDITION, "this server has no authority: it renews where it runs with --enrollment"
            )
        return RenewResponse(issued=await _issued(enrollment.renew(request.csr, current_peer())))

    async def get_trust_bundle(self, request: GetTrustBundleRequest, ctx: Any, /) -> GetTrustBundleResponse:  # noqa: ARG002
        snapshot = _overview().snapshot()
        return GetTrustBundleResponse(trust_bundle=snapshot.trust.to_pem().decode(), generation=snapshot.generation)

    async def get_crl(self, request: GetCRLRequest, ctx: Any, /) -> AsyncIterator[GetCRLResponse]:  # noqa: ARG002
        overview = _overview()
        snapshot = overview.snapshot()
        lists = await asyncio.to_thread(_lists, overview, snapshot)
        for start in range(0, len(lists), _PIECE):
            yield GetCRLResponse(lists=lists[start : start + _PIECE], generation=snapshot.generation)

    async def watch(self, request: WatchRequest, ctx: Any, /) -> AsyncIterator[WatchResponse]:  # noqa: ARG002
        overview, told = _overview(), 0
        while not overview.stopping():
            generation = overview.snapshot().generation
            if generation != told:
                told = generation
                yield WatchResponse(generation=generation)
            await asyncio.sleep(_BEAT)


class Bootstrap(BootstrapService):
    """Lets in who has a one-time token. Nobody's certificate was asked for here."""

    def __init__(self, enrollment: Enrollment) -> None:
        self._enrollment = enrollment

    async def enroll(self, request: EnrollRequest, ctx: Any, /) -> EnrollResponse:
        # "127.0.0.1:40000", "[::1]:40000", and of who is not known nothing: those share a place in the queue.
        host = (ctx.client_address or "").rpartition(":")[0].strip("[]")
        return EnrollResponse(issued=await _issued(self._enrollment.enroll(request.csr, request.token, host)))


async def _issued(asked: Awaitable[Enrolled]) -> Issued:
    """What was issued, or why nothing was: a canonical code, and one line that tells nothing of others."""
    try:
        enrolled = await asked
    except TooOftenError as error:
        raise ToldError(Code.RESOURCE_EXHAUSTED, str(error)) from None
    except CSRError as error:
        raise ToldError(Code.INVALID_ARGUMENT, f"the signing request: {error}") from None
    except TokenError as error:
        raise ToldError(Code.UNAUTHENTICATED, str(error)) from None
    except EnrollmentError as error:
        raise ToldError(Code.PERMISSION_DENIED, str(error)) from None
    except PKIError as error:
        # Paths and databases are the operator's business.
        log.error("the authority cannot sign", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        raise ToldError(
            Code.UNAVAILABLE, "the authority cannot sign now: try again later; the server's log says why"
        ) from None
    leaf = enrolled.chain[0]
    return Issued(
        certificate_chain=to_pem(enrolled.chain).decode(),
        trust_bundle=enrolled.trust.to_pem().decode(),
        not_after=Timestamp.from_datetime(leaf.not_valid_after_utc),
    )


def _lists(overview: Overview, snapshot: Snapshot) -> bytes:
    """The file of the lists that are in force; not one that has just been put there, or was refused."""
    if snapshot.lists_sha256 is None:
        return b""
    try:
        data = locate(overview.folder).lists.read_bytes()
    except (PKIError, OSError):
        data = b""
    if hashlib.sha256(data).digest() != snapshot.lists_sha256:
        raise ConnectError(Code.UNAVAILABLE, "the revocation lists are changing: try again in a second")
    return data


def _overview() -> Overview:
    overview = current_overview()
    if overview is None:
        raise ConnectError(Code.FAILED_PRECONDITION, "this server is not handclasp-serve: it knows of no trust")
    return overview
