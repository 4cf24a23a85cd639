"""`handclasp-pki apply`: handclasp.toml says what shall be, and that is what is there afterwards, on both databases."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki import applying, planning
from pki.authority_files import load_authority_certificate
from pki.credential import load_folder
from pki.crl_signing import Reason
from pki.description import SERVER_SETTINGS, TABLES, Description, DescriptionError
from pki.errors import CorruptState
from pki.identity import Identity
from pki.toml_lines import line_of
from services.settings import Settings, SettingsError
from tests.pki.conftest import NOW
from tests.support.terminal import Terminal
from tests.support.tools import ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.applying import Applied
    from pki.lifecycle import Lifecycle
    from pki.planning import Plan

    Run = Callable[..., tuple[int, str, str]]

TEAM = """\
[authority]
name = "An authority"

[profiles.client]
days = 5

[names.web]
profile = "server"
dns = ["web.example.com", "WWW.example.com"]
ip = "10.0.0.7"

[names.alice]
profile = "client"
email = "alice@example.com"
key = "p384"

[names."billing.internal"]
profile = "peer"
uri = "spiffe://example.com/billing"
days = 2
"""
BOB = '\n[names.bob]\nprofile = "client"\nemail = "bob@example.com"\n'


class Team:
    """An authority that follows a file."""

    def __init__(self, lifecycle: Lifecycle, folder: Path) -> None:
        self.lifecycle, self.file = lifecycle, folder / "handclasp.toml"

    def plan(self, text: str = TEAM, after: timedelta = timedelta(), *, prune: bool = False) -> Plan:
        if not self.file.exists() or self.file.read_text() != text:
            self.file.write_text(text)
        description = Description.load(self.file)
        return planning.plan(self.lifecycle, description, now=NOW + after, prune=prune)

    def apply(self, text: str = TEAM, after: timedelta = timedelta(), *, prune: bool = False) -> Applied:
        found = self.plan(text, after, prune=prune)
        return applying.apply(self.lifecycle, Description.load(self.file), found, now=NOW + after)

    def states(self, after: timedelta = timedelta()) -> dict[str, list[str]]:
        """Of each name how its certificates stand, the newest first."""
        found: dict[str, list[str]] = {}
        for entry in self.lifecycle.entries(now=NOW + after):
            found.setdefault(entry.certificate.names.name, []).append(entry.standing)
        return found


@pytest.fixture
def team(lifecycle: Lifecycle, tmp_path: Path) -> Team:
    return Team(lifecycle, tmp_path)


def words(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(step.kind, step.name, step.why) for step in plan.steps]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in a folder, with when it was written."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".db-shm", ".db-wal"))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_it_becomes_as_described(team: Team, tmp_path: Path) -> None:
    """Profiles, names, lifetimes and key types, as the file has them; and then there is nothing to do, or to write."""
    assert [step[:2] for step in words(team.plan())] == [
        ("create", "web"),
        ("create", "alice"),
        ("create", "billing.internal"),
    ]
    done = team.apply()
    assert [outcome.action for outcome in done.outcomes] == ["issued"] * 3
    assert done.refused == ()
    alice = load_folder(tmp_path / "state/credentials/alice")[0].leaf
    assert Identity.from_certificate(alice).name == "alice@example.com"
    assert alice.not_valid_after_utc == NOW + timedelta(days=5)
    assert alice.public_key().key_size == 384  # type: ignore[union-attr]
    web = load_folder(tmp_path / "state/credentials/web")[0].leaf
    assert Identity.from_certificate(web).dns_names == ("web.example.com", "www.example.com")
    assert web.not_valid_after_utc == NOW + timedelta(days=30)
    before = files(tmp_path)
    assert team.plan().empty
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("was", "shall", "why"),
    [
        ('"web.example.com", ', '"web.example.com", "b.example.com", ', "dns +b.example.com"),
        ('ip = "10.0.0.7"', 'ip = "10.0.0.8"', "ip +10.0.0.8 -10.0.0.7"),
        ("days = 2", "days = 3", "days 2 -> 3"),
        ("days = 5", "days = 6", "days 5 -> 6"),
        ('key = "p384"', 'key = "ed25519"', "key p384 -> ed25519"),
        ('key = "p384"', 'out = "elsewhere"', "key p384 -> p256; folder credentials/alice -> {there}/elsewhere"),
        ('profile = "client"\nemail', 'profile = "peer"\ndns = "a.x"\nemail',
         "profile client -> peer; days 5 -> 30; dns +a.x"),
        ('"web.example.com", "WWW.example.com"', '"www.example.com", "web.example.com"',
         "dns in the order www.example.com web.example.com"),
    ],
)  # fmt: skip
def test_what_is_otherwise_is_issued_again(team: Team, tmp_path: Path, was: str, shall: str, why: str) -> None:
    """One change in the file is one step, which says what; nothing else is touched."""
    team.apply()
    before = files(tmp_path / "state/credentials")
    changed = TEAM.replace(was, shall)
    ((kind, name, said),) = words(team.plan(changed))
    assert (kind, "; ".join(said)) == ("change", why.format(there=tmp_path))
    (outcome,) = team.apply(changed).outcomes
    assert (outcome.action, outcome.record.names.name) == ("rotated", name)
    assert team.plan(changed).empty
    after = files(tmp_path / "state/credentials")
    assert {path for path in before if after.get(path) != before[path] and f"/{name}/" not in path} == set()


def test_what_is_due_is_renewed(team: Team) -> None:
    """Each when two thirds of its own life are over; what has ended is made anew."""
    team.apply()
    assert team.plan(after=timedelta(days=1)).empty
    ((kind, name, _),) = words(team.plan(after=timedelta(days=1, hours=9)))
    assert (kind, name) == ("renew", "billing.internal")
    (outcome,) = team.apply(after=timedelta(days=1, hours=9)).outcomes
    assert outcome.action == "renewed"
    later = timedelta(days=6)
    assert [step[:2] for step in words(team.plan(after=later))] == [("change", "alice"), ("change", "billing.internal")]
    team.apply(after=later)
    assert team.plan(after=later).empty


def test_a_folder_that_was_damaged_is_mended(team: Team, tmp_path: Path) -> None:
    team.apply()
    folder = tmp_path / "state/credentials"
    for path in (folder / "web").iterdir():
        if path.name == "tls.crt":
            path.unlink()
            path.write_text("nonsense")
    (folder / "alice").rename(folder / "away")
    kinds = [(kind, name) for kind, name, _ in words(team.plan())]
    assert kinds == [("change", "web"), ("change", "alice")]
    team.apply()
    assert team.plan().empty
    load_folder(folder / "web")
    load_folder(folder / "alice")


def test_who_is_not_described_is_revoked_if_that_is_asked_for(team: Team) -> None:
    """Never without --prune; then with all certificates that count, and once."""
    team.apply(TEAM + BOB)
    found = team.plan()
    assert (found.empty, found.undescribed) == (True, ("bob",))
    team.apply()
    assert team.states()["bob"] == ["valid"]
    ((kind, name, why),) = words(team.plan(prune=True))
    assert (kind, name, why) == ("revoke", "bob", ("is not described",))
    done = team.apply(prune=True)
    assert [row.names.name for row in done.revoked] == ["bob"]
    assert done.published is not None
    assert team.states()["bob"] == ["revoked"]
    assert team.plan(prune=True).empty
    # Who was revoked does not come back because a file says so.
    found = team.plan(TEAM + BOB)
    assert found.empty
    ((name, said),) = found.refused
    assert name == "bob"
    assert "--again" in said


def test_lists_are_published_in_time(team: Team) -> None:
    """Once there are any: a timer that applies is enough."""
    team.apply()
    assert not team.plan(after=timedelta(days=1)).lists
    rows = team.lifecycle.revocable(now=NOW, name="alice")
    team.lifecycle.revoke(rows, Reason.SUPERSEDED, now=NOW)
    without = TEAM.replace("[names.alice]", "[names.alicia]")
    team.apply(without)
    assert not team.plan(without).lists
    later = timedelta(hours=13)
    assert team.plan(without, later).lists
    assert team.apply(without, later).published is not None
    assert not team.plan(without, later).lists


def test_an_authority_is_not_replaced_by_a_word_in_a_file(team: Team, tmp_path: Path) -> None:
    """It is said how that is done; the names are looked after all the same. One that is lost is made by nobody."""
    text = TEAM.replace("An authority", "Another")
    found = team.plan(text)
    assert "rotate-ca stage --name 'Another'" in found.notes[0]
    assert found.authority is None
    assert len(team.apply(text).outcomes) == 3
    if team.lifecycle.database is None:
        (tmp_path / "state/authority").rename(tmp_path / "lost")
        with pytest.raises(CorruptState):
            team.plan()


def test_a_name_that_fails_keeps_no_other_back(team: Team, tmp_path: Path) -> None:
    team.apply(TEAM)
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    text = TEAM + BOB + 'out = "blocked/bob"\n' + BOB.replace("bob", "carol")
    found = team.plan(text)
    done = applying.apply(team.lifecycle, Description.load(team.file), found, now=NOW)
    refused = [name for name, _ in found.refused] + [one.name for one in done.refused]
    assert refused == ["bob"]
    assert [outcome.record.names.name for outcome in done.outcomes] == ["carol"]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("state", "state is the state folder's own"),
        ("state/credentials", "state/credentials is the state folder's own"),
        ("state/authority", "state/authority is the state folder's own"),
        ("state/authority-2/x", "state/authority-2/x is the state folder's own"),
        ("state/credentials/web", "state/credentials/web is the folder of web already"),
        ("file/bob", "file is no folder"),
    ],
)
def test_a_folder_that_is_for_something_else(team: Team, tmp_path: Path, out: str, said: str) -> None:
    """It is refused when it is planned, before there is an authority and after: nothing is issued for it, ever."""
    (tmp_path / "file").write_text("no folder")
    text = TEAM + BOB + f'out = "{out}"\n'
    for _ in range(2):
        found = team.plan(text)
        assert [name for name, _ in found.refused] == ["bob"]
        assert said in found.refused[0][1]
        team.apply(text)
    assert "bob" not in team.states()
    assert team.states()["web"] == ["valid"]


def test_only_what_was_shown_is_done(team: Team) -> None:
    """What falls due between the plan and the word yes waits for the next run."""
    found = team.plan()
    later = NOW + timedelta(days=1)
    team.lifecycle.issue(Description.load(team.file).names[0], now=NOW)
    done = applying.apply(team.lifecycle, Description.load(team.file), found, now=later)
    assert [outcome.record.names.name for outcome in done.outcomes] == ["alice", "billing.internal"]


WRONG = [
    ("workers = 2\ncolour = 1\n", "2: colour: not known"),
    ("[autority]\nname = 'x'\n", "1: autority: not known"),
    ("names = 3\n", "1: names: it is a table"),
    ("[authority]\nname = ' x'\n", "2: authority.name: "),
    ("[authority]\nkey = 'rsa1024'\n", "2: authority.key: 'rsa1024' is no key type"),
    ("[authority]\ndays = 0\n", "2: authority.days: a lifetime of 0 days"),
    ("[authority]\ndays = 9_999_999\n", "2: authority.days: certificates end in the year 9999 at the latest"),
    ("[profiles.client]\ndays = 9_999_999_999_999\n", "2: profiles.client.days: certificates end in the year 9999"),
    ("[authority]\nintermediate = 'yes'\n", "2: authority.intermediate: it is true or false"),
    ("[profiles.clients]\n", "1: profiles.clients: not known; there are server, client, peer"),
    ("[profiles.client]\n\ndays = '7'\n", "3: profiles.client.days: it is a whole number"),
    ("[profiles.client]\ndays = true\n", "2: profiles.client.days: it is a whole number"),
    ("[names.a]\nemail = 'a@x.io'\n", "1: names.a: it has no profile"),
    ("[names.a]\nprofile = 'root'\n", "2: names.a.profile: 'root' is no profile"),
    ("[names.a]\nprofile = 'client'\n", "1: names.a: a client needs a name"),
    ("[names.a]\nprofile = 'client'\nemail = 'a'\n", "1: names.a: 'a' is not an email address"),
    ("[names.a]\nprofile = 'client'\nemail = [1]\n", "3: names.a.email: it is a text"),
    ("[names.a]\nprofile = 'client'\nip = '::1'\n", "3: names.a.ip: it has no place"),
    ("[names.a]\nprofile = 'client'\nemails = 'a@x.io'\n", "3: names.a.emails: not known"),
    ("[names.a]\nprofile = 'client'\nemail = 'a@x.io'\nout = ''\n", "4: names.a.out: it is a text"),
    ("[names.a.b]\nprofile = 'client'\n", '1: names.a.b: not known; .* is quoted: \\[names."a.b"\\]'),
    ("[names.'a b']\nprofile = 'server'\n", "1: names.\"a b\": 'a b' cannot be the name"),
    ("[names]\na = {profile='client', email='a@x.io', out='o'}\nb = {profile='client', email='b@x.io', out='o'}\n",
     "3: names.b.out: it is the folder of a already"),
    ("[names.a\n", " is not TOML: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File, line and key; exit 2; and nothing was made."""
    file = tmp_path / "handclasp.toml"
    file.write_text(text)
    with pytest.raises(DescriptionError, match=said) as raised:
        Description.load(file)
    assert str(raised.value).startswith(str(file))
    assert raised.value.exit_code == 2


