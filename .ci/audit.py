"""Asks advisory services about every pinned dependency, with pip-audit: `python .ci/audit.py [requirements.lock]`.

Exit 1 where something is known of one of them, 0 where nothing is. A machine that reaches the package registry alone
reaches no advisory service, and some mirrors of a registry know of no advisories: what was not audited is counted and
said, and is no failure, unless `--strict` is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 300.0
# The registry's own advisories, which pip-audit asks of itself; then the database that they come from.
_SERVICES = ("registry", "osv")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said: the packages that it knew, and a line for each finding. `trouble` is why it said nothing."""

    audited: frozenset[str] = frozenset()
    findings: tuple[str, ...] = ()
    trouble: str = ""


def ask(service: str, requirements: Path, osv_url: str | None) -> Answer:
    """Ask one service about all of them."""
    words = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--disable-pip", "-f", "json", "--desc", "off"]
    words += ["--progress-spinner", "off", "--timeout", "10", *(("-s", service) if service == "osv" else ())]
    if osv_url is not None:
        words += ["--osv-url", osv_url]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return Answer(trouble=f"no answer within {_PATIENCE:g} seconds")
    except (ValueError, KeyError):
        return Answer(trouble=(done.stderr.strip().splitlines() or ["no answer"])[-1])
    skipped = [package["skip_reason"] for package in packages if "skip_reason" in package]
    return Answer(
        frozenset(package["name"] for package in packages if "skip_reason" not in package),
        tuple(
            f"{package['name']} {package['version']}: {found['id']}"
            + (f", mended in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "")
            for package in packages
            for found in package.get("vulns", ())
        ),
        skipped[0] if skipped else "",
    )


def main() -> int:
    """Ask, say what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="audit", description="What is known of the pinned dependencies.")
    parser.add_argument("requirements", type=Path, nargs="?", default=Path("requirements.lock"))
    parser.add_argument("--osv-url", metavar="URL", help="another database in the form of OSV, asked alone")
    parser.add_argument("--strict", action="store_true", help="fail where a package could not be audited")
    given = parser.parse_args()
    audited: set[str] = set()
    findings: set[str] = set()
    troubles: list[str] = []
    for service in ("osv",) if given.osv_url else _SERVICES:
        answer = ask(service, given.requirements, given.osv_url)
        audited |= answer.audited
        findings |= set(answer.findings)
        if not answer.trouble:
            troubles = []
            break
        troubles.append(f"{service}: {answer.trouble}")
    for finding in sorted(findings):
        print(f"audit: {finding}")
    if troubles:
        print("audit: SOME PACKAGES WERE NOT AUDITED:" if audited else "audit: NOTHING WAS AUDITED:")
        for trouble in troubles:
            print(f"audit:   {trouble}")
    print(f"audit: {len(audited)} packages audited, {len(findings)} findings")
    return 1 if findings or (given.strict and troubles) else 0


if __name__ == "__main__":
    sys.exit(main())
