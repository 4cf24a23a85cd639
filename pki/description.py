"""`handclasp.toml`: the authority, the names, their profiles and their lifetimes, as they shall be.

  [authority]
  name = "Example CA"

  [profiles.client]
  days = 7

  [names.alice]
  profile = "client"
  email = "alice@example.com"

The same file holds the settings of `handclasp-serve`, which reads all but these tables. What neither of the two knows
is refused here. Paths in the file are relative to the file, and so is the state folder where nothing else names one: it
is the same whatever folder a timer runs in.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pki.authority import lifetime_of
from pki.errors import InvalidName, UsageError
from pki.issuing import Request
from pki.keys import KeyType
from pki.names import Names, parse_authority_name
from pki.profiles import LEAF_PROFILES
from pki.toml_lines import line_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pki.profiles import Profile

FILE = "handclasp.toml"
DEFAULT_NAME = "Handclasp CA"
TABLES = ("authority", "profiles", "names")
"""What in the file is not the server's."""
SERVER_SETTINGS = frozenset({
    "access_log", "admin_bind", "admin_public", "app", "audit_log", "authorizer", "bind",
    "control_frames_per_second", "credential", "crl", "database", "drain_timeout", "enroll_bind", "enrollment",
    "enrollment_lifetime", "enrollment_rate", "graceful_timeout", "handshake_timeout", "header_timeout",
    "json_logs", "keep_alive_timeout", "max_body", "max_connections", "max_connections_per_identity",
    "max_continuations", "max_control_frames", "max_handshakes", "max_header_bytes", "max_header_fields",
    "max_requests", "max_resets", "max_streams", "passphrase_file", "policy", "recycle_after", "resets_per_second",
    "server_names", "stall_timeout", "state", "tls_policy", "traces", "workers"
})  # fmt: skip
"""The settings of `handclasp-serve`, as a test holds them to be: `pki` does not import it."""

_SANS = {"email": "emails", "uri": "uris", "dns": "dns_names", "ip": "ip_addresses"}
_LIKE = ("key", "days")
_NAME_KEYS = ("profile", *_SANS, *_LIKE, "out")
# As `issue` has it: who connects is not named by an address, and what is connected to is a host.
_UNUSED = {"server": ("email", "uri"), "client": ("ip",), "peer": ()}


class DescriptionError(UsageError):
    """The file does not describe an authority; the message names the file, the line and the key."""


