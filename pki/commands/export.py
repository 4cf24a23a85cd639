"""`handclasp-pki export`: a credential for programs that read PKCS #12, or the authorities that all of them trust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority_files import read_passphrase
from pki.errors import UsageError
from pki.exporting import credential_of, write_file
from pki.files import PRIVATE_FILE, PUBLIC_FILE
from pki.lifecycle import Lifecycle
from pki.options import DatabaseOption, JsonOption, PassphraseOption, Shared, StateOption, current_time, path_of
from pki.pkcs12 import new_passphrase, to_pkcs12
from pki.presentation import say, say_json, say_note, timestamp

_BUNDLE = "ca.crt"


def export(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Whose credential.")] = None,
    p12: Annotated[bool, typer.Option("--p12", help="Key and certificates as one PKCS #12 file.")] = False,
    bundle: Annotated[bool, typer.Option("--bundle", help="The trusted authorities as PEM; NAME's, or all.")] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="NAME.p12, NAME.ca.crt or ca.crt by default.")
    ] = None,
    legacy: Annotated[bool, typer.Option("--legacy", help="3DES and SHA-1, for old programs.")] = False,
    password_file: Annotated[
        str | None, typer.Option("--password-file", metavar="FILE", help="The PKCS #12 file's; else a random one.")
    ] = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Write a credential, or the trusted authorities, for another program. Never overwrites a file.

    The passphrase of a PKCS #12 file is shown once, here: send it another way than the file.

    \b
    handclasp-pki export alice --p12                              alice.p12, for browsers and phones
    handclasp-pki export alice --p12 --legacy --out old.p12       for old programs that refuse the other
    handclasp-pki export --bundle --out handclasp-ca.pem          what others shall trust
    """
    if p12 == bundle:
        raise UsageError("say what to export: --p12 or --bundle")
    if p12 and name is None:
        raise UsageError("Missing argument 'NAME': whose credential shall be in the PKCS #12 file?")
    if bundle and (legacy or password_file is not None):
        raise UsageError("--legacy and --password-file go with --p12: a bundle holds nothing secret")
    file = None if out is None else path_of(out, "--out")
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    if name is None:
        _bundle(lifecycle, file, as_json=as_json)
    elif bundle:
        _bundle_of(lifecycle, name, file, as_json=as_json)
    else:
        given = None if password_file is None else path_of(password_file, "--password-file")
        _p12(lifecycle, name, file, given, legacy=legacy, as_json=as_json)


def _p12(
    lifecycle: Lifecycle, name: str, out: Path | None, password_file: Path | None, *, legacy: bool, as_json: bool
) -> None:
    with lifecycle.reading() as here:
        credential, trust, standing = credential_of(here, name, now=current_time())
    given = None if password_file is None else read_passphrase(password_file, "the PKCS #12 file's")
    passphrase = new_passphrase() if given is None else None
    file = out or Path(f"{name}.p12")
    data = to_pkcs12(credential, trust, name, given or str(passphrase).encode(), legacy=legacy)
    write_file(file, data, PRIVATE_FILE)
    end = credential.leaf.not_valid_after_utc
    if as_json:
        say_json({"name": name, "file": str(file), "not_after": timestamp(end), "passphrase": passphrase})
    else:
        say(f"exported {name} to {file}, valid until {end:%Y-%m-%d}")
        if passphrase is not None:
            say(f"passphrase: {passphrase}")
    if standing not in (None, "valid"):
        say_note(f"the certificate of {name} is {standing}: see `handclasp-pki list --name {name}`")
    if legacy:
        say_note("3DES and SHA-1 are weak: use this file for programs that read no other, and delete it afterwards")


def _bundle(lifecycle: Lifecycle, out: Path | None, *, as_json: bool) -> None:
    trust = lifecycle.trust()
    file = out or Path(_BUNDLE)
    write_file(file, trust.to_pem(), PUBLIC_FILE)
    if as_json:
        say_json({"name": None, "file": str(file), "authorities": len(trust)})
        return
    say(f"exported {_authorities(len(trust))} to {file}")


def _bundle_of(lifecycle: Lifecycle, name: str, out: Path | None, *, as_json: bool) -> None:
    with lifecycle.reading() as here:
        _, trust, _ = credential_of(here, name, now=current_time())
    file = out or Path(f"{name}.{_BUNDLE}")
    write_file(file, trust.to_pem(), PUBLIC_FILE)
    if as_json:
        say_json({"name": name, "file": str(file), "authorities": len(trust)})
        return
    say(f"exported {_authorities(len(trust))} that {name} trusts to {file}")


def _authorities(count: int) -> str:
    return "1 authority" if count == 1 else f"{count} authorities"
