"""The pages as a person has them: with a certificate, in dark and light, by keyboard, with and without JavaScript."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from playwright.sync_api import Error, expect, sync_playwright

from tests.browser._chromium import chromium, home, selecting
from tests.support.issuer import SERVER, Issuer, client_context
from tests.support.server import ROOT, Server
from tests.support.trust import LOCALHOST
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Playwright, Request, Response

pytestmark = pytest.mark.slow

# The pictures in docs are made by this test: HANDCLASP_SCREENSHOTS=docs/screenshots uv run just test-slow tests/browser
_PICTURES = Path(os.environ.get("HANDCLASP_SCREENSHOTS", ROOT / "artifacts" / "screenshots"))

_POLICY = """
[[rule]]
path = "/authority/*"
allow = ["email:alice@example.com"]

[[rule]]
path = "/authority/*"
deny = ["*"]

[[rule]]
path = "/*"
allow = ["*"]
"""

expect.set_options(timeout=20_000)  # milliseconds; a browser on a machine that is busy

_HOSTILE = "<script>document.title='stolen'</script>"


@dataclass(frozen=True)
class House:
    """An authority, a server that shows it, and people."""

    folder: Path
    server: Server

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def pki(self, *words: str) -> None:
        command = [sys.executable, "-m", "pki", "--state", str(self.state), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    def url(self, path: str = "/") -> str:
        return f"https://localhost:{self.server.port}{path}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    state = folder / "state"
    (folder / "policy.toml").write_text(_POLICY, "utf-8")
    house = House(folder, None)  # type: ignore[arg-type]  # the server needs what is issued first
    house.pki("init")
    house.pki("issue", "server", "localhost", "--dns", "localhost", "--ip", "127.0.0.1", "--ip", "::1")
    house.pki("issue", "client", "alice", "--email", "alice@example.com", "--uri", "spiffe://example.com/people/alice")
    house.pki("issue", "client", "bob", "--email", "bob@example.com")
    for number, days in enumerate((1, 2, 3, 3, 5, 8, 8, 8, 13, 21), start=1):
        house.pki("issue", "client", f"worker{number}", "--dns", f"worker{number}.example.com", "--days", str(days))
    house.pki("revoke", "--name", "worker4", "--reason", "keyCompromise", "--yes")
    credentials = state / "credentials"
    server = Server(
        folder,
        credentials / "localhost",
        credentials / "alice",
        "services.app:app",
        ["--state", str(state), "--policy", str(folder / "policy.toml")],
    )
    try:
        yield House(folder, server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def selected() -> Iterator[None]:
    with selecting():
        yield


@pytest.fixture(scope="module")
def people(selected: None, house: House) -> dict[str, Path]:
    """A HOME for each of those who look."""
    credentials = house.state / "credentials"
    trust = credentials / "alice" / "ca.crt"
    foreign, twin = (
        Issuer(name).issue("mallory").save(house.folder / f"mallory of {name}")
        for name in ("Elsewhere", "Handclasp CA")
    )
    keys = {
        "alice": credentials / "alice",
        "bob": credentials / "bob",
        "a foreigner": foreign,
        "a twin": twin,
        "nobody": None,
    }
    return {name: home(house.folder / f"home-{name}", trust, key) for name, key in keys.items()}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """One for all: a second one would not start within the loop of the first."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def alice(playwright: Playwright, people: dict[str, Path]) -> Iterator[Browser]:
    with chromium(playwright, people["alice"]) as browser:
        yield browser


@contextmanager
def looking(browser: Browser, house: House, path: str, **context: object) -> Iterator[tuple[Page, Response]]:
    """A page that complains of nothing: no error in the console, no request that failed or went elsewhere."""
    complaints: list[str] = []
    with browser.new_context(**context) as tab:  # type: ignore[arg-type]
        page = tab.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(house.url()) else complaints.append(asked.url))
        page.on("requestfailed", lambda asked: _complain(complaints, asked))
        response = page.goto(house.url(path))
        assert response is not None
        yield page, response
        assert not complaints
        page.close()


def _complain(complaints: list[str], asked: Request) -> None:
    if not (asked.url.endswith("/authority/events") and asked.failure == "net::ERR_ABORTED"):  # the page was left
        complaints.append(f"{asked.url}: {asked.failure}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "path"), [("card", "/"), ("authority", "/authority")])
def test_pictures(alice: Browser, house: House, name: str, path: str, scheme: str) -> None:
    """Both pages, in both schemes: kept, for people to look at."""
    with looking(alice, house, path, color_scheme=scheme, viewport={"width": 1200, "height": 800}) as (page, response):
        assert response.status == 200
        expect(page.locator("h1")).to_be_visible()
        if name == "authority":
            expect(page.locator("#pulse")).to_contain_text("Live")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 245)"
        assert light is (scheme == "light")
        _PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=_PICTURES / f"{name}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("path", ["/", "/authority"])
def test_a_telephone_shows_all_of_it(alice: Browser, house: House, path: str) -> None:
    """Nothing is cut off or scrolled sideways; words keep their size."""
    with looking(alice, house, path, viewport={"width": 360, "height": 720}) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        wide = "[...document.querySelectorAll('.scroll, .card')].filter(at => at.scrollWidth > at.clientWidth).length"
        assert page.evaluate(wide) == 0
        tick = page.locator("svg text").first.bounding_box()
        assert tick is not None
        assert tick["height"] > 10


