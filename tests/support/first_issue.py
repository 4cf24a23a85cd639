"""A state folder as Handclasp left it before it had an inventory: an authority, records, credentials."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pki.authority import CertificateAuthority
from pki.authority_files import save_authority
from pki.credential import Credential
from pki.files import PRIVATE_FILE
from pki.inventory.rows import fingerprint, serial_of
from pki.keys import KeyType
from pki.presentation import timestamp
from pki.profiles import LEAF_PROFILES
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from pathlib import Path

    from pki.names import Names


class OldState:
    """Made record by record, in the format that `DIR/issued/NAME.json` had."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.folder, self.now = folder, now
        folder.mkdir(mode=0o700)
        (folder / "issued").mkdir(mode=0o700)
        self.authority = CertificateAuthority.create("An old authority", KeyType.P256.generate(), now=now)
        save_authority(self.authority, folder / "authority", None)

    def issue(self, profile: str, names: Names, *, days: int = 7, times: int = 1) -> list[str]:
        """Issue a name, and rotate it so many times less one; the serial numbers, the latest last."""
        certificates: list[dict[str, Any]] = []
        folder = f"credentials/{names.name}"
        for number in range(times):
            key = KeyType.P256.generate()
            moment = self.now + timedelta(hours=number)
            leaf = self.authority.issue(
                LEAF_PROFILES[profile], names, key.public_key(), now=moment, lifetime=timedelta(days=days)
            )
            certificates.append(
                {
                    "serial": serial_of(leaf),
                    "sha256": fingerprint(leaf),
                    "not_before": timestamp(leaf.not_valid_before_utc),
                    "not_after": timestamp(leaf.not_valid_after_utc),
                }
            )
            Credential(key, (leaf,)).save(self.folder / folder, TrustBundle((self.authority.certificate,)))
        record = {
            "format": 1,
            "name": names.name,
            "profile": profile,
            "emails": names.emails,
            "uris": names.uris,
            "dns_names": names.dns_names,
            "ip_addresses": names.ip_addresses,
            "key": "p256",
            "days": days,
            "folder": folder,
            "certificates": certificates,
        }
        file = self.record(names.name)
        file.touch(PRIVATE_FILE)
        file.write_bytes(json.dumps(record, indent=2).encode() + b"\n")
        return [str(one["serial"]) for one in certificates]

    def record(self, name: str) -> Path:
        """Where the record of a name is."""
        return self.folder / "issued" / f"{name}.json"
