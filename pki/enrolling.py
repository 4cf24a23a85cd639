"""Enrolling: the authority as a service asks it, for who was verified, and for who has a one-time token.

A certificate is renewed for the identity that the inventory has of the one that was presented, and for nothing that
the request says; who was revoked, is on hold, has ended or was never issued here gets none (step-ca's
`authorizeRenew`). A token is taken in the transaction in which its certificate is recorded: it is worth one, or none
was issued.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from pki.authority import BACKDATING, end_of, lifetime_of
from pki.authority_files import load_authority
from pki.errors import AlreadyExists, CSRError, EnrollmentError, NotFound, TokenError, UsageError
from pki.inventory.rows import TRUSTED, CertificateRow, TokenRow
from pki.open_state import Signer
from pki.profiles import LEAF_PROFILES
from pki.rotation import AuthorityState
from pki.signing import check_name
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cryptography import x509

    from pki.csr import SigningRequest
    from pki.inventory.store import Transaction
    from pki.issuing import Issuing, Request
    from pki.lifecycle import Lifecycle
    from pki.names import Names
    from pki.profiles import Profile

# What tells a scanner for secrets, and a person, what has leaked.
_PREFIX = "handclasp_"
_LONGEST_TTL = timedelta(days=7)
_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time token that was just made. `token` is told to its holder and kept nowhere."""

    token: str
    row: TokenRow
    anchor: x509.Certificate
    """What a server's certificate leads to: its fingerprint pins the server."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate that was just made for somebody's own key, and whom to trust beside."""

    chain: tuple[x509.Certificate, ...]
    trust: TrustBundle
    row: CertificateRow


def invite(issuing: Issuing, request: Request, ttl: timedelta, *, again: bool) -> Invitation:
    """Make a one-time token for these names. See `pki.lifecycle.Lifecycle.invite`."""
    if ttl > _LONGEST_TTL:
        raise UsageError(f"a token lives {_LONGEST_TTL.days} days at most: pass a shorter --ttl")
    issuing.signer.authority.check_valid(issuing.now)
    profile, names = request.profile, request.profile.completed(request.names)
    days = profile.lifetime.days if request.days is None else request.days
    end_of(issuing.now, lifetime_of(days))
    check_name(issuing.here, names.name, again=again, command=f"token {names.name}")
    token = _PREFIX + secrets.token_urlsafe(32)
    row = TokenRow(
        sha256=_digest(token),
        names=names,
        profile=profile.label,
        days=days,
        issued_at=issuing.now,
        expires_at=end_of(issuing.now, ttl),
        requested_by=issuing.requested_by,
    )
    with issuing.here.inventory.transaction() as work:
        work.tokens.prune(issuing.now - _KEPT)
        work.tokens.add(row)
    return Invitation(token, row, issuing.signer.row.anchor)