@dataclass(frozen=True, slots=True)
class Founder:
    """What an authority shall be that is made from this file. `days`: None is the default."""

    name: str = DEFAULT_NAME
    key: KeyType = KeyType.P256
    days: int | None = None
    intermediate: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """A whole file, checked. Each of `names` has its key type, its life in days and its complete names."""

    path: Path
    authority: Founder
    names: tuple[Request, ...]
    state: Path
    database: str | None
    passphrase_file: Path | None

    @classmethod
    def load(cls, path: Path) -> Description:
        """Read a file. Raises DescriptionError for whatever is wrong with any part of it."""
        try:
            text = path.read_text(encoding="utf-8")
            return _Reader(path, text).description(tomllib.loads(text))
        except FileNotFoundError as error:
            raise DescriptionError(f"{path} is not there: begin with one by `handclasp-pki init --toml`") from error
        except OSError as error:
            raise DescriptionError(f"{path} cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise DescriptionError(f"{path} is not TOML: {error}") from error


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    text: str

    def description(self, given: dict[str, Any]) -> Description:
        for key, value in given.items():
            if key not in TABLES and key not in SERVER_SETTINGS:
                raise self.wrong((key,), f"not known; there are {_listed(TABLES)}, and the settings of handclasp-serve")
            if key in TABLES and not isinstance(value, dict):
                raise self.wrong((key,), f"it is a table: write [{key}]")
        likes = self.table(("profiles",), given.get("profiles", {}), tuple(LEAF_PROFILES))
        for label, table in likes.items():
            self.table(("profiles", label), table, _LIKE)
            self.days(table, ("profiles", label))
            self.key(table, ("profiles", label))
        names = given.get("names", {})
        requests = tuple(self.name(name, table, likes) for name, table in names.items())
        self.check_folders(requests)
        return Description(
            path=self.path,
            authority=self.authority(given.get("authority", {})),
            names=requests,
            state=self.path.parent / (self.text_of(given, (), "state") or "state"),
            database=self.text_of(given, (), "database"),
            passphrase_file=self.file_of(given, (), "passphrase_file"),
        )

    def authority(self, given: dict[str, Any]) -> Founder:
        where = ("authority",)
        self.table(where, given, ("name", "key", "days", "intermediate"))
        intermediate = given.get("intermediate", False)
        if not isinstance(intermediate, bool):
            raise self.wrong((*where, "intermediate"), "it is true or false")
        name = self.text_of(given, where, "name") or DEFAULT_NAME
        try:
            parse_authority_name(name)
        except InvalidName as error:
            raise self.wrong((*where, "name"), str(error)) from None
        return Founder(name, self.key(given, where) or KeyType.P256, self.days(given, where), intermediate)

    def name(self, name: str, given: Any, likes: dict[str, Any]) -> Request:
        where = ("names", name)
        table = self.table(where, given, _NAME_KEYS)
        label = self.text_of(table, where, "profile")
        if label is None:
            raise self.wrong(
                where, f'it has no profile: write profile = "client", or another of {_listed(LEAF_PROFILES)}'
            )
        if label not in LEAF_PROFILES:
            raise self.wrong((*where, "profile"), f"{label!a} is no profile; there are {_listed(LEAF_PROFILES)}")
        for key in _UNUSED[label]:
            if key in table:
                raise self.wrong((*where, key), f"it has no place in the certificate of a {label}")
        like, like_where, profile = likes.get(label, {}), ("profiles", label), LEAF_PROFILES[label]
        return Request(
            profile,
            self.completed(profile, name, table, where),
            self.days(table, where) or self.days(like, like_where) or profile.lifetime.days,
            self.key(table, where) or self.key(like, like_where) or KeyType.P256,
            self.file_of(table, where, "out"),
        )

    def completed(self, profile: Profile, name: str, table: dict[str, Any], where: tuple[str, ...]) -> Names:
        try:
            said = {field: self.texts(table, where, key) for key, field in _SANS.items()}
            return profile.completed(Names.parse(name, **said))
        except InvalidName as error:
            # The words are the command line's; here they are keys.
            raise self.wrong(where, str(error).replace("--", "")) from None

    def check_folders(self, requests: Iterable[Request]) -> None:
        taken: dict[Path, str] = {}
        for request in requests:
            if request.out is None:
                continue
            other = taken.setdefault(request.out.absolute(), request.names.name)
            if other != request.names.name:
                raise self.wrong(("names", request.names.name, "out"), f"it is the folder of {other} already")

    def table(self, where: tuple[str, ...], given: Any, known: Iterable[str]) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self.wrong(where, f"it is a table: write [{'.'.join(where)}]")
        for key, value in given.items():
            if key not in known:
                quoted = isinstance(value, dict) and where[0] == "names"
                cure = f'; a name with a dot in it is quoted: [names."{".".join((*where[1:], key))}"]' if quoted else ""
                raise self.wrong((*where, key), f"not known; there are {_listed(known)}{cure}")
        return given

    def text_of(self, table: dict[str, Any], where: tuple[str, ...], key: str) -> str | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.wrong((*where, key), "it is a text that is not empty")
        return value

    def texts(self, table: dict[str, Any], where: tuple[str, ...], key: str) -> list[str]:
        value = table.get(key, [])
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.wrong((*where, key), "it is a text, or several: [..., ...]")
        return value

    def days(self, table: dict[str, Any], where: tuple[str, ...]) -> int | None:
        value = table.get("days")
        if value is None:
            return None
        if type(value) is not int:
            raise self.wrong((*where, "days"), "it is a whole number of days, without quotes")
        try:
            lifetime_of(value)
        except UsageError as error:
            raise self.wrong(
                (*where, "days"), str(error).replace("pass --days", "pass").replace("--days", "days")
            ) from None
        return value

    def key(self, table: dict[str, Any], where: tuple[str, ...]) -> KeyType | None:
        value = table.get("key")
        try:
            return None if value is None else KeyType(value)
        except ValueError:
            raise self.wrong((*where, "key"), f"{value!a} is no key type; there are {_listed(KeyType)}") from None

    def file_of(self, table: dict[str, Any], where: tuple[str, ...], key: str) -> Path | None:
        text = self.text_of(table, where, key)
        return None if text is None else self.path.parent / text

    def wrong(self, key: tuple[str, ...], why: str) -> DescriptionError:
        written = ".".join(part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in key)
        return DescriptionError(f"{self.path}:{line_of(self.text, key)}: {written}: {why}")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
