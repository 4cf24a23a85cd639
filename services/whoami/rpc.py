"""`handclasp.identity.v1.IdentityService`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from services.contracts.handclasp.identity.v1.identity_connect import IdentityService
from services.contracts.handclasp.identity.v1.identity_pb import WhoAmIResponse
from services.peer import current_peer

if TYPE_CHECKING:
    from services.contracts.handclasp.identity.v1.identity_pb import WhoAmIRequest


class WhoAmI(IdentityService):
    """Tells the caller what was verified."""

    async def who_am_i(self, request: WhoAmIRequest, ctx: Any, /) -> WhoAmIResponse:  # noqa: ARG002
        peer = current_peer()
        identity = peer.identity
        return WhoAmIResponse(
            name=identity.name,
            kind=identity.kind,
            emails=list(identity.emails),
            uris=list(identity.uris),
            dns_names=list(identity.dns_names),
            serial=identity.serial,
            sha256=identity.sha256,
            not_before=Timestamp.from_datetime(identity.not_before),
            not_after=Timestamp.from_datetime(identity.not_after),
            http_version="2" if peer.alpn == "h2" else "1.1",  # ALPN chooses, and nothing else does
            tls_version=peer.tls_version,
            cipher=peer.cipher,
            group=peer.group or "",
            alpn=peer.alpn or "",
        )
