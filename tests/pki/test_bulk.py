"""`issue --from people.csv`: checked as a whole, issued by the hundred, continued where it was cut off."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki import bulk
from pki.bulk import Bulk, Line
from pki.credential import Credential, load_folder
from pki.errors import AlreadyExists, UsageError
from pki.identity import Identity
from pki.issuing import Request
from pki.keys import KeyType
from pki.names import Names
from pki.people import load_people, parse_people
from pki.profiles import ClientProfile, PeerProfile, ServerProfile

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.lifecycle import Lifecycle

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIKE = Request(ClientProfile(), Names(""))


def people(text: str, like: Request = LIKE) -> list[Line]:
    return parse_people(text.splitlines(keepends=True), "people.csv", like, now=NOW)


def lines(count: int, *, start: int = 0, days: int | None = None) -> list[Line]:
    numbers = range(start, start + count)
    return [
        Line(number + 2, Request(ClientProfile(), Names.parse(f"n{number}", emails=[f"n{number}@x.io"]), days))
        for number in numbers
    ]


def test_what_a_file_says() -> None:
    """Columns in any order and case, several values with semicolons, blanks and empty lines ignored, quotes too."""
    found = people(
        "Email , name,days,URI,dns\n"
        "alice@Example.com; a@x.io ,alice,3,,\n"
        "\n"
        ',bob,,"https://x.io/?a=1,2",bob.example\n'
        ",carl,,,c.example;c2.example\n",
        Request(ClientProfile(), Names(""), 9, KeyType.ED25519),
    )
    assert [line.number for line in found] == [2, 4, 5]
    alice, bob, carl = (line.request for line in found)
    assert alice.names == Names("alice", ("alice@example.com", "a@x.io"))
    assert (alice.days, alice.key, bob.days) == (3, KeyType.ED25519, 9)
    assert bob.names == Names("bob", (), ("https://x.io/?a=1,2",), ("bob.example",))
    assert carl.names.dns_names == ("c.example", "c2.example")
    server = people("name,dns,ip\nweb,w.example,::1;10.0.0.1\nhost.example,,\n", Request(ServerProfile(), Names("")))
    assert server[0].request.names.ip_addresses == ("::1", "10.0.0.1")
    assert server[1].request.names.dns_names == ("host.example",)
    peer = people("name,email,ip\np,p@x.io,::1\n", Request(PeerProfile(), Names("")))
    assert peer[0].request.names == Names("p", ("p@x.io",), (), (), ("::1",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: a header"),
        ("name,days\nalice,3\n", "line 1: a header"),
        ("email\na@x.io\n", "line 1: a header"),
        ("name,email,phone\n", "line 1: the column 'phone'"),
        ("name,email,email\n", "line 1: a column is there twice"),
        ("name,email\n", "names nobody"),
        ("name,email\nalice,a@x.io\nbob\n", "line 3: 1 cells, and the header has 2"),
        ("name,email\nalice,\n", "line 2: a client needs a name"),
        ("name,email\nalice,a@x.io\n../x,b@x.io\n", "line 3: '../x' cannot be the name"),
        ("name,email\nalice,a@\n", "line 2: 'a@'"),
        ("name,email\nalice,a@x.io\n\nalice,b@x.io\n", "line 4: alice is in line 2 already"),
        ("name,email,days\nalice,a@x.io,0\n", "line 2: a lifetime of 0 days"),
        ("name,email,days\nalice,a@x.io,soon\n", "line 2: 'soon' is no number of days"),
        ("name,email,days\nalice,a@x.io,9999999\n", "line 2: certificates end in the year 9999"),
        ("name,email,ip\nalice,a@x.io,::1\n", "line 2: a client has no ip"),
        ('name,email\n"alice,a@x.io\n', "line "),
        ("name,email\nalice,a\0@x.io\n", "line 2: "),
        ("name,email\n" + "x,\n" * 9, "; and 4 more"),
    ],
)
def test_a_fault_is_named_by_its_line(text: str, reason: str) -> None:
    """One line with all of them, or the first few."""
    with pytest.raises(UsageError) as caught:
        people(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("people.csv")
    assert "\n" not in str(caught.value)


def test_files_as_spreadsheets_write_them(tmp_path: Path) -> None:
    """A byte order mark and CRLF are no part of it; another encoding is said to be one."""
    file = tmp_path / "people.csv"
    file.write_bytes(b"\xef\xbb\xbfname,email\r\nalice,a@x.io\r\n")
    assert [line.request.names.name for line in load_people(file, LIKE, now=NOW)] == ["alice"]
    file.write_bytes(b"name,email\nalice,\xe9@x.io\n")
    with pytest.raises(UsageError, match="UTF-8"):
        load_people(file, LIKE, now=NOW)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000, 0o777])
def test_all_are_issued(umask: int, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with a key, a certificate and a bundle that load, known to the inventory; modes are as of a single one."""
    monkeypatch.setattr(bulk, "BATCH", 7)
    told: list[int] = []
    (lifecycle.state.folder / "credentials").mkdir()
    before = os.umask(umask)
    try:
        done = lifecycle.issue_many(lines(20), now=NOW, advance=told.append)
    finally:
        os.umask(before)
    assert done == Bulk(issued=20, kept=0, lapsed=0, clamped=0)
    assert told == [0, 7, 7, 6]
    keys = set()
    for entry in lifecycle.entries(now=NOW):
        assert (entry.standing, entry.current) == ("valid", True)
        assert entry.folder is not None
        credential, trust = load_folder(entry.folder)
        keys.add(credential.key_pem())
        assert Identity.from_certificate(credential.leaf).name == f"{entry.certificate.names.name}@x.io"
        assert trust == lifecycle.trust()
        modes = [stat.S_IMODE((entry.folder / name).stat().st_mode) for name in ("", "..data", "tls.key", "tls.crt")]
        assert modes == [0o700, 0o700, 0o600, 0o644]
    assert len(keys) == 20


