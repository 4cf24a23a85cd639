"""Lifecycle: what can be done with an authority and the names under it. The command line says these in words.

Each call leaves the old state or the new one, also when the process is killed in it: the row of a certificate is
committed before the certificate leaves, and a credential appears by one rename.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pki import pruning, renewal, revocation
from pki.authority import end_of, lifetime_of
from pki.bulk import Bulk, issue_many
from pki.credential import is_occupied, load_folder
from pki.errors import AlreadyExists, PKIError, StateError
from pki.founding import Wish, found
from pki.inventory.rows import NameRow, fingerprint
from pki.issuing import Action, Issuing, Outcome, Request
from pki.keys import KeyType
from pki.listing import entries_of, standing_of
from pki.names import parse_authority_name
from pki.open_state import OpenState
from pki.profiles import AuthorityProfile
from pki.renewal import Renewals, check_not_revoked
from pki.rotation import AuthorityState
from pki.signing import sign_request
from pki.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

    from pki.authority import CertificateAuthority
    from pki.bulk import Line
    from pki.crl_signing import Reason
    from pki.csr import SigningRequest
    from pki.enrolling import Invitation
    from pki.importing import Imported
    from pki.inventory.rows import CertificateRow
    from pki.inventory.store import Inventory
    from pki.listing import Entry
    from pki.names import Names
    from pki.open_state import Signer
    from pki.renewal import Refused
    from pki.revocation import Published
    from pki.signing import Certified
    from pki.state import State
    from pki.survey import Survey
    from pki.trust import TrustBundle


def _silent(_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The authority in a state folder. `passphrase` opens its key, and encrypts it when it is made.

    `database` is the URL of an inventory elsewhere; None is the file in the folder. `requested_by` goes into the
    inventory. `note` is told, in one line, of what happens beside what was asked for. Writers wait for one another
    (`pki.state.State.locked`). Everything that a user can cause is a PKIError.
    """

    state: State
    passphrase: bytes | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    requested_by: str = ""
    note: Callable[[str], None] = _silent

    @contextlib.contextmanager
    def writing(self) -> Iterator[OpenState]:
        """The state folder and its inventory, held against other writers of the folder.

        Takes in what an older Handclasp, or an `init` that was killed, left behind. Raises NotFound, Locked,
        InventoryError and their kin.
        """
        # SQLAlchemy, which is behind it, takes as long to import as a command may take: only for those who ask.
        from pki.opening import Opening

        with self.state.locked(), Opening.of(self.state, self.database, self.note).open(to_write=True) as inventory:
            yield self._with(inventory)

    @contextlib.contextmanager
    def reading(self) -> Iterator[OpenState]:
        """The state folder and its inventory, to read; waits for no writer. Raises as `writing` does."""
        from pki.opening import Opening

        opening = Opening.of(self.state, self.database, self.note)
        if not opening.is_behind():
            with opening.open() as inventory:
                here = self._with(inventory)
                if here.trusted():
                    yield here
                    return
        # An older Handclasp was here, or an `init` was killed; or there is no authority, which this says.
        with self.writing() as here:
            here.trust()
            yield here

    def init(
        self,
        name: str,
        *,
        key: KeyType,
        now: datetime,
        days: int | None = None,
        ensure: bool = False,
        root_passphrase: bytes | None = None,
    ) -> tuple[CertificateAuthority, Action]:
        """Make the authority, and the inventory: "issued". With a `root_passphrase` it stands below a root.

        One that is there is never overwritten: AlreadyExists, or with `ensure`, if it opens and is valid, "kept".
        """
        from pki.opening import Opening, retire_lost

        parse_authority_name(name)
        lifetime = AuthorityProfile().lifetime if days is None else lifetime_of(days)
        end_of(now, lifetime)
        self.state.create()
        with self.state.locked():
            if os.path.lexists(self.state.authority) and not ensure:
                raise self._authority_exists()
            with Opening.of(self.state, self.database, self.note).make() as inventory:
                here = self._with(inventory)
                if here.signing() is None:
                    wish = Wish(name, key, lifetime, root_passphrase)
                    made, row = found(here, wish, now, AuthorityState.ACTIVE)
                    with here.inventory.transaction() as work:
                        retire_lost(here, work)
                        work.authorities.add(row)
                    return made, "issued"
                if not ensure:
                    raise self._authority_exists()
                there = here.signer().authority
                there.check_valid(now)
                return there, "kept"

    def upgrade(self) -> tuple[bool, Imported]:
        """Bring the inventory up to this program, and take in what an older one recorded.

        Whether the tables changed, and what was taken in. Interrupted at any instant, it can be run again.
        """
        from pki.opening import Opening

        with self.state.locked():
            return Opening.of(self.state, self.database, self.note).upgrade()

    def trust(self) -> TrustBundle:
        """What every credential is given to trust: see `OpenState.trust`."""
        with self.reading() as here:
            return here.trust()

    def signer(self) -> Signer:
        """The authority that signs: see `OpenState.signer`."""
        with self.reading() as here:
            return here.signer()

    def names(self) -> list[str]:
        """Every name that was issued, sorted."""
        with self.reading() as here, here.inventory.reading() as work:
            return work.names.known()

    def issue(self, request: Request, *, now: datetime, ensure: bool = False, again: bool = False) -> Outcome:
        """Make the credential of a new name: "issued".

        A name that has one already is AlreadyExists. With `ensure` it is "kept" where it is what is asked for, is
        valid and is of a trusted authority, and made anew, "rotated", where it is not. A name that was revoked is
        StateError, unless it shall have a certificate `again`.
        """
        names = request.profile.completed(request.names)
        if request.days is not None:
            end_of(now, lifetime_of(request.days))
        with self.writing() as here:
            issuing = Issuing.begin(here, now=now, requested_by=self.requested_by)
            known, latest = here.name(names.name) or (None, here.latest(names.name))
            here.check_near(latest)
            returns = latest is not None and latest.state == "revoked" and again
            if not returns:
                check_not_revoked(latest, names.name)
            renewed = known if ensure else None
            wanted = self._wanted(request, names, known if ensure or returns else None)
            folder = self.state.path(wanted.folder)
            if renewed is not None and latest is not None and not returns:
                as_wanted = replace(wanted, days=renewed.days, serial=renewed.serial) == renewed
                if as_wanted and (kept := _healthy(here, folder, latest, now)):
                    return Outcome("kept", renewed, folder, kept)
            elif known is not None and not returns and is_occupied(self.state.path(known.folder)):
                raise AlreadyExists(
                    f"{names.name} has been issued already: renew it with `handclasp-pki rotate {names.name}`, "
                    "or choose another NAME"
                )
            if known is not None and (renewed or returns) and known.folder == wanted.folder:
                here.check_holder(wanted)
            elif is_occupied(folder):
                raise AlreadyExists(f"{folder} holds a credential already: pass another --out, or remove it")
            self.state.check_for_a_credential(wanted.folder)
            return issuing.put("rotated" if renewed else "issued", wanted, known)

    def sign(self, csr: SigningRequest, request: Request, *, now: datetime, again: bool = False) -> Certified:
        """Make a certificate for the key of a signing request; all else is as `request` has it. See `pki.signing`.

        `note` is told where the signing request asks for other names. A name that was revoked is StateError, unless
        it shall have a certificate `again`.
        """
        with self.writing() as here:
            issuing = Issuing.begin(here, now=now, requested_by=self.requested_by)
            done = sign_request(issuing, csr, request, again=again)
        if unlike := csr.unlike(done.names):
            self.note(f"the request asks for {unlike}, which was not followed")
        return done

    def invite(self, request: Request, ttl: timedelta, *, now: datetime, again: bool = False) -> Invitation:
        """Make a one-time token, with which somebody enrolls under these names within `ttl`: see `pki.enrolling`."""
        from pki.enrolling import invite

        with self.writing() as here:
            return invite(Issuing.begin(here, now=now, requested_by=self.requested_by), request, ttl, again=again)

    def issue_many(self, lines: Sequence[Line], *, now: datetime, advance: Callable[[int], None] = _silent) -> Bulk:
        """Make the credentials of all of them: see `pki.bulk`. Names that are as asked for already are kept."""
        with self.writing() as here:
            return issue_many(Issuing.begin(here, now=now, requested_by=self.requested_by), lines, advance)

    def rotate(
        self,
        names: Sequence[str] | None,
        *,
        now: datetime,
        on_each: Callable[[Outcome], None] = _silent,
    ) -> list[Outcome]:
        """A new key and certificate for each of the names, or for all of them: None. All else stays as it was.

        Every name is checked before the first is touched; `on_each` is told of each one once it is done. Raises
        NotFound, which names the known ones, and StateError for a name that is revoked or held; of all, those are
        left out, and `note` is told.
        """
        with self.writing() as here:
            issuing = Issuing.begin(here, now=now, requested_by=self.requested_by)
            return renewal.rotate(issuing, names, on_each, self.note)

    def renew(
        self,
        names: Sequence[str],
        *,
        now: datetime,
        same_key: bool = False,
        on_each: Callable[[Outcome], None] = _silent,
    ) -> list[Outcome]:
        """New dates for each of the names, and a new key unless it shall be the `same_key`.

        Only what is valid is renewed: StateError for one that is revoked, held or has ended, before any is touched.
        """
        with self.writing() as here:
            issuing = Issuing.begin(here, now=now, requested_by=self.requested_by)
            return renewal.renew(issuing, names, on_each, same_key=same_key)

    def renew_due(
        self,
        *,
        now: datetime,
        same_key: bool = False,
        on_each: Callable[[Outcome | Refused], None] = _silent,
        stop: Callable[[], bool] = lambda: False,
    ) -> Renewals:
        """Renew all that are past about two thirds of their life (`pki.renewal`); until `stop` says so.

        One that fails keeps no other from being renewed: it is among the refused ones.
        """
        with self.writing() as here:
            if not renewal.due(here, now):
                return Renewals((), ())
            issuing = Issuing.begin(here, now=now, requested_by=self.requested_by)
            return renewal.renew_due(issuing, on_each, self.note, stop, same_key=same_key)

    def revocable(
        self, *, now: datetime, serial: str | None = None, name: str | None = None, file: Path | None = None
    ) -> list[CertificateRow]:
        """The certificates that are meant by a serial number, a name or a file: see `pki.revocation`."""
        with self.reading() as here:
            if name is not None:
                return revocation.of_name(here, name, now)
            if file is not None:
                return [revocation.of_file(here, file)]
            return [revocation.of_serial(here, serial or "")]

    def revoke(
        self, rows: Sequence[CertificateRow], reason: Reason, *, now: datetime, name: str | None = None
    ) -> tuple[list[CertificateRow], Published]:
        """Revoke these, for good or with certificateHold for now, and publish that at once: see `pki.revocation`.

        With a `name`, also what it was given since they were looked up. Which of them were not revoked before. Raises
        StateError where none was, and where it is recorded and could not be published.
        """
        with self.writing() as here:
            revocation.signers(here, now)
            changed = revocation.revoke(here, rows, reason, now, name)
            return changed, _published(here, now, "the revocation")

    def unhold(self, rows: Sequence[CertificateRow], *, now: datetime) -> tuple[list[CertificateRow], Published]:
        """End the hold of these, and publish that at once. Which of them were held; raises as `revoke` does."""
        with self.writing() as here:
            revocation.signers(here, now)
            changed = revocation.unhold(here, rows)
            return changed, _published(here, now, "the release")

    def publish_lists(
        self, *, now: datetime, period: timedelta | None = None, advance: Callable[[int], None] = _silent
    ) -> Published:
        """Sign new revocation lists, and give them to every credential folder."""
        with self.writing() as here:
            return revocation.publish(here, now, period, advance)

    def republish_at(self) -> datetime | None:
        """When the lists should be published again; None: now."""
        with self.reading() as here:
            return revocation.republish_at(here)

    def prunable(self, *, expired_before: datetime) -> int:
        """How many certificates `prune` would forget now."""
        with self.reading() as here:
            return pruning.prunable(here, expired_before)

    def prune(self, *, expired_before: datetime) -> int:
        """Forget certificates that ended before then, and names of which nothing is left; how many certificates.

        What is still in its folder stays known, and so does a revoked one until a CRL has shown it for the last time.
        """
        with self.writing() as here:
            return pruning.prune(here, expired_before)

    def entries(self, *, now: datetime, name: str | None = None) -> list[Entry]:
        """Every certificate, or those of a name, and how each stands; by name, newest first.

        Needs no passphrase and no lock.
        """
        with self.reading() as here:
            return list(entries_of(here, now=now, name=name))

    def survey(self, *, now: datetime, words: str = "", limit: int = 100) -> Survey:
        """The inventory at a glance. Needs no passphrase and no lock."""
        with self.reading() as here:
            return survey(here, now=now, words=words, limit=limit)

    def _with(self, inventory: Inventory) -> OpenState:
        return OpenState(self.state, inventory, self.passphrase)

    def _authority_exists(self) -> AlreadyExists:
        return AlreadyExists(
            f"there is an authority in {self.state.folder} already: use it, or pass another --state",
            path=self.state.authority,
        )

    def _wanted(self, request: Request, names: Names, known: NameRow | None) -> NameRow:
        """The row of what is asked for; what is left open is as it is known, or else the default."""
        profile = request.profile
        days = request.days if request.days is not None else known.days if known else profile.lifetime.days
        folder = known.folder if known else self.state.default_folder(names.name)
        return NameRow(
            profile=profile.label,
            names=names,
            key=request.key or (known.key if known else KeyType.P256),
            days=days,
            folder=self.state.written_down(request.out) if request.out else folder,
        )


def _published(here: OpenState, now: datetime, what: str) -> Published:
    try:
        return revocation.publish(here, now)
    except PKIError as error:
        message = f"{what} is recorded, and not published yet: {error}; mend that, then run `handclasp-pki crl`"
        raise StateError(message, path=here.state.folder) from error


def _healthy(here: OpenState, folder: Path, row: CertificateRow, now: datetime) -> x509.Certificate | None:
    """The certificate in the folder, if a server could start with it and it is the latest."""
    try:
        credential, trust = load_folder(folder)
    except PKIError:
        return None
    trusted = {authority.sha256: authority for authority in here.trusted()}
    sound = (
        fingerprint(credential.leaf) == row.sha256
        and standing_of(row, trusted, now) == "valid"
        and trusted[row.issuer].anchor in trust
    )
    return credential.leaf if sound else None
