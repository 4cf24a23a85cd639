"""Settings: what the command line, the environment and the files say, frozen and validated before anything listens.

The same names everywhere: `--tls-policy`, `HANDCLASP_TLS_POLICY`, `tls_policy` in `handclasp.toml` or in the table
`[tool.handclasp]` of `pyproject.toml`. The first that speaks wins, in this order.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from services.logs import EngineLogger
from services.transport.context import TLSPolicy
from services.transport.engine import Config
from services.transport.sockets import BACKLOG, Address, BindError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

GREETER = "services.app:app"


class SettingsError(ValueError):
    """A setting is wrong; the message names it, its value and what is allowed."""

    exit_code = 2


def _addresses(binds: tuple[str, ...]) -> tuple[str, ...]:
    for bind in binds:
        try:
            Address.parse(bind)
        except BindError as error:
            raise ValueError(str(error)) from None
    return binds


def _split(value: Any) -> Any:
    """An environment variable holds several addresses with commas between them."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Everything that `handclasp-serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="HANDCLASP_",
        toml_file="handclasp.toml",
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
    """Addresses to listen on, `HOST:PORT`; a name means all its addresses, IPv4 and IPv6."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that share the sockets."""
    tls_policy: TLSPolicy = TLSPolicy.DEFAULT
    json_logs: bool = False
    access_log: bool = True
    """Write a line a request."""
    handshake_timeout: float = Field(10.0, gt=0, le=600)
    """Seconds from the TCP connection to the end of the TLS handshake."""
    keep_alive_timeout: float = Field(60.0, gt=0)
    """Seconds that a connection without a request is kept open."""
    graceful_timeout: float = Field(30.0, ge=0)
    """Seconds that requests in flight have to end when the server stops."""

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
            TomlConfigSettingsSource(settings_cls),
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
            name = ".".join(map(str, first["loc"][:1])) or "settings"
            raise SettingsError(f"{name}: {cls._words(first)}") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"a settings file cannot be read: {error}") from None

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
        config.keep_alive_max_requests = 2**31  # no request is lost to a count; shut_down() lowers it
        config.include_server_header = False
        config.accesslog = "-" if self.access_log else None
        config.logger_class = EngineLogger
        return config
