"""What a policy costs a request: ten thousand rules, and as many paths and callers, none of them asked twice in a row.

python -m tests.bench.policy [--rules N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pki.identity import Identity
from services.authorization.policy import Policy

_ASKED = 20_000


def caller(number: int) -> Identity:
    """Somebody with an email, a SPIFFE ID and a DNS name."""
    now, team = datetime.now(UTC), number % 100
    email, uri, name = f"u{number}@t{team}.example.com", f"spiffe://example.com/t{team}/u{number}", f"u{number}.t.svc"
    return Identity(email, "email", (email,), (uri,), (name,), f"{number:x}", f"{number:064x}", now, now, "CN=A CA")


def written(count: int, spread: bool) -> str:
    """So many rules: each for a path of its own, or all for one path and each for a caller of its own."""
    rules = (
        f'[[rule]]\npath = "/t{number % 100}/r{number}/*"\nallow = ["email:*@t{number % 100}.example.com"]\n'
        if spread
        else f'[[rule]]\npath = "/one/*"\nallow = ["email:u{number}@t{number % 100}.example.com"]\n'
        for number in range(count)
    )
    return "\n".join(rules)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.policy")
    parser.add_argument("--rules", type=int, default=10_000)
    count = parser.parse_args().rules
    callers = [caller(number) for number in range(2_000)]
    with tempfile.TemporaryDirectory(prefix="handclasp-bench-") as folder:
        for what, spread in (("rules for as many paths", True), ("rules for one path", False)):
            path = Path(folder) / "policy.toml"
            path.write_text(written(count, spread), encoding="utf-8")
            started = time.perf_counter()
            policy = Policy.load(path)
            loaded = time.perf_counter() - started
            spent, allowed = [], 0
            for number in range(_ASKED):
                who = callers[number % len(callers)]
                target = f"/t{number % 100}/r{number % count}/x/{number}" if spread else f"/one/{number}"
                asked = time.perf_counter()
                decision = policy.decide(who, "GET", target.encode())
                spent.append((time.perf_counter() - asked) * 1e6)
                allowed += decision.allowed
            middle, late = statistics.median(spent), statistics.quantiles(spent, n=100)[98]
            print(
                f"{count:,} {what}: loaded in {loaded:.2f} s; a decision takes {middle:.1f} us (p99 {late:.1f} us);"
                f" {allowed:,} of {_ASKED:,} allowed"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
