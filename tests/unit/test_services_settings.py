"""Settings come from four places, and a wrong one is named before anything listens."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from services.settings import Settings, SettingsError
from services.transport.tls_policy import TLSPolicy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_safe_and_local() -> None:
    settings = Settings.read()
    assert settings.bind == ("localhost:8443",)
    assert settings.tls_policy is TLSPolicy.DEFAULT
    assert settings.handshake_timeout == 10
    assert settings.listener().verify_mode is ssl.CERT_REQUIRED


def test_the_first_that_speaks_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, then the environment, then handclasp.toml, then pyproject.toml."""
    (here / "pyproject.toml").write_text("[tool.handclasp]\nworkers = 5\nkeep_alive_timeout = 5\n")
    assert Settings.read().workers == 5
    (here / "handclasp.toml").write_text("workers = 4\n")
    assert Settings.read().workers == 4
    monkeypatch.setenv("HANDCLASP_WORKERS", "3")
    assert Settings.read().workers == 3
    assert Settings.read(workers=2).workers == 2
    assert Settings.read().keep_alive_timeout == 5


def test_addresses_in_the_environment_have_commas_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDCLASP_BIND", "127.0.0.1:1, [::1]:2")
    assert Settings.read().bind == ("127.0.0.1:1", "[::1]:2")


def test_other_variables_of_the_family_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDCLASP_STATE", "elsewhere")
    assert Settings.read().workers == 1


@pytest.mark.parametrize(
    ("spoken", "words"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": "many"}, "workers"),
        ({"bind": ("8443",)}, "HOST:PORT"),
        ({"bind": ("localhost:99999",)}, "HOST:PORT"),
        ({"tls_policy": "old"}, "'default', 'modern' or 'intermediate'"),
        ({"handshake_timeout": -1}, "handshake_timeout"),
        ({"stall_timeout": float("inf")}, "stall_timeout"),
        ({"max_continuations": 64}, "max_continuations"),
        *(
            ({"server_names": (name,)}, "is no host name")
            for name in (
                "https://shop.example.com",
                "*.example.com",
                "a..b",
                "ü..x",
                "",
                " ",
                "a b",
                "[::1",
                "[1::2::3]",
                "x@y",
                "a/b",
            )
        ),
        ({"colour": "red"}, "colour: not a setting"),
    ],
)
def test_a_wrong_setting_is_named(spoken: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as raised:
        Settings.read(**spoken)
    assert raised.value.exit_code == 2


def test_the_names_that_are_served() -> None:
    """As a Host field is compared: lower case, A-labels, without a port or the root's dot."""
    names = ("Shop.Example.com.", "münchen.example", "localhost:8443", "[::1]:1", "127.0.0.1", " padded.example ")
    expected = {b"shop.example.com", b"xn--mnchen-3ya.example", b"localhost", b"[::1]", b"127.0.0.1", b"padded.example"}
    assert Settings.read(server_names=names).admission().server_names == expected


@pytest.mark.parametrize("name", ["handclasp.toml", "pyproject.toml"])
def test_a_file_that_is_no_toml_is_named(here: Path, name: str) -> None:
    (here / name).write_text("workers = [")
    with pytest.raises(SettingsError, match=f"{name} cannot be read: "):
        Settings.read()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings.read().workers = 9  # type: ignore[misc]
