"""One certificate for everything: `cert.pem` and `key.pem`, authority, server and client in one file each."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pki.authority import self_signed
from pki.credential import PLAIN_CERTIFICATE, PLAIN_KEY, Credential
from pki.errors import AlreadyExists, StateError
from pki.files import PRIVATE_FILE, PUBLIC_FILE, new_folder, sync_folder, write_new

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from pki.keys import KeyType
    from pki.names import Names


def write_self_signed(folder: Path, names: Names, key: KeyType, *, now: datetime, lifetime: timedelta) -> Credential:
    """Make such a certificate and write it to a folder, which is made where it is missing.

    Overwrites nothing: AlreadyExists. Raises UsageError for a bad lifetime, StateError where it cannot be written;
    then nothing is left behind.
    """
    private_key = key.generate()
    credential = Credential(private_key, (self_signed(names, private_key, now=now, lifetime=lifetime),))
    try:
        if os.path.lexists(folder):
            _write(folder, credential)
        else:
            with new_folder(folder) as beside:
                _write(beside, credential)
    except FileExistsError as error:
        raise AlreadyExists(
            f"{error.filename} is there already: remove it, or pass another --out", path=folder
        ) from error
    except OSError as error:
        raise StateError(f"{folder} cannot be written: {error.strerror}", path=folder) from error
    return credential


def _write(folder: Path, credential: Credential) -> None:
    certificate, key = folder / PLAIN_CERTIFICATE, folder / PLAIN_KEY
    if os.path.lexists(certificate):
        raise FileExistsError(errno.EEXIST, "", str(certificate))
    write_new(key, credential.key_pem(), PRIVATE_FILE)
    try:
        write_new(certificate, credential.chain_pem(), PUBLIC_FILE)
    except OSError:
        key.unlink()
        raise
    sync_folder(folder)