def test_lines_are_found() -> None:
    text = 'a = 1\n[x]\nb = 2\n[x."c.d"] # note\n"e" = 3\n\n[[y]]\nb = 4\n'
    assert [line_of(text, key) for key in (("a",), ("x", "b"), ("x", "c.d"), ("x", "c.d", "e"), ("z",))] == [
        1,
        3,
        4,
        5,
        1,
    ]


def test_both_programs_read_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its half, and refuses what neither knows."""
    monkeypatch.chdir(tmp_path)
    file = Path("handclasp.toml")
    file.write_text("workers = 4\nstate = 'pki'\n" + TEAM)
    assert Settings.read().workers == 4
    assert Description.load(file).state == Path("pki")
    file.write_text("workers = 4\n[autority]\n" + TEAM)
    with pytest.raises(SettingsError, match="autority: not a setting"):
        Settings.read()
    assert set(Settings.model_fields) == SERVER_SETTINGS, "pki.description has the settings of handclasp-serve by name"
    assert not SERVER_SETTINGS & set(TABLES)


def test_by_the_command(run: Run, tmp_path: Path) -> None:
    """init --toml, apply --plan, apply: the authority too; one line and exit 0 when there is nothing to do."""
    assert run("init", "--toml", "--name", 'The "CA"')[:2] == (0, "wrote handclasp.toml\n")
    code, out, err = run("init", "--toml")
    assert (code, out) == (1, "")
    assert "there already" in err
    code, out, _ = run("apply", "--plan")
    assert (code, out.splitlines()[0]) == (3, '  + the authority The "CA" (p256, 3650 days)')
    assert not Path("state").exists()
    code, out, err = run("apply")  # nobody is there to be asked
    assert code == 2
    assert "pass --yes" in err
    assert not Path("state").exists()
    assert run("apply", "--yes")[0] == 0
    assert load_authority_certificate(Path("state/authority")).subject.rfc4514_string() == 'CN=The \\"CA\\"'
    before = files(tmp_path)
    quiet = (0, "nothing to do: 2 names are as handclasp.toml describes\n", "")
    assert run("apply", "--yes") == run("apply", "--plan") == run("apply") == quiet
    assert files(tmp_path) == before


def test_as_json(run: Run) -> None:
    Path("handclasp.toml").write_text(TEAM + BOB)
    code, out, _ = run("apply", "--json", "--plan")
    planned = json.loads(out)
    assert (code, planned["changes"], planned["applied"]) == (3, True, None)
    assert planned["authority"] == {"action": "create", "name": "An authority", "key": "p256"}
    assert [step["name"] for step in planned["steps"]] == ["web", "alice", "billing.internal", "bob"]
    done = json.loads(run("apply", "--json", "--yes")[1])
    serials = {entry["name"]: entry["serial"] for entry in json.loads(run("list", "--json")[1])}
    assert {one["name"]: one["serial"] for one in done["applied"]["issued"]} == serials
    Path("handclasp.toml").write_text(TEAM)
    done = json.loads(run("apply", "--json", "--yes", "--prune")[1])
    assert done["applied"]["revoked"] == [{"name": "bob", "serial": serials["bob"]}]
    Path("handclasp.toml").write_text(TEAM + BOB)
    code, out, err = run("apply", "--json", "--yes")
    assert (code, json.loads(out)["refused"][0]["name"]) == (1, "bob")
    assert err.count("\n") == 1


def test_the_file_says_where(run: Run, tmp_path: Path) -> None:
    """Relative to itself, whatever folder a timer runs in; options and the environment are stronger."""
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/team.toml"
    file.write_text(TEAM)
    assert run("apply", str(file), "--yes")[0] == 0
    assert (tmp_path / "etc/state/authority/ca.key").is_file()
    file.write_text("state = '../there'\n" + TEAM)
    assert run("apply", str(file), "--yes")[0] == 0
    assert (tmp_path / "there/authority/ca.key").is_file()
    assert run("--state", "third", "apply", str(file), "--yes")[0] == 0
    assert (tmp_path / "third/credentials/alice/tls.crt").is_file()
    assert not (tmp_path / "state").exists()


def test_init_from_the_file(run: Run) -> None:
    Path("handclasp.toml").write_text(TEAM.replace('"An authority"', '"An authority"\nkey = "p384"\ndays = 90'))
    code, _, err = run("init", "--from", "handclasp.toml")
    assert code == 0
    assert "handclasp-pki apply handclasp.toml" in err
    assert run("apply", "--plan")[1].count("+") == 3
    authority = load_authority_certificate(Path("state/authority"))
    assert authority.public_key().key_size == 384  # type: ignore[union-attr]


def test_a_root_s_passphrase_is_not_for_the_mails_of_cron(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("handclasp.toml").write_text(TEAM.replace("[profiles", "intermediate = true\n[profiles"))
    code, _, err = run("apply", "--yes")
    assert code == 2
    assert "--root-passphrase-file" in err
    monkeypatch.setenv("HANDCLASP_ROOT_PASSPHRASE", "correct horse")
    code, out, _ = run("apply", "--yes")
    assert code == 0
    assert "correct horse" not in out
    assert Path("state/authority/root.key").is_file()
    assert run("apply")[0] == 0


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_at_a_terminal_it_asks(tmp_path: Path, answer: str, code: int) -> None:
    """Once the plan was seen; who says no has changed nothing."""
    (tmp_path / "handclasp.toml").write_text(TEAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
    with Terminal([ours("handclasp-pki"), "apply"], environment, str(tmp_path)) as terminal:
        terminal.wait_for("Do this in state? [y/N]")
        assert "+ client alice (alice@example.com), 5 days, p384" in terminal.text
        terminal.type(f"{answer}\n")
        assert terminal.end() == code, terminal.text
    assert (tmp_path / "state/credentials/alice/tls.crt").exists() is (answer == "y")


def test_two_at_once(tmp_path: Path) -> None:
    """From cron, each minute, whether the one before has ended or not: every name is issued once."""
    names = "".join(f'[names.n{n}]\nprofile = "client"\nemail = "n{n}@x.io"\n' for n in range(20))
    (tmp_path / "handclasp.toml").write_text(names)
    command = [ours("handclasp-pki"), "apply", "--yes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
    running = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60) for process in running]
    assert {process.returncode for process in running} <= {0, 1}
    assert all("Traceback" not in err for _, err in said), said
    assert sum(out.count("issued client") for out, _ in said) == 20
    listed = subprocess.run(
        [command[0], "list", "--json"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert len(json.loads(listed.stdout)) == 20