def test_one_of_many_is_like_any_other(lifecycle: Lifecycle) -> None:
    """Rotating one, with its shared links and bundle, leaves the others as they are."""
    lifecycle.issue_many(lines(3), now=NOW)
    folder = lifecycle.state.folder / "credentials"
    before = load_folder(folder / "n1")
    lifecycle.rotate(["n0"], now=NOW)
    (folder / "n2" / "ca.crt").unlink()
    assert load_folder(folder / "n1") == before
    assert Credential.load(folder / "n0").leaf != before[0].leaf


def test_a_second_run_continues(lifecycle: Lifecycle) -> None:
    """Those that are whole are kept; one that was recorded and not written, or torn, is made anew."""
    lifecycle.issue_many(lines(6), now=NOW)
    folder = lifecycle.state.folder / "credentials"
    kept = {name: Credential.load(folder / name).leaf for name in ("n0", "n1")}
    shutil.rmtree(folder / "n2")
    (folder / "n3" / "tls.crt").resolve().write_bytes(b"")
    (folder / "n4" / "tls.key").resolve().write_bytes(b"-----BEGIN PRI")
    (folder / "n5" / "..data").unlink()
    assert lifecycle.issue_many(lines(8), now=NOW) == Bulk(issued=6, kept=2, lapsed=0, clamped=0)
    for number in range(8):
        credential, _ = load_folder(folder / f"n{number}")
        assert credential.leaf == kept.get(f"n{number}", credential.leaf)
    assert lifecycle.issue_many(lines(8), now=NOW) == Bulk(issued=0, kept=8, lapsed=0, clamped=0)
    assert {entry.standing for entry in lifecycle.entries(now=NOW) if entry.current} == {"valid"}


def test_who_has_lapsed_is_kept_and_counted(lifecycle: Lifecycle) -> None:
    """A revoked one does not come back by a file, also when its folder is gone; one that has ended stays as it is."""
    lifecycle.issue_many(lines(2), now=NOW)
    lifecycle.issue_many(lines(1, start=2, days=1), now=NOW)
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        row = work.names.get("n0")
        assert row is not None
        work.revocations.set_revoked(row.serial, "keyCompromise", NOW)
    shutil.rmtree(lifecycle.state.folder / "credentials" / "n0")
    later = NOW + timedelta(days=2)
    assert lifecycle.issue_many(lines(3), now=later) == Bulk(issued=0, kept=3, lapsed=2, clamped=0)


def test_another_identity_is_named_by_line(lifecycle: Lifecycle) -> None:
    """Of a name that is there, or a folder that is taken: before the first is issued, and nothing is."""
    lifecycle.issue_many(lines(2), now=NOW)
    shutil.copytree(
        lifecycle.state.folder / "credentials" / "n0", lifecycle.state.folder / "credentials" / "x", symlinks=True
    )
    asked = [
        *lines(1, start=5),
        Line(8, Request(ClientProfile(), Names.parse("n1", emails=["other@x.io"]))),
        Line(9, Request(ServerProfile(), Names.parse("n0", dns_names=["n0.example"]))),
        Line(10, Request(ClientProfile(), Names.parse("x", emails=["x@x.io"]))),
    ]
    before = lifecycle.entries(now=NOW)
    with pytest.raises(AlreadyExists) as caught:
        lifecycle.issue_many(asked, now=NOW)
    for part in ("line 8: n1 has been issued as client n1@x.io", "line 9: n0 ", "line 10: ", "credentials/x"):
        assert part in str(caught.value)
    assert lifecycle.entries(now=NOW) == before


def test_the_command(run: Callable[..., tuple[int, str, str]], fails: Callable[..., str], tmp_path: Path) -> None:
    """Clients, servers and peers; what is wrong is one line, and nothing is issued."""
    Path("people.csv").write_text("name,email,days\nalice,a@x.io,3\nbob,b@x.io,\n")
    run("init", "--days", "5")
    code, out, err = run("issue", "client", "--from", "people.csv")
    assert (code, out) == (0, "issued 2 client credentials, in state/credentials\n")
    assert err == "handclasp-pki: note: 1 of them end earlier than asked for, with their authority\n"
    assert run("issue", "client", "--from", "people.csv")[1] == (
        "issued 0 client credentials, kept 2, in state/credentials\n"
    )
    Path("hosts.csv").write_text("name,dns,ip\nw1,w1.example,\nw2,,::1\n")
    assert run("issue", "server", "--from", "hosts.csv", "--days", "2", "--key", "ed25519")[0] == 0
    fails(2, "issue", "peer", "--from", "hosts.csv")
    Path("peers.csv").write_text("name,email,dns\nalice,a@x.io,a.example\n")
    assert "line 2: alice has been issued as client" in fails(1, "issue", "peer", "--from", "peers.csv")
    Path("bad.csv").write_text("name,email\ncarl,c@x.io\ndora,d@\n")
    assert "bad.csv: line 3: 'd@'" in fails(2, "issue", "client", "--from", "bad.csv")
    assert "carl" not in run("list")[1]
    fails(1, "issue", "client", "--from", "nowhere.csv")
    fails(1, "issue", "client", "--from", ".")
    for words in ("alice", "--email a@x.io", "--ensure", "--out x", "--again"):
        assert "--from" in fails(2, "issue", "client", *words.split(), "--from", "people.csv")