def test_the_card_says_who_is_connected_and_how(alice: Browser, house: House) -> None:
    with looking(alice, house, "/") as (page, response):
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        expect(page.locator("h1")).to_have_text("Hello alice@example.com!")
        names = page.locator(".names .name")
        expect(names).to_have_text(["alice@example.com", "spiffe://example.com/people/alice"])
        connection = page.locator("section", has=page.get_by_role("heading", name="This connection"))
        expect(connection).to_contain_text("HTTP/2")
        expect(connection).to_contain_text("TLSv1.3")
        expect(connection).to_contain_text("X25519MLKEM768")  # Chromium offers it
        expect(connection).to_contain_text("post-quantum: ")
        assert float((page.locator(".life .today").get_attribute("x") or "nan").removesuffix("%")) < 10  # just issued
        expect(page.locator(".life")).to_contain_text("today")


def test_the_authority_is_for_those_whom_the_policy_names(
    playwright: Playwright, house: House, people: dict[str, Path]
) -> None:
    with chromium(playwright, people["bob"]) as browser, browser.new_context() as tab:
        page = tab.new_page()
        response = page.goto(house.url("/"))
        assert response is not None
        assert response.status == 200
        for path in ("/authority", "/authority/events", "/authority/", "//authority", "/%61uthority"):
            response = page.goto(house.url(path))
            assert response is not None
            assert response.status == 403, path
            assert "worker" not in page.content()


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("nobody", "peer did not return a certificate"),
        ("a foreigner", "peer did not return a certificate"),  # Chromium is told whom we accept, and has none
        ("a twin", "unable to get local issuer certificate"),  # of an authority that has only the name of ours
    ],
)
def test_another_certificate_sees_nothing(
    playwright: Playwright, house: House, people: dict[str, Path], who: str, reason: str
) -> None:
    """Neither one of another authority nor none."""
    with chromium(playwright, people[who]) as browser, browser.new_context() as tab:
        page = tab.new_page()
        begun = house.server.log_end()
        with pytest.raises(Error, match=r"net::ERR_"):  # the alert comes when Chromium believes it is connected
            page.goto(house.url("/"))
        house.server.logged(reason, after=begun)
        assert "status=200" not in house.server.log(after=begun)


def test_the_inventory_is_searched_by_keyboard(alice: Browser, house: House) -> None:
    """The skip link is the first stop, the search is reached, and Enter searches."""
    with looking(alice, house, "/authority") as (page, _):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the content")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "q":
                break
        page.keyboard.type("worker1")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"\?q=worker1"))
        found = page.get_by_role("region", name="Certificates, the newest first")
        expect(found.locator("tbody th")).to_have_text(["worker10", "worker1"])
        expect(page.locator("#pulse")).to_contain_text("Live")


def test_it_is_read_without_javascript(alice: Browser, house: House) -> None:
    with looking(alice, house, "/authority?q=worker4", java_script_enabled=False) as (page, _):
        expect(page.locator("#pulse")).to_contain_text("Reload")
        expect(page.locator("#live")).to_contain_text("alice@example.com")
        expect(page.get_by_role("region", name="Revocations, the latest first")).to_contain_text("keyCompromise")
        expect(page.get_by_role("region", name="Certificates, the newest first")).to_contain_text("revoked")


def test_it_shows_what_happens_while_it_is_open(alice: Browser, house: House) -> None:
    """Who comes, who is refused, what is issued: without a reload."""
    with looking(alice, house, "/authority") as (page, _):
        expect(page.locator("#pulse")).to_contain_text("Live")
        present = page.get_by_role("region", name="Connections by identity")
        expect(present).not_to_contain_text("worker9")
        credentials = house.state / "credentials"
        context = client_context(credentials / "worker9", trust=credentials / "worker9" / "ca.crt")
        with Wire(house.server.port, context):
            expect(present).to_contain_text("worker9.example.com")
        expect(present).not_to_contain_text("worker9")
        house.pki("issue", "client", "carol", "--email", "carol@example.com")
        found = page.get_by_role("region", name="Certificates, the newest first")
        expect(found).to_contain_text("carol")
        house.pki("revoke", "--name", "carol", "--yes")
        expect(page.get_by_role("region", name="Revocations")).to_contain_text("carol")
        expect(page.locator("#pulse")).to_contain_text("Live")  # asked again: the trust has changed


def test_hostile_names_are_words_on_a_page(playwright: Playwright, selected: None, tmp_path: Path) -> None:
    """Whoever is trusted to issue may call itself anything, and who asks may search for anything."""
    issuer = Issuer(f"{_HOSTILE}\u202e")
    credential = issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,)).save(tmp_path / "server")
    long = x509.UniformResourceIdentifier(f"https://example.com/{'x' * 10_000}")
    eve = issuer.issue(_HOSTILE, san=(x509.RFC822Name("o'eve&@example.com"), long)).save(tmp_path / "eve")
    (tmp_path / "policy.toml").write_text('[[rule]]\npath = "/*"\nallow = ["*"]\n', "utf-8")
    server = Server(tmp_path, credential, eve, "services.app:app", ["--policy", str(tmp_path / "policy.toml")])
    house = House(tmp_path, server)
    in_a_name = _HOSTILE.replace("<", r"\<").replace(">", r"\>") + r"\u202e"  # RFC 4514, and no change of direction
    try:
        with chromium(playwright, home(tmp_path / "home", eve / "ca.crt", eve)) as browser:
            with looking(browser, house, "/") as (page, _):
                expect(page.locator("h1")).to_have_text("Hello o'eve&@example.com!")
                expect(page.locator("dl").first).to_contain_text(f"CN={in_a_name}")
                assert len(page.content()) < 10_000
            with looking(browser, house, f"/authority?q={_HOSTILE}") as (page, _):
                expect(page.get_by_role("region", name="What is in force")).to_contain_text(in_a_name)
                expect(page.locator("#q")).to_have_value(_HOSTILE)
                expect(page.locator("#pulse")).to_contain_text("Live")
                assert "stolen" not in page.title()
    finally:
        server.stop()
