"""One credential, from a key to its folder: signed, recorded, and only then written.

Cut off at any instant, no certificate is anywhere that the inventory does not know. A name whose row is there and
whose credential is not was cut off in between: issuing it again completes it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pki.authority import end_of, lifetime_of
from pki.credential import Credential
from pki.errors import PKIError, StateError
from pki.inventory.rows import CertificateRow, NameRow
from pki.profiles import LEAF_PROFILES

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from pki.keys import KeyType
    from pki.names import Names
    from pki.open_state import OpenState, Signer
    from pki.pem import PrivateKey
    from pki.profiles import Profile
    from pki.trust import TrustBundle

Action = Literal["issued", "rotated", "renewed", "kept"]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to be issued. None is the default, or with `ensure` what there is already."""

    profile: Profile
    names: Names
    days: int | None = None
    key: KeyType | None = None
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a name. `clamped`: it ends earlier than asked for, with its authority."""

    action: Action
    record: NameRow
    folder: Path
    certificate: x509.Certificate
    clamped: bool = False


@dataclass(frozen=True, slots=True)
class Signed:
    """A key and its chain that nobody knows yet, and the rows that make them known."""

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    name: NameRow
    row: CertificateRow
    clamped: bool


@dataclass(frozen=True, slots=True)
class Issuing:
    """Everything that issuing needs beside the names: who signs and is trusted, when, and who asks."""

    here: OpenState
    signer: Signer
    trust: TrustBundle
    now: datetime
    requested_by: str
    lists: bytes | None = None
    """The authorities' revocation lists, PEM, where there are any."""

    @classmethod
    def begin(cls, here: OpenState, *, now: datetime, requested_by: str) -> Issuing:
        """By the authority that signs at present. Raises what `OpenState.signer` does."""
        return cls(here, here.signer(), here.trust(), now, requested_by, here.state.lists())

    def sign(self, name: NameRow, *, key: PrivateKey | None = None) -> Signed:
        """A new certificate for a name; without a `key`, for a new one of the name's type. Writes nothing."""
        key = key or name.key.generate()
        lifetime = lifetime_of(name.days)
        profile, public_key = LEAF_PROFILES[name.profile], key.public_key()
        leaf = self.signer.authority.issue(profile, name.names, public_key, now=self.now, lifetime=lifetime)
        row = CertificateRow.of(
            leaf,
            name.names,
            name.profile,
            issuer=self.signer.row.sha256,
            issued_at=self.now,
            requested_by=self.requested_by,
            public_key=public_key,
        )
        clamped = row.not_after < end_of(self.now, lifetime)
        signed = NameRow(name.profile, name.names, name.key, name.days, name.folder, row.serial)
        return Signed(key, (leaf, *self.signer.chain), signed, row, clamped)

    def put(self, action: Action, name: NameRow, known: NameRow | None, *, key: PrivateKey | None = None) -> Outcome:
        """Sign, record, write, in this order; `known` is what the name was before, None of a new one.

        Where it cannot be written, the name is as before; the certificate stays recorded, since who knows where its
        bytes went. Raises AlreadyExists where another host has issued the name meanwhile.
        """
        signed = self.sign(name, key=key)
        with self.here.inventory.transaction() as work:
            work.certificates.add(signed.row, same_key=key is not None)
            if known is None:
                work.names.add(signed.name)
            else:
                work.names.replace(signed.name)
        folder = self.here.state.path(name.folder)
        try:
            Credential(signed.key, signed.chain).save(folder, self.trust, self.lists)
        except PKIError:
            with contextlib.suppress(StateError), self.here.inventory.transaction() as work:
                if known is None:
                    work.names.remove([name.names.name])
                else:
                    work.names.replace(known)
            raise
        return Outcome(action, signed.name, folder, signed.chain[0], signed.clamped)
