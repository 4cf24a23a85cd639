"""Run by the interpreter of an environment that has the wheel and nothing else of ours: uses what was installed."""

import importlib.metadata
import importlib.resources
import re
import ssl
import subprocess
import sys
from pathlib import Path

import httpx

COMMANDS = ("handclasp-pki", "handclasp-serve", "handclasp-http1", "handclasp-http2")
BIN = Path(sys.executable).parent


def run(command: str, *words: str) -> str:
    done = subprocess.run([BIN / command, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, words, done.stdout, done.stderr)
    return done.stdout


def main() -> None:
    version = importlib.metadata.version("handclasp")
    for command in COMMANDS:
        assert run(command, "--version") == f"{command} {version}\n"
        assert command in run(command, "--help")
    for package in ("pki", "services", "clients"):
        assert importlib.resources.files(package).joinpath("py.typed").is_file()

    run("handclasp-pki", "init")  # by the migrations of the inventory
    run("handclasp-pki", "issue", "server", "localhost")
    run("handclasp-pki", "issue", "client", "alice", "--email", "alice@example.com")
    assert "alice@example.com" in run("handclasp-pki", "list")

    words = ["--credential", "state/credentials/localhost", "--bind", "localhost:0"]
    server = subprocess.Popen([BIN / "handclasp-serve", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        found = re.search(r"https://localhost:\d+", server.stdout.readline())
        assert found, "no ready line"
        call = ("--credential", "state/credentials/alice", "--url", found[0])
        assert run("handclasp-http1", *call) == "Hello alice@example.com!\n"
        assert run("handclasp-http2", *call) == "Hello alice@example.com!\n"

        alice = Path("state/credentials/alice")
        context = ssl.create_default_context(cafile=alice / "ca.crt")
        context.load_cert_chain(alice / "tls.crt", alice / "tls.key")
        with httpx.Client(verify=context, base_url=found[0], trust_env=False) as browser:
            page = browser.get("/", headers={"accept": "text/html"}).raise_for_status()
            assert "alice@example.com" in page.text  # by the templates
            for file in ("pages.css", "mark.svg", "authority.js"):
                assert browser.get(f"/pages/{file}").raise_for_status().content
    finally:
        server.terminate()
        server.wait(30)
    assert server.returncode == 0, server.returncode


main()