class Enrolling:
    """An authority that stays open, its key loaded. For one thread; close it, or use it in a `with`.

    Every certificate is one transaction of the inventory, so any number of them may answer for one authority; those of
    a `together` share one.
    """

    def __init__(self, lifecycle: Lifecycle, *, lifetime: timedelta | None = None) -> None:
        """`lifetime` is what certificates get; None: what the inventory has. Raises what `Lifecycle.signer` does."""
        self._lifetime = lifetime
        self._shared: Transaction | None = None
        with ExitStack() as opened:
            self._here = opened.enter_context(lifecycle.reading())
            self._signer = self._here.signer()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of the inventory."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all that is asked in the block, each whole or not at all; none may leave before its end.

        A commit is a disk's turn, and one for many is as good. Where the database has many writers (PostgreSQL) each
        stays on its own: names that two of them claim in another order would be waited for by both.
        """
        if self._here.inventory.database.path is None:
            yield
            return
        with self._here.inventory.transaction() as work:
            self._shared = work
            try:
                yield
            finally:
                self._shared = None

    @contextmanager
    def _working(self) -> Iterator[Transaction]:
        if self._shared is None:
            with self._here.inventory.transaction() as work:
                yield work
        else:
            with self._shared.part():
                yield self._shared

    def renew(self, csr: SigningRequest, sha256: str, *, now: datetime) -> Enrolled:
        """A certificate for the key of a request, and the identity of the certificate with this fingerprint.

        Raises EnrollmentError for who may not have one, CSRError for a key that may not have one, StateError and its
        kin where the authority cannot sign now.
        """
        with self._working() as work:
            presented = self._claimed(work, sha256)
            self._check_renewable(work, presented, now)
            lifetime = self._lifetime or self._life_of(work, presented)
            who = f"{presented.names.name} (renewal of {presented.serial})"
            return self._sign(work, csr, presented.names, LEAF_PROFILES[presented.profile], lifetime, who, now)

    def enroll(self, csr: SigningRequest, token: str, *, now: datetime) -> Enrolled:
        """A first certificate for the key of a request, and the names that the token is for.

        Raises TokenError for a token that is worth nothing, EnrollmentError, CSRError and StateError as `renew`.
        """
        digest = _digest(token)
        with self._working() as work:
            row = work.tokens.get(digest)
            if row is None:
                raise TokenError("the token is not known: ask for one made by `handclasp-pki token`")
            if not work.tokens.use(digest, now):
                what = "was used already" if row.used_at is not None else "has expired"
                raise TokenError(f"the token {what}: ask for another one")
            work.names.claim(row.names.name)
            self._check_free(work, row)
            lifetime = self._lifetime or lifetime_of(row.days)
            who = f"{row.requested_by} (token)"
            return self._sign(work, csr, row.names, LEAF_PROFILES[row.profile], lifetime, who, now)

    def _claimed(self, work: Transaction, sha256: str) -> CertificateRow:
        """The certificate that was presented, as it is once nobody else revokes or renews of its name."""
        found = work.certificates.by_sha256(sha256)
        if found is not None and work.names.claim(found.names.name):
            found = work.certificates.by_sha256(sha256)
        if found is None:
            raise EnrollmentError("the certificate was not issued here: have one issued")
        return found

    def _check_renewable(self, work: Transaction, presented: CertificateRow, now: datetime) -> None:
        newest = work.certificates.newest(presented.names.name) or presented
        if "revoked" in (presented.state, newest.state):
            raise EnrollmentError("the certificate was revoked: it is not renewed")
        if "held" in (presented.state, newest.state):
            raise EnrollmentError("the certificate is on hold: it is not renewed until that has ended")
        if now > presented.not_after:
            raise EnrollmentError(f"the certificate ended on {presented.not_after:%Y-%m-%d}: have one issued")
        if presented.issuer != self._signer.row.sha256 and presented.issuer not in self._here.near():
            raise EnrollmentError("the certificate is of another authority of this inventory: have that one renew it")

    def _check_free(self, work: Transaction, token: TokenRow) -> None:
        """What has happened to the name since the token was made counts: a revocation takes the token with it."""
        if work.names.get(token.names.name) is not None:
            raise EnrollmentError("the name has been issued otherwise meanwhile: ask for a token of another name")
        if work.certificates.stopped_since(token.names.name, token.issued_at):
            raise EnrollmentError("the name was revoked meanwhile: ask for another token")

    def _life_of(self, work: Transaction, presented: CertificateRow) -> timedelta:
        """As long as its name's certificates live; of a name that is not kept here, as long as this one did.

        One that ended with its authority was cut short, and says nothing of how long the next one should live.
        """
        name = work.names.get(presented.names.name)
        if name is not None:
            return lifetime_of(name.days)
        authority = work.authorities.get(presented.issuer)
        if authority is not None and authority.not_after == presented.not_after:
            return LEAF_PROFILES[presented.profile].lifetime
        return presented.not_after - presented.not_before - BACKDATING

    def _sign(
        self,
        work: Transaction,
        csr: SigningRequest,
        names: Names,
        profile: Profile,
        lifetime: timedelta,
        requested_by: str,
        now: datetime,
    ) -> Enrolled:
        if asked := csr.unlike(names):
            raise EnrollmentError(f"the request asks for somebody else ({asked}): leave its names empty")
        signer, trust = self._signing(work)
        if any(csr.key == anchor.public_key() for anchor in (signer.authority.certificate, *trust)):
            raise CSRError("the request is for the key of an authority: that signs certificates and nothing else")
        leaf = signer.authority.issue(profile, names, csr.key, now=now, lifetime=lifetime)
        row = CertificateRow.of(
            leaf,
            names,
            profile.label,
            issuer=signer.row.sha256,
            issued_at=now,
            requested_by=requested_by,
            public_key=csr.key,
        )
        try:
            work.certificates.add(row)
        except AlreadyExists as error:  # whose it was is nobody's business
            raise CSRError("the key was used before: make a new one") from error
        return Enrolled((leaf, *signer.chain), trust, row)

    def _signing(self, work: Transaction) -> tuple[Signer, TrustBundle]:
        """Who signs now, and who is trusted: a rotation of the authority may have changed both since we looked last."""
        rows = work.authorities.all(*TRUSTED)
        for row in rows:
            if row.state is not AuthorityState.ACTIVE:
                continue
            if row.sha256 == self._signer.row.sha256:
                break
            if self._here.is_here(row):
                self._signer = Signer(load_authority(self._here.state.path(row.folder), self._here.passphrase), row)
                break
        else:
            raise NotFound("no authority here may sign any more: see `handclasp-pki rotate-ca status`")
        anchors = sorted(rows, key=lambda row: row.state is not AuthorityState.ACTIVE)
        return self._signer, TrustBundle(tuple(row.anchor for row in anchors))


def _digest(token: str) -> str:
    """What is kept of a token. It has 256 random bits, so a plain hash will do: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()
