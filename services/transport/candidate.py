"""What a credential folder holds, as a Snapshot, if all of it is sound; and an error that says what is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.credential import load_folder_with_lists, locate
from pki.crl import key_id
from pki.crl_apart import read_lists_apart
from pki.errors import CredentialError, PKIError, TrustError
from pki.identity import Purpose, has_purpose
from pki.trust import is_authority, was_issued_by
from services.authorization.policy import Policy
from services.transport.context import server_context
from services.transport.revocations import Revocations
from services.transport.snapshot import Snapshot
from services.transport.tls_policy import TLSPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from pki.crl import RevocationList
    from pki.trust import TrustBundle
    from services.transport.engine import Config

log = structlog.get_logger("handclasp.source")

_CLOCKS_DIFFER = timedelta(minutes=1)
"""How far in the future a revocation list may have been signed."""

_MOST_DOUBTS = 10
"""Rules of a policy that are doubted in words, each time it is read."""

Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TrustRules:
    """What is asked of every credential folder."""

    policy: TLSPolicy = TLSPolicy.DEFAULT
    require_crl: bool = False
    recycle_after: timedelta | None = None
    policy_file: Path | None = None
    """The file that says who may do what."""


class Candidates:
    """Reads a folder, again and again. `load` may run in a thread, one at a time."""

    def __init__(self, folder: Path, config: Config, rules: TrustRules) -> None:
        self.folder = folder
        self._config = config
        self._rules = rules
        self._read: tuple[bytes, tuple[RevocationList, ...]] | None = None

    def load(self, before: Snapshot | None) -> Snapshot:
        """The folder as a Snapshot, if all of it is sound. Raises PKIError; runs in a thread."""
        credential, trust, unverified = load_folder_with_lists(self.folder)
        below = [
            issuer
            for issuer in unverified.issuers
            if is_authority(issuer) and any(was_issued_by(issuer, anchor) for anchor in trust)
        ]
        vouchers = _vouchers(trust, below)
        now = datetime.now(UTC)
        self._check_ours(credential.leaf, now)
        if not trust.vouches_for(credential.chain):
            raise CredentialError(
                f"the certificate in {self.folder} leads to no authority of the trust bundle beside it (ca.crt): who "
                f"trusts that would refuse it; issue it anew with 'handclasp-pki rotate {self.folder.name}'"
            )
        revocations = Revocations.of(
            self._read_lists(unverified.data, (*trust, *below)), required=self._rules.require_crl
        )
        _check_lists(revocations, trust, now, before)
        generation = before.generation + 1 if before else 1
        same = before is not None and before.credential == credential
        return Snapshot(
            credential=credential,
            trust=trust,
            revocations=revocations,
            lists_sha256=None if unverified.data is None else hashlib.sha256(unverified.data).digest(),
            vouchers=vouchers,
            recycle_after=self._rules.recycle_after,
            policy=self._load_policy(),
            generation=generation,
            context=server_context(self._config, credential, trust, self._rules.policy, revocations),
            anchors=frozenset(anchor.fingerprint(hashes.SHA256()) for anchor in trust),
            presented_since=before.presented_since if before is not None and same else generation,
            server_cert=credential.leaf.public_bytes(Encoding.PEM).decode("ascii"),
        )

    def _load_policy(self) -> Policy | None:
        if self._rules.policy_file is None:
            return None
        policy = Policy.load(self._rules.policy_file)
        for doubt in islice(policy.doubts(), _MOST_DOUBTS):
            log.warning("a rule of the policy may not be what is meant", reason=doubt)
        return policy

    def _read_lists(self, data: bytes | None, authorities: Sequence[x509.Certificate]) -> tuple[RevocationList, ...]:
        """The lists, taken apart and verified; those that were read last where nothing about them has changed."""
        if data is None:
            return ()
        digest = hashlib.sha256(data)
        for authority in authorities:
            digest.update(authority.fingerprint(hashes.SHA256()))
        if self._read is None or self._read[0] != digest.digest():
            self._read = digest.digest(), read_lists_apart(data, authorities)
        return self._read[1]

    def _check_ours(self, leaf: x509.Certificate, now: datetime) -> None:
        again = f"issue it anew with 'handclasp-pki rotate {self.folder.name}'"
        if not has_purpose(leaf, Purpose.SERVER):
            raise CredentialError(
                f"the certificate in {self.folder} is not a server's (serverAuth is missing from its EKU): "
                "issue one with 'handclasp-pki issue server NAME'"
            )
        if now >= leaf.not_valid_after_utc:
            raise CredentialError(
                f"the certificate in {self.folder} expired on {leaf.not_valid_after_utc:%Y-%m-%d}: {again}"
            )
        if now < leaf.not_valid_before_utc:
            raise CredentialError(
                f"the certificate in {self.folder} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
                f"check this machine's clock, or {again}"
            )

    def fingerprint(self) -> Fingerprint:
        """What tells whether anything has changed, without reading it."""
        try:
            paths = locate(self.folder)
        except PKIError:
            return ()
        found = []
        watched = (paths.certificate, paths.key, paths.trust, paths.lists, self._rules.policy_file)
        for path in filter(None, watched):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)


def _vouchers(trust: TrustBundle, below: Sequence[x509.Certificate]) -> dict[bytes, frozenset[bytes]]:
    """By the key of each authority, whose word makes it one."""
    found = {key_id(anchor): {key_id(anchor)} for anchor in trust}
    for authority in below:
        found.setdefault(key_id(authority), set()).update(
            key_id(anchor) for anchor in trust if was_issued_by(authority, anchor)
        )
    return {key: frozenset(anchors) for key, anchors in found.items()}


def _check_lists(revocations: Revocations, trust: TrustBundle, now: datetime, before: Snapshot | None) -> None:
    """Raise TrustError for lists that would let in who must stay out."""
    for found in revocations.lists.values():
        if now >= found.next_update:
            raise TrustError(
                f"the revocation list of {found.issuer} is stale since {found.next_update:%Y-%m-%d %H:%M} UTC: "
                "publish it again with 'handclasp-pki crl'"
            )
        if found.this_update > now + _CLOCKS_DIFFER:
            raise TrustError(f"the revocation list of {found.issuer} is from the future: check this machine's clock")
    if before is None:
        return
    # Somebody who can take a list away, or put an old one back, must not undo a revocation by it.
    trusted = {key_id(anchor) for anchor in trust}
    for key, known in before.revocations.lists.items():
        found_now = revocations.lists.get(key)
        if found_now is None and before.vouchers.get(key, frozenset()) & trusted:
            raise TrustError(f"the revocation list of {known.issuer} is gone: put it back, or restart to do without")
        if found_now is not None and found_now.number < known.number:
            raise TrustError(
                f"the revocation list of {known.issuer} is number {found_now.number}, older than number {known.number}"
            )
