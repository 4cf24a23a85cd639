"""Lifecycle: what can be done with an authority and the names under it. The command line says these in words.

Each call leaves the old state or the new one, also when the process is killed in it: the record of a name is
written before its certificate leaves, and each of the two appears by one rename. A name whose record is there
and whose credential is not was cut off in between: issuing it again completes it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pki.authority import CertificateAuthority, end_of, lifetime_of
from pki.authority_files import load_authority, load_authority_certificate, save_authority
from pki.credential import Credential, is_occupied, load_folder
from pki.errors import AlreadyExists, NotFound, PKIError, StateError
from pki.facts import common_name, read_certificates
from pki.keys import KeyType
from pki.listing import Entry, standing
from pki.names import parse_authority_name
from pki.profiles import LEAF_PROFILES, AuthorityProfile
from pki.records import Issued, Record
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from pki.names import Names
    from pki.profiles import Profile
    from pki.state import State

Action = Literal["issued", "rotated", "kept"]

_NAMES_SHOWN = 10


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
    record: Record
    folder: Path
    certificate: x509.Certificate
    clamped: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The authority in a state folder. `passphrase` opens its key, and encrypts it when it is made.

    Writers wait for one another (`pki.state.State.locked`). Everything that a user can cause is a PKIError.
    """

    state: State
    passphrase: bytes | None = None

    def init(
        self, name: str, *, key: KeyType, now: datetime, days: int | None = None, ensure: bool = False
    ) -> tuple[CertificateAuthority, Action]:
        """Make the authority: "issued".

        One that is there is never overwritten: AlreadyExists, or with `ensure`, if it opens and is valid, "kept".
        """
        parse_authority_name(name)
        lifetime = AuthorityProfile().lifetime if days is None else lifetime_of(days)
        end_of(now, lifetime)
        self.state.create()
        with self.state.locked():
            if not os.path.lexists(self.state.authority):
                made = CertificateAuthority.create(name, key.generate(), now=now, lifetime=lifetime)
                save_authority(made, self.state.authority, self.passphrase)
                return made, "issued"
            if not ensure:
                raise AlreadyExists(
                    f"there is an authority in {self.state.folder} already: use it, or pass another --state",
                    path=self.state.authority,
                )
            there = self._authority()
            there.check_valid(now)
            return there, "kept"

    def issue(self, request: Request, *, now: datetime, ensure: bool = False) -> Outcome:
        """Make the credential of a new name: "issued".

        A name that has one already is AlreadyExists. With `ensure` it is "kept" where it is what is asked for, is
        valid and is of the present authority, and made anew, "rotated", where it is not.
        """
        names = request.profile.completed(request.names)
        if request.days is not None:
            end_of(now, lifetime_of(request.days))
        with self.state.locked():
            authority = self._authority()
            known = self.state.record(names.name)
            renewed = known if ensure else None
            wanted = self._wanted(request, names, renewed)
            folder = self.state.credential_folder(wanted)
            if renewed is not None:
                as_wanted = replace(wanted, days=renewed.days, certificates=renewed.certificates) == renewed
                if as_wanted and (kept := _healthy(folder, renewed, authority, now)):
                    return Outcome("kept", renewed, folder, kept)
            elif known is not None and is_occupied(self.state.credential_folder(known)):
                raise AlreadyExists(
                    f"{names.name} has been issued already: renew it with `handclasp-pki rotate {names.name}`, "
                    "or choose another NAME"
                )
            if renewed is not None and renewed.folder == wanted.folder:
                self._check_holder(wanted)
            elif is_occupied(folder):
                raise AlreadyExists(f"{folder} holds a credential already: pass another --out, or remove it")
            return self._put("rotated" if renewed else "issued", wanted, known, authority, now)

    def rotate(
        self,
        names: Sequence[str] | None,
        *,
        now: datetime,
        on_each: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:
        """A new key and certificate for each of the names, or for all of them: None. All else stays as it was.

        Every name is checked before the first is touched; `on_each` is told of each one once it is done. Raises
        NotFound, which names the known ones.
        """
        with self.state.locked():
            authority = self._authority()
            authority.check_valid(now)
            records = [record for name in self._known_names(names) if (record := self.state.record(name))]
            for record in records:
                self._check_holder(record)
            outcomes = []
            for record in records:
                outcome = self._put("rotated", record, record, authority, now)
                outcomes.append(outcome)
                if on_each is not None:
                    on_each(outcome)
            return outcomes

    def entries(self, *, now: datetime) -> list[Entry]:
        """Every name and how it stands, in the order of the names. Needs no passphrase and no lock."""
        authority = load_authority_certificate(self.state.authority)
        return [
            Entry.of(record, self.state.credential_folder(record), authority, now)
            for name in self.state.names()
            if (record := self.state.record(name))
        ]

    def _authority(self) -> CertificateAuthority:
        return load_authority(self.state.authority, self.passphrase)

    def _known_names(self, names: Sequence[str] | None) -> list[str]:
        known = self.state.names()
        if names is None:
            return known
        for name in names:
            if name not in known:
                shown = ", ".join(known[:_NAMES_SHOWN]) + (", and others" if len(known) > _NAMES_SHOWN else "")
                raise NotFound(f"{name!a} has not been issued here: known are {shown or 'none yet'}")
        return list(dict.fromkeys(names))

    def _check_holder(self, record: Record) -> None:
        """Raise AlreadyExists where the folder has come to hold the credential of another name."""
        name, folder = record.names.name, self.state.credential_folder(record)
        holder = _holder(folder)
        if holder not in (None, name):
            raise AlreadyExists(
                f"{folder} holds the credential of {holder!a} now, not of {name}: remove "
                f"{self.state.record_file(name)} and issue {name} to another --out"
            )

    def _wanted(self, request: Request, names: Names, known: Record | None) -> Record:
        """The record of what is asked for; what is left open is as it is known, or else the default."""
        profile = request.profile
        days = request.days if request.days is not None else known.days if known else profile.lifetime.days
        folder = known.folder if known else self.state.default_folder(names.name)
        return Record(
            profile=profile.label,
            names=names,
            key=request.key or (known.key if known else KeyType.P256),
            days=days,
            folder=self.state.written_down(request.out) if request.out else folder,
        )

    def _put(
        self, action: Action, record: Record, known: Record | None, authority: CertificateAuthority, now: datetime
    ) -> Outcome:
        """Sign, remember, save, in this order. Where it cannot be saved, what is remembered is as before."""
        lifetime = lifetime_of(record.days)
        key = record.key.generate()
        profile = LEAF_PROFILES[record.profile]
        certificate = authority.issue(profile, record.names, key.public_key(), now=now, lifetime=lifetime)
        folder = self.state.credential_folder(record)
        remembered = known.certificates if known else ()
        record = replace(record, certificates=remembered).adding(certificate, now=now)
        self.state.save_record(record)
        try:
            Credential(key, (certificate,)).save(folder, TrustBundle((authority.certificate,)))
        except PKIError:
            with contextlib.suppress(StateError):
                if known is None:
                    self.state.remove_record(record.names.name)
                else:
                    self.state.save_record(known)
            raise
        clamped = certificate.not_valid_after_utc < end_of(now, lifetime)
        return Outcome(action, record, folder, certificate, clamped)


def _healthy(folder: Path, record: Record, authority: CertificateAuthority, now: datetime) -> x509.Certificate | None:
    """The certificate in the folder, if a server could start with it and it is the record's latest."""
    try:
        credential, trust = load_folder(folder)
    except PKIError:
        return None
    leaf = credential.leaf
    sound = (
        Issued.of(leaf) == record.certificates[-1]
        and authority.certificate in trust
        and standing(leaf, authority.certificate, now) == "valid"
    )
    return leaf if sound else None


def _holder(folder: Path) -> str | None:
    """The name that the certificate in a folder was issued to; None where there is none to read."""
    try:
        return common_name(read_certificates(folder)[0])
    except PKIError:
        return None
