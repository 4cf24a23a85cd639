"""`handclasp-pki init --toml`: a handclasp.toml to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.errors import AlreadyExists, StateError
from pki.keys import KeyType
from pki.presentation import say, say_note

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="FILE", help="The authority that this handclasp.toml describes.")
]
TomlOption = Annotated[
    bool, typer.Option("--toml", help="Write a handclasp.toml to begin with, and no authority: `apply` makes it.")
]


def write_starter(name: str | None, key: KeyType | None, days: int | None) -> None:
    """Write it into the present folder. Raises AlreadyExists, StateError."""
    from pki.authority import lifetime_of
    from pki.description import DEFAULT_NAME, FILE
    from pki.files import PUBLIC_FILE, write_new
    from pki.names import parse_authority_name
    from pki.profiles import AuthorityProfile
    from pki.starter import starter

    lifetime = AuthorityProfile().lifetime if days is None else lifetime_of(days)
    text = starter(parse_authority_name(name or DEFAULT_NAME), key or KeyType.P256, lifetime.days)
    path = Path(FILE)
    try:
        write_new(path, text.encode(), PUBLIC_FILE)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} is there already: `handclasp-pki apply` does what it says", path=path) from error
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}", path=path) from error
    say(f"wrote {path}")
    say_note("describe your names in it, then see `handclasp-pki apply --plan`")
