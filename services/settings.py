"""Settings: what the command line, the environment and the files say, frozen and validated before anything listens.

The same names everywhere: `--tls-policy`, `HANDCLASP_TLS_POLICY`, `tls_policy` in `handclasp.toml` or in the table
`[tool.handclasp]` of `pyproject.toml`. The first that speaks wins, in this order.
"""

from __future__ import annotations

import ssl
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pki.description import TABLES
from pki.durations import parse_duration
from pki.errors import UsageError
from services.admin.binding import check_bind
from services.logs import EngineLogger
from services.transport.admission import Admission, server_names
from services.transport.candidate import TrustRules
from services.transport.engine import Config
from services.transport.limits import Limits
from services.transport.passed import check_passed, is_passed
from services.transport.sockets import BACKLOG, Address, BindError
from services.transport.tls_policy import TLSPolicy

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

GREETER = "services.app:app"
FILES = ("handclasp.toml", "pyproject.toml")
"""Where settings are looked for in the working folder; the first is told before the second."""


class SettingsError(ValueError):
    """A setting is wrong; the message names it, its value and what is allowed."""

    exit_code = 2


def _unreadable_file() -> str:
    """Which of the files is not TOML: pydantic says where in it, and not in which."""
    for name in FILES:
        try:
            with Path(name).open("rb") as file:
                tomllib.load(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return name
    return "a settings file"


def _address(bind: str | None) -> str | None:
    if bind is not None:
        try:
            check_passed(bind) if is_passed(bind) else Address.parse(bind)
        except BindError as error:
            raise ValueError(str(error)) from None
    return bind


def _addresses(binds: tuple[str, ...]) -> tuple[str, ...]:
    for bind in binds:
        _address(bind)
    return binds


def _split(value: Any) -> Any:
    """An environment variable holds several addresses with commas between them."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    """`30s`, `5m` and `24h` as well as a number of seconds."""
    if isinstance(value, str) and value[-1:].isalpha():
        try:
            return parse_duration(value).total_seconds()
        except UsageError as error:
            raise ValueError(str(error)) from None
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    server_names(names)
    return names


class _OurHalf(TomlConfigSettingsSource):
    """`handclasp.toml` without what it says of the authority, which is `handclasp-pki apply`'s."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return {key: value for key, value in super()._read_file(file_path).items() if key not in TABLES}


class Settings(BaseSettings):
    """Everything that `handclasp-serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="HANDCLASP_",
        toml_file=FILES[0],
        pyproject_toml_table_header=("tool", "handclasp"),
        frozen=True,
        extra="forbid",
    )

    app: str = GREETER
    """The ASGI application, `module:attribute`."""
    credential: Path = Path("state/credentials/localhost")
    """The credential folder: tls.crt, tls.key, ca.crt."""
    bind: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_addresses)] = (
        "localhost:8443",
    )
    """Addresses to listen on, `HOST:PORT`; a name means all its addresses, IPv4 and IPv6. Sockets that were passed by
    systemd: `fd://3`, `fd://NAME`, `fd://` for all of them."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that share the sockets."""
    tls_policy: TLSPolicy = TLSPolicy.DEFAULT
    """TLS versions and suites: `default`, `modern` (1.3 alone), `intermediate` (what RSA keys need, too)."""
    json_logs: bool = False
    """Log JSON lines."""
    access_log: bool = True
    """Write a line a request."""
    handshake_timeout: Seconds = Field(10.0, gt=0, le=600)
    """Seconds from the TCP connection to the end of the TLS handshake."""
    keep_alive_timeout: Seconds = Field(60.0, gt=0)
    """Seconds that a connection without a request is kept open."""
    header_timeout: Seconds = Field(10.0, gt=0)
    """Seconds from the first byte of an HTTP/1.1 request's head to its last; then 408."""
    stall_timeout: Seconds = Field(60.0, gt=0)
    """Seconds that a client may take nothing of what is owed to it (a window of zero, a socket that is not read)."""
    graceful_timeout: Seconds = Field(30.0, ge=0)
    """Seconds that requests in flight have to end when the server stops."""
    drain_timeout: Seconds = Field(30.0, ge=0)
    """Seconds that requests in flight have to end on a connection that is drained."""
    crl: Literal["use-if-present", "require"] = "use-if-present"
    """Whether a client's authority must have a revocation list in the folder's `ca.crl`. One that is there counts."""
    recycle_after: Seconds | None = Field(None, gt=0)
    """Age from which connections are drained that met an earlier certificate of the server's. None: never."""
    policy: Path | None = None
    """The file that says who may do what. None: every caller may ask for everything."""
    authorizer: str | None = None
    """A function that is asked as well, `module:attribute`: of a Call it says whether."""
    admin_bind: str | None = None
    """Where probes and Prometheus ask, without TLS or a certificate: loopback, or `unix:PATH`. None: nowhere."""
    admin_public: bool = False
    """Let `admin_bind` be an address that other machines reach."""
    audit_log: str | None = None
    """A file for JSON lines of who came, who was refused and what changed; `-` is stderr."""
    state: Path | None = None
    """The authority's state folder, for the page of its inventory. None: the authority is not on this machine."""
    database: str | None = Field(None, repr=False)
    """The inventory's database, where it is not in the state folder: as `handclasp-pki` has it."""
    passphrase_file: Path | None = None
    """The passphrase of the authority's key, where it has one; else HANDCLASP_CA_PASSPHRASE."""
    enrollment: bool = False
    """Renew the certificates of callers, with the authority in `state`."""
    enroll_bind: Annotated[str | None, AfterValidator(_address)] = None
    """Where those enroll who have a one-time token and no certificate yet, `HOST:PORT`. None: nowhere."""
    enrollment_lifetime: Seconds | None = Field(None, ge=10)
    """Seconds that certificates live which are renewed or enrolled here. None: as the inventory has it."""
    enrollment_rate: int = Field(10, ge=1)
    """How often a caller may ask one process for a certificate in a minute; without one, an address."""
    traces: bool = False
    """Make a span of every request (OpenTelemetry); OTEL_* variables say where it goes."""
    server_names: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_hosts)] = ()
    """The host names that are served here: others are answered 421. None: all."""
    max_connections: int = Field(10_000, ge=1)
    """Connections of one process; those beyond are closed unheard."""
    max_connections_per_identity: int = Field(1_000, ge=1)
    """Connections of one caller with one process; those beyond get GOAWAY, or 503."""
    max_handshakes: int = Field(1_000, ge=1)
    """Handshakes under way at once: the oldest makes room."""
    max_streams: int = Field(100, ge=1, le=10_000)
    """Requests at once on an HTTP/2 connection; those beyond are refused (REFUSED_STREAM)."""
    max_header_fields: int = Field(100, ge=1)
    """Fields of one request; then 431."""
    max_header_bytes: int = Field(32_768, ge=1_024, le=1_048_576)
    """Bytes of one request's head; then 431, or GOAWAY over HTTP/2."""
    max_body: int | None = Field(None, ge=0)
    """Bytes of one request's body; then 413. None: as large as the application reads."""
    max_continuations: int = Field(32, ge=1, le=63)
    """CONTINUATION frames that the head of one HTTP/2 request may come in; then GOAWAY."""
    max_resets: int = Field(1_000, ge=1)
    """Streams of an HTTP/2 connection that may be reset at once, by either side; then GOAWAY."""
    resets_per_second: int = Field(33, ge=1)
    """How many more of them each second gives back."""
    max_control_frames: int = Field(1_000, ge=1)
    """PING, SETTINGS, PRIORITY, empty DATA and unknown frames at once, beyond one for each request and each frame of a
    response; then GOAWAY."""
    control_frames_per_second: int = Field(500, ge=1)
    """How many more of them each second gives back."""
    max_requests: int | None = Field(None, ge=1)
    """Requests after which a worker is replaced by a new one (each waits up to a tenth more). None: never."""

    @model_validator(mode="after")
    def _admin_stays_here(self) -> Self:
        if self.admin_bind is not None:
            try:
                check_bind(self.admin_bind, public=self.admin_public)
            except BindError as error:
                raise ValueError(f"admin_bind: {error}") from None
        return self

    @model_validator(mode="after")
    def _enrollment_has_an_authority(self) -> Self:
        if self.issues and self.state is None:
            raise ValueError("enrollment: it takes the authority's state folder: name it with --state DIR")
        return self

    @property
    def issues(self) -> bool:
        """Whether certificates are issued here: to callers, or to those who have a token."""
        return self.enrollment or self.enroll_bind is not None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            _OurHalf(settings_cls),
            PyprojectTomlConfigSettingsSource(settings_cls),
        )

    @classmethod
    def read(cls, **spoken: Any) -> Settings:
        """Read all sources; `spoken` is what the command line said.

        Raises:
            SettingsError: a value is not allowed, a key is not known, a file is not TOML.
        """
        try:
            return cls(**spoken)
        except ValidationError as error:
            first = error.errors()[0]
            name = "".join(f"{part}: " for part in first["loc"][:1])  # none for what several settings make together
            raise SettingsError(f"{name}{cls._words(first)}") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"{_unreadable_file()} cannot be read: {error}") from None

    @classmethod
    def _words(cls, error: ErrorDetails) -> str:
        if error["type"] == "extra_forbidden":
            return f"not a setting; there are {', '.join(cls.model_fields)}"
        if error["type"] == "value_error":
            return error["msg"].removeprefix("Value error, ")
        return f"{error['msg']} (got {error['input']!r})"

    def listener(self) -> Config:
        """Describe the listener in Hypercorn's words: what the transport's context and protocols are made from."""
        config = Config()
        config.application_path = self.app
        config.bind = list(self.bind)
        config.certfile = str(self.credential / "tls.crt")
        config.keyfile = str(self.credential / "tls.key")
        config.ca_certs = str(self.credential / "ca.crt")
        config.verify_mode = ssl.CERT_REQUIRED
        config.alpn_protocols = ["h2", "http/1.1"]
        config.workers = self.workers
        config.backlog = BACKLOG
        config.ssl_handshake_timeout = self.handshake_timeout
        config.keep_alive_timeout = self.keep_alive_timeout
        config.graceful_timeout = self.graceful_timeout
        config.h2_max_concurrent_streams = self.max_streams
        config.h2_max_header_list_size = self.max_header_bytes
        config.h11_max_incomplete_size = self.max_header_bytes
        config.include_server_header = False
        config.accesslog = "-" if self.access_log else None
        config.logger_class = EngineLogger
        return config

    def limits(self) -> Limits:
        """What connections are held to."""
        return Limits(
            max_connections=self.max_connections,
            max_connections_per_identity=self.max_connections_per_identity,
            max_handshakes=self.max_handshakes,
            header_timeout=self.header_timeout,
            stall_timeout=self.stall_timeout,
            drain_timeout=self.drain_timeout,
            max_resets=self.max_resets,
            resets_per_second=self.resets_per_second,
            max_control_frames=self.max_control_frames,
            control_frames_per_second=self.control_frames_per_second,
            max_continuations=self.max_continuations,
        )

    def admission(self) -> Admission:
        """What requests are held to."""
        return Admission(server_names(self.server_names), self.max_header_fields, self.max_body)

    def trust_rules(self) -> TrustRules:
        """What is asked of the credential folder."""
        recycle = None if self.recycle_after is None else timedelta(seconds=self.recycle_after)
        return TrustRules(
            self.tls_policy, require_crl=self.crl == "require", recycle_after=recycle, policy_file=self.policy
        )
