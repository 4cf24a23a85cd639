"""The policy file: rules in TOML, read as a whole or not at all, and asked at each request.

  [[rule]]
  path = "/healthz"
  allow = ["*"]

  [[rule]]
  path = "/admin/*"
  methods = ["GET", "POST"]
  allow = ["email:*@ops.example.com", "uri:spiffe://example.com/ops/*"]

The first rule that matches path, method and identity decides; where none does, the answer is no.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pki.errors import UsageError
from services.authorization.authorizers import ANYBODY, PatternError, covers, key_of, keys_of, wider_keys
from services.authorization.paths import Segments, is_under, pattern_segments, readings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pki.identity import Identity

Protocol = Literal["http", "websocket"]
_PROTOCOLS: frozenset[Protocol] = frozenset(get_args(Protocol))
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"})


_REMEMBERED = 512
"""Characters of a method and a target up to which a decision is kept: thousands of long ones would be too many."""
_MOST_REMEMBERED = 4_096

_MOST_TOLD = 3
"""Rules that are named, of those behind which another one never matches."""


class PolicyError(UsageError):
    """The policy cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[rule]]`, checked."""

    number: int
    line: int
    path: Segments
    methods: frozenset[str] | None
    """None: all of them."""
    protocols: frozenset[Protocol]
    keys: frozenset[str]
    allows: bool
    written: str
    """The path or the RPC as the file has it."""

    def takes(self, method: str, protocol: Protocol) -> bool:
        """Whether it is about this method. The handshake of a WebSocket is a GET."""
        return protocol in self.protocols and (self.methods is None or method in self.methods)

    def covers(self, later: Rule, key: str, method: str | None, protocol: Protocol) -> bool:
        """Whether no request of this kind reaches the later rule; None stands for a method that no rule names."""
        return (
            protocol in self.protocols
            and (self.methods is None or method in self.methods)
            and any(covers(wider, key) for wider in self.keys)
            and is_under(later.path, self.path)
        )

    def kinds(self) -> Iterator[tuple[str, str | None, Protocol]]:
        """Every kind of request that it is about: a key, a method, a protocol."""
        for key in self.keys:
            for protocol in self.protocols:
                for method in ("GET",) if protocol == "websocket" else self.methods or (None,):
                    if self.methods is None or method in self.methods:
                        yield key, method, protocol


@dataclass(frozen=True)
class Decision:
    """Whether, and by which rule: None where no rule matched."""

    allowed: bool
    rule: Rule | None = None
    ambiguous: bool = False
    """The path can be read in more ways than are looked at."""

    @cached_property
    def reason(self) -> str:
        """For logs: no word of it comes from the caller."""
        if self.ambiguous:
            return "the path can be read in too many ways"
        if self.rule is None:
            return "no rule matches"
        return f"rule {self.rule.number} (line {self.rule.line}) {'allows' if self.allowed else 'denies'} it"


@dataclass(slots=True)
class _Node:
    """One place in the tree of path patterns."""

    below: dict[str, _Node] = field(default_factory=dict)
    here: dict[str, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    """Rules that end here, by key, in the order of the file."""
    under: dict[str, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    """Rules for here and everything below."""


class Policy:
    """All rules, indexed by path and by whom they mean: what a request costs does not grow with their number."""

    def __init__(self, rules: Sequence[Rule], never_matches: Callable[[Rule, Sequence[Rule]], PolicyError]) -> None:
        self.rules = tuple(rules)
        self._root = _Node()
        for rule in self.rules:
            if earlier := self._leaving_nothing_to(rule):
                raise never_matches(rule, earlier)
            self._put(rule)
        # A caller asks the same again and again. Bounded: paths are the caller's to choose.
        self._keys = lru_cache(maxsize=4096)(keys_of)
        # No lru_cache of a method: with it a policy that was replaced would stay until cycles are collected.
        self._known: dict[tuple[Identity, str, bytes, Protocol], Decision] = {}

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file. Raises PolicyError, naming file and line, for whatever is wrong with any part of it."""
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
            given = tomllib.loads(text)
        except OSError as error:
            raise PolicyError(f"the policy {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise PolicyError(f"{path}:{line}: it is not TOML: not UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(_not_toml(path, str(error), text)) from error
        lines = _Lines(path, text)
        for key in given:
            if key != "rule":
                raise PolicyError(
                    f"{lines.at(lines.of_key(key))}: {key!r} is not known here: there are [[rule]] tables"
                )
        tables = given.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise PolicyError(f"{lines.at(lines.of_key('rule'))}: a rule is written as a [[rule]] table")
        if not tables:
            raise PolicyError(f"{lines.at(1)}: it has no rule, and would let nobody in: write [[rule]] tables")
        rules = [_rule(number, table, lines) for number, table in enumerate(tables, 1)]
        return cls(rules, lambda later, earlier: _never_matches(later, earlier, lines))

    def decide(self, identity: Identity, method: str, target: bytes, protocol: Protocol = "http") -> Decision:
        """What the rules say of this caller, method and request target (the path as it was sent).

        A path that can be read in several ways has to be allowed in each of them.
        """
        asked = identity, method, target, protocol
        decision = self._known.get(asked)
        if decision is None:
            decision = self._decide(*asked)
            if len(method) + len(target) <= _REMEMBERED:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known.clear()
                self._known[asked] = decision
        return decision

    def _decide(self, identity: Identity, method: str, target: bytes, protocol: Protocol) -> Decision:
        keys = self._keys(identity)
        decision = Decision(allowed=False, ambiguous=True)
        for segments in readings(target):
            found = self._first(segments, keys, method, protocol)
            decision = Decision(found is not None and found.allows, found)
            if not decision.allowed:
                break
        return decision

    def doubts(self) -> Iterator[str]:
        """What is sound and may not be meant: whom a rule that allows does not name goes on to the rules behind it.

        A rule for a few, and behind it one that lets everybody do the same, with none that denies it to all in between.
        """
        for rule in self.rules:
            if not rule.allows or ANYBODY in rule.keys:
                continue
            segments = rule.path[:-1] if rule.path and rule.path[-1] == "*" else rule.path
            behind = (each for found in self._meeting(segments) for each in found.get(ANYBODY, ()))
            covering = (each for each in behind if each.number > rule.number and is_under(rule.path, each.path))
            first = min(covering, key=lambda each: each.number, default=None)
            if (
                first is not None
                and first.allows
                and all(first.covers(rule, ANYBODY, method, protocol) for _, method, protocol in rule.kinds())
            ):
                yield (
                    f"rule {rule.number} (line {rule.line}) keeps nobody out of {rule.written}: rule {first.number} "
                    f'(line {first.line}) lets everybody in; between them, for that path, write deny = ["*"]'
                )

    def _put(self, rule: Rule) -> None:
        node = self._root
        subtree = bool(rule.path) and rule.path[-1] == "*"
        for segment in rule.path[:-1] if subtree else rule.path:
            node = node.below.setdefault(segment, _Node())
        for key in rule.keys:
            (node.under if subtree else node.here)[key].append(rule)

    def _leaving_nothing_to(self, rule: Rule) -> list[Rule]:
        """The rules so far that meet every request of this one, together; none, where some request reaches it."""
        found: dict[int, Rule] = {}
        for key, method, protocol in rule.kinds():
            meeting = [earlier for earlier in self._before(rule, key) if earlier.covers(rule, key, method, protocol)]
            if not meeting:
                return []
            first = min(meeting, key=lambda earlier: (earlier.number not in found, earlier.number))
            found[first.number] = first
        return [found[number] for number in sorted(found)]

    def _before(self, rule: Rule, key: str) -> Iterator[Rule]:
        """The rules there are by now that may meet this one's key: few, however many there are in all."""
        wider = wider_keys(key)
        segments = rule.path[:-1] if rule.path and rule.path[-1] == "*" else rule.path
        for found in self._meeting(segments):
            for each in wider & found.keys():
                yield from found[each]

    def _first(self, segments: Segments, keys: frozenset[str], method: str, protocol: Protocol) -> Rule | None:
        best: Rule | None = None
        for found in self._meeting(segments):
            for key in keys & found.keys():
                for rule in found[key]:
                    if best is not None and best.number <= rule.number:
                        break
                    if rule.takes(method, protocol):
                        best = rule
                        break
        return best

    def _meeting(self, segments: Segments) -> Iterator[dict[str, list[Rule]]]:
        nodes = [self._root]
        for segment in segments:
            yield from (node.under for node in nodes)
            nodes = [node.below[name] for node in nodes for name in {segment, "*"} if name in node.below]
            if not nodes:
                return
        for node in nodes:
            yield node.under
            yield node.here


def _not_toml(path: Path, said: str, text: str) -> str:
    """What is wrong, behind the line where it is: the reader of TOML says it at the end, in words."""
    why, _, where = said.partition(" (at ")
    found = re.match(r"line (\d+), (column \d+)", where)
    line, column = (found[1], f" ({found[2]})") if found else (len(text.splitlines()) or 1, "")
    return f"{path}:{line}: it is not TOML: {why[:1].lower()}{why[1:]}{column}"


class _Table(BaseModel):
    """A `[[rule]]` table as it may be written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str | None = None
    rpc: str | None = None
    methods: list[str] | None = None
    websocket: bool | None = None
    allow: list[str] | None = None
    deny: list[str] | None = None


class _Lines:
    """Where in the file something is: TOML's readers do not say."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text.splitlines()
        self.rules = [
            at for at, line in enumerate(self._text, 1) if re.match(r"""\s*\[\[\s*["']?rule["']?\s*\]\]""", line)
        ]

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"

    def of_rule(self, number: int) -> int:
        return self.rules[number - 1] if number <= len(self.rules) else 1

    def of_key(self, key: str, number: int | None = None) -> int:
        """The line of a key, in a rule or outside of all of them."""
        first = self.of_rule(number) if number else 1
        last = self.rules[number] if number and number < len(self.rules) else len(self._text) + 1
        wanted = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
        return next((at for at in range(first, last) if wanted.match(self._text[at - 1])), first)

    def of_value(self, key: str, value: str, number: int) -> int:
        start = self.of_key(key, number)
        last = self.rules[number] if number < len(self.rules) else len(self._text) + 1
        return next((at for at in range(start, last) if value in self._text[at - 1]), start)


def _rule(number: int, given: dict[str, Any], lines: _Lines) -> Rule:
    def wrong(key: str, why: str, value: str = "") -> PolicyError:
        line = lines.of_value(key, value, number) if value else lines.of_key(key, number)
        return PolicyError(f"{lines.at(line)}: rule {number}: {why}")

    try:
        table = _Table.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ", ".join(_Table.model_fields)
            raise wrong(key, f"{key!r} is not known; a rule has {known}") from None
        raise wrong(key, f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    if (table.path is None) == (table.rpc is None):
        raise wrong("rule", "it has a path or an rpc, one of the two")
    if (table.allow is None) == (table.deny is None):
        raise wrong("rule", "it has allow or deny, one of the two")
    key = "allow" if table.allow is not None else "deny"
    keys = set()
    for pattern in table.allow if table.allow is not None else table.deny or []:
        try:
            if (found := key_of(pattern)) in keys:
                raise wrong(key, f"{pattern!r} is there twice", pattern)
        except PatternError as error:
            raise wrong(key, str(error), pattern) from None
        keys.add(found)
    if not keys:
        raise wrong(key, f"{key} is empty: it can never match")
    methods, protocols = _methods(table, wrong)
    try:
        path = pattern_segments(_path(table))
    except ValueError as error:
        name = "path" if table.path is not None else "rpc"
        raise wrong(name, f"{table.path or table.rpc!r} can never match: {error}") from None
    return Rule(
        number=number,
        line=lines.of_rule(number),
        path=path,
        methods=methods,
        protocols=protocols,
        keys=frozenset(keys),
        allows=table.allow is not None,
        written=table.path or table.rpc or "",
    )


def _path(table: _Table) -> str:
    if table.path is not None:
        return table.path
    service, slash, method = (table.rpc or "").partition("/")
    if not slash or not re.fullmatch(r"[A-Za-z_][\w.]*", service) or not re.fullmatch(r"\*|[A-Za-z_]\w*", method):
        raise ValueError("write package.Service/Method, or package.Service/*")
    return f"/{service}/{method}"


def _methods(table: _Table, wrong: Any) -> tuple[frozenset[str] | None, frozenset[Protocol]]:
    protocols = _PROTOCOLS
    if table.websocket is not None:
        protocols = frozenset({"websocket" if table.websocket else "http"})
    if table.rpc is not None:
        if table.methods is not None or table.websocket:
            raise wrong("methods" if table.methods is not None else "websocket", "an rpc is a POST, and no WebSocket")
        # Connect asks by GET for methods without side effects: what is denied is denied by every method.
        return None if table.allow is None else frozenset({"POST"}), frozenset({"http"})
    if table.methods is None:
        return None, protocols
    for method in table.methods:
        if method not in _METHODS:
            raise wrong("methods", f"{method!r} is no method; there are {', '.join(sorted(_METHODS))}", method)
    if not table.methods:
        raise wrong("methods", "methods is empty: it can never match")
    if table.websocket and "GET" not in table.methods:
        raise wrong("methods", "a WebSocket begins with a GET: it can never match")
    return frozenset(table.methods), protocols


def _never_matches(rule: Rule, earlier: Sequence[Rule], lines: _Lines) -> PolicyError:
    same = len(earlier) == 1 and all(
        (other.path, other.methods, other.protocols, other.keys) == (rule.path, rule.methods, rule.protocols, rule.keys)
        for other in earlier
    )
    why = "it is the same as" if same else "it can never match, behind"
    others = " and ".join(f"rule {other.number} (line {other.line})" for other in earlier[:_MOST_TOLD])
    if len(earlier) > _MOST_TOLD:
        others += f" and {len(earlier) - _MOST_TOLD} more"
    return PolicyError(f"{lines.at(rule.line)}: rule {rule.number}: {why} {others}")
