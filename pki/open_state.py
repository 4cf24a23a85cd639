"""OpenState: a state folder and its inventory, open. Here is said who signs and who is trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pki.authority_files import load_authority, load_authority_certificate, no_authority
from pki.errors import AlreadyExists, CorruptState, NotFound, PKIError, StateError
from pki.facts import common_name, read_certificates
from pki.inventory.database import FILE
from pki.inventory.rows import TRUSTED, AuthorityRow, fingerprint
from pki.rotation import AuthorityState
from pki.state import FIRST_AUTHORITY
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from pki.authority import CertificateAuthority
    from pki.inventory.database import Database
    from pki.inventory.rows import CertificateRow, NameRow
    from pki.inventory.store import Inventory
    from pki.state import State

_NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Signer:
    """The authority that signs now, its key at hand."""

    authority: CertificateAuthority
    row: AuthorityRow

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What goes behind a leaf: nothing, or what leads from it to the anchor that others trust."""
        return () if self.row.anchor == self.row.certificate else (self.row.certificate,)


@dataclass(frozen=True, slots=True)
class OpenState:
    """A state folder and its inventory, for as long as `pki.lifecycle.Lifecycle` holds them open.

    Several state folders may share an inventory, each with authorities of its own. One is *here* when its folder is.
    """

    state: State
    inventory: Inventory
    passphrase: bytes | None = field(default=None, repr=False)

    def trust(self) -> TrustBundle:
        """What every credential is given to trust: the anchors of all authorities that are not retired.

        The one that signs stands first. Raises NotFound where there is none.
        """
        rows = sorted(self.trusted(), key=lambda row: row.state is not AuthorityState.ACTIVE)
        if not rows:
            raise no_authority(self.state.folder)
        return TrustBundle(tuple(row.anchor for row in rows))

    def trusted(self) -> list[AuthorityRow]:
        """The authorities that are staged, active or retiring."""
        with self.inventory.reading() as work:
            return work.authorities.all(*TRUSTED)

    def signer(self) -> Signer:
        """The authority that signs: of the active ones that are here the one that was activated last.

        Raises NotFound, CorruptState, PassphraseError, InsecurePermissions.
        """
        row = self.signing()
        if row is None:
            raise self._nobody_signs()
        return Signer(load_authority(self.state.path(row.folder), self.passphrase), row)

    def signing(self) -> AuthorityRow | None:
        """The row of the authority that `signer` would load; None where none is active here.

        Raises CorruptState where the latest one's folder is gone: an earlier one is not to sign in its place unasked.
        """
        with self.inventory.reading() as work:
            active = work.authorities.all(AuthorityState.ACTIVE)
        if active and is_own(self.state, self.inventory.database) and active[0].folder != FIRST_AUTHORITY:
            folder = self.state.path(active[0].folder)
            if not os.path.lexists(folder):
                raise CorruptState(
                    f"{active[0].name}, which signs, is missing: put {folder} back from a copy (without one: make "
                    "another authority in a state folder of its own)",
                    path=folder,
                )
        return next((row for row in active if self.is_here(row)), None)

    def is_here(self, row: AuthorityRow) -> bool:
        """Whether the authority's folder is in this state folder. Raises CorruptState for a damaged one."""
        folder = self.state.path(row.folder)
        return os.path.lexists(folder) and fingerprint(load_authority_certificate(folder)) == row.sha256

    def near(self) -> set[str]:
        """The authorities whose names are this state folder's business, and the unknown one of older records.

        In the folder's own inventory that is all of them; in a shared one, those that are here.
        """
        with self.inventory.reading() as work:
            rows = work.authorities.all()
        shared = self.inventory.database.path is None
        return {row.sha256 for row in rows if not shared or self.is_here(row)} | {""}

    def names(self, wanted: Sequence[str] | None) -> list[tuple[NameRow, CertificateRow | None]]:
        """Names, each with its latest certificate; None is all that are `near`, sorted.

        Raises NotFound for one that was never issued, which names the known ones.
        """
        with self.inventory.reading() as work:
            if wanted is None:
                near = self.near()
                latest = {name.names.name: row for name, row in work.certificates.latest()}
                pairs = ((name, latest.get(name.names.name)) for name in work.names.all())
                return [(name, row) for name, row in pairs if row is None or row.issuer in near]
            found = work.names.some(list(wanted))
            for name in wanted:
                if name not in found:
                    known = work.names.known()
                    shown = ", ".join(known[:_NAMES_SHOWN]) + (", and others" if len(known) > _NAMES_SHOWN else "")
                    raise NotFound(f"{name!a} has not been issued here: known are {shown or 'none yet'}")
            return [(found[name], work.certificates.get(found[name].serial)) for name in dict.fromkeys(wanted)]

    def name(self, name: str) -> tuple[NameRow, CertificateRow | None] | None:
        """What is remembered of a name, and its latest certificate; None of one that was never issued."""
        with self.inventory.reading() as work:
            row = work.names.get(name)
            return None if row is None else (row, work.certificates.get(row.serial))

    def latest(self, name: str) -> CertificateRow | None:
        """The newest certificate of a name, also of one whose key is elsewhere and that has no folder here."""
        with self.inventory.reading() as work:
            return next(iter(work.certificates.of_name(name)), None)

    def check_near(self, row: CertificateRow | None) -> None:
        """Raise AlreadyExists for a name of another state folder's, by its latest certificate."""
        if row is not None and row.issuer not in self.near():
            raise AlreadyExists(
                f"{row.names.name} is kept in another state folder of this inventory (asked for by "
                f"{row.requested_by or 'somebody'}): do this there, or choose another NAME"
            )

    def check_holder(self, name: NameRow) -> None:
        """Raise AlreadyExists where a name's folder has come to hold the credential of another name."""
        folder = self.state.path(name.folder)
        holder = _holder(folder)
        if holder not in (None, name.names.name):
            raise AlreadyExists(
                f"{folder} holds the credential of {holder!a} now, not of {name.names.name}: move that away first"
            )

    def _nobody_signs(self) -> StateError:
        if not os.path.lexists(self.state.authority):
            return no_authority(self.state.folder)
        return NotFound(
            f"no authority in {self.state.folder} may sign: the inventory {self.inventory.database} has no active one "
            "of it; `handclasp-pki upgrade` adds one that it does not know",
            path=self.state.folder,
        )


def is_own(state: State, database: Database) -> bool:
    """Whether it is the file in the state folder: nobody else's authorities are in it."""
    return database.path is not None and database.path.absolute() == (state.folder / FILE).absolute()


def _holder(folder: Path) -> str | None:
    """The name that the certificate in a folder was issued to; None where there is none to read."""
    try:
        return common_name(read_certificates(folder)[0])
    except PKIError:
        return None
