"""What is released: wheel and archive of the sources, that they install, and that they are the same each time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [word.rpartition(" ")[2] for word in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", word)]


def build(source: Path, out: Path, *kinds: str, umask: int = 0o022, **environment: str) -> Path:
    """Run the build; return the file that it made, the only one in `out`."""
    words = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-d",
        str(out),
        *(word for kind in kinds for word in ("-t", kind)),
    ]
    given = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        words, cwd=source, env={**given, **environment}, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's folder, where no git is and no .gitignore of a parent."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the archive, as who packages it for others builds it."""
    return build(unpacked, tmp_path_factory.mktemp("wheel"), "wheel")


def test_the_wheel_is_the_same_byte_for_byte(unpacked: Path, wheel: Path, tmp_path: Path) -> None:
    """From the checkout and from the archive; whatever the umask, the dates of the files, the zone, the hash seed."""
    other = build(ROOT, tmp_path / "a", "wheel", umask=0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="1")
    assert other.read_bytes() == wheel.read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(unpacked, copy)
    for path in copy.rglob("*"):
        os.utime(path, (10**9, 10**9))
    dated = [
        build(source, tmp_path / name, "wheel", SOURCE_DATE_EPOCH="1700000000")
        for source, name in ((ROOT, "b"), (copy, "c"))
    ]
    assert dated[0].read_bytes() == dated[1].read_bytes() != wheel.read_bytes()


def test_the_archive_is_the_same_byte_for_byte(sdist: Path, tmp_path: Path) -> None:
    assert build(ROOT, tmp_path, "sdist", TZ="Asia/Tokyo", PYTHONHASHSEED="1").read_bytes() == sdist.read_bytes()


def test_what_is_in_the_wheel(wheel: Path) -> None:
    """Every file of the packages, but those for who changes the contracts; the licence; and nothing beside."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        beside = {name.partition(".dist-info/")[2] for name in archive.namelist() if ".dist-info/" in name}
    packages = [path for package in ("pki", "services", "clients") for path in (ROOT / package).rglob("*")]
    wanted = {
        str(path.relative_to(ROOT))
        for path in packages
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.name not in ("buf.yaml", "buf.gen.yaml", "unbroken.sh")
    }
    assert inside == wanted
    assert beside == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_what_is_in_the_archive(sdist: Path) -> None:
    """Enough to test and to change it: the tests, the pages, the lock, and what says how."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Justfile", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "LICENSE"} <= names
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:  # of a checkout all but what is made for git alone
        assert set(listed.stdout.splitlines()) <= names
    assert {"tests/conftest.py", "docs/design.md", "requirements.lock", "pyproject.toml", ".ci/run"} <= names
    assert not [name for name in names if name.startswith((".venv", "state", "dist", ".git/")) or name.endswith(".pyc")]


def test_a_registry_would_take_them(wheel: Path, sdist: Path) -> None:
    """Metadata and README, judged as strictly as registries do."""
    words = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment of an interpreter, with nothing in it, and a home with nothing in it; its variables."""
    interpreter(request.param)
    folder, home = tmp_path / "venv", tmp_path / "home"
    home.mkdir()
    uv("venv", "--no-python-downloads", "--python", request.param, str(folder))
    return {"HOME": str(home), "PATH": f"{folder}/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(folder), "LANG": "C.UTF-8"}


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_the_wheel_is_all_that_it_takes(environment: dict[str, str], wheel: Path, tmp_path: Path) -> None:
    """Installed where nothing else is: the commands, the migrations, the pages, a greeting over mutual TLS."""
    uv("pip", "install", "--python", environment["VIRTUAL_ENV"], str(wheel))
    work = tmp_path / "work"
    work.mkdir()
    python = f"{environment['VIRTUAL_ENV']}/bin/python"
    words = [python, "-I", str(Path(__file__).with_name("_installed.py"))]
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    missing = "import psycopg"
    assert subprocess.run([python, "-c", missing], env=environment, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("environment", PYTHONS[:1], indirect=True)
@pytest.mark.parametrize("extras", ["postgres,otel,spiffe", "postgresql"])
def test_the_extras(environment: dict[str, str], wheel: Path, extras: str) -> None:
    uv("pip", "install", "--python", environment["VIRTUAL_ENV"], f"handclasp[{extras}] @ {wheel.as_uri()}")
    lines = ["import psycopg"]
    if "otel" in extras:
        lines += ["import services.tracing, services.telemetry, opentelemetry.sdk, clients.workload, spiffe"]
    words = [f"{environment['VIRTUAL_ENV']}/bin/python", "-c", "\n".join(lines)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("environment", PYTHONS[:1], indirect=True)
def test_the_types_are_in_the_wheel(environment: dict[str, str], wheel: Path, tmp_path: Path) -> None:
    """A program that is checked strictly against what is installed: `py.typed` is what lets it."""
    uv("pip", "install", "--python", environment["VIRTUAL_ENV"], f"handclasp[spiffe] @ {wheel.as_uri()}")
    program = tmp_path / "program.py"
    program.write_text((ROOT / "tests/typing/api.py").read_text())
    words = ["--strict", "--python-executable", f"{environment['VIRTUAL_ENV']}/bin/python", program.name]
    words = [sys.executable, "-m", "mypy", "--config-file=", *words]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def interpreter(version: str) -> None:
    """Skip the test where the machine has no such interpreter."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return
    words = [program(), "python", "find", "--no-python-downloads", version]
    if subprocess.run(words, env=_with_pyenv(), capture_output=True, check=False).returncode:
        pytest.skip(f"Python {version} is missing: install it, by pyenv or your system's packages")


def uv(*words: str) -> None:
    # In the project's folder, so that everything is of the day that pyproject.toml says.
    done = subprocess.run(
        [program(), *words, "--quiet"], cwd=ROOT, env=_with_pyenv(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def program() -> str:
    found = shutil.which("uv")
    if found is None:
        pytest.skip("uv is missing: pip install uv")
    return found


def _with_pyenv() -> dict[str, str]:
    """Of pyenv's interpreters all, where they are: its shims find what they are told of."""
    given = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    if shutil.which("pyenv"):
        listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout
        given["PYENV_VERSION"] = ":".join(listed.split())
    return given
