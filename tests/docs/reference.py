"""Writes docs/reference from the code: `python -m tests.docs.reference --write`; without it, says which page is stale.

Commands and options are what typer knows, settings what pydantic does, metrics what prometheus-client would serve,
audit events what `services.audit` writes, errors the trees that the public modules draw.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main
from typer.core import TyperGroup

import clients.errors
import pki.cli
import pki.errors
import services.cli
from clients import cli as clients_cli
from clients import http2
from pki import shell
from services import audit, loading, peer, reasons, server, settings
from services.authorization import authorizers, policy
from services.settings import Settings
from services.transport import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
_WRITTEN = "<!-- Written by `just reference` from the code. Do not edit. -->\n"


def pages() -> dict[str, str]:
    """Every page by its name, as it should be."""
    served = shell.new_app()
    served.command(help=services.cli._HELP, epilog=shell.EXIT_CODES, context_settings=shell.SETTINGS)(
        services.cli.serve
    )
    return {
        name: f"{_WRITTEN}\n{text.rstrip()}\n"
        for name, text in {
            "index.md": _index(),
            "handclasp-pki.md": _commands("handclasp-pki", pki.cli.app),
            "handclasp-serve.md": _commands("handclasp-serve", served),
            "handclasp-http.md": _commands("handclasp-http2", clients_cli._command("handclasp-http2", http2.Client)),
            "settings.md": _settings(),
            "metrics.md": _metrics(),
            "audit.md": _audit(),
            "errors.md": _errors(),
        }.items()
    }


def stale() -> list[str]:
    """The pages that are not as the code has it; also those that nothing writes."""
    wanted = pages()
    there = {file.name: file.read_text() for file in FOLDER.glob("*.md")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def _index() -> str:
    return """# Reference

Written from the code by `just reference`; a test says when a page is stale.

- Commands and options: [`handclasp-pki`](handclasp-pki.md), [`handclasp-serve`](handclasp-serve.md),
  [`handclasp-http1` and `handclasp-http2`](handclasp-http.md)
- [Settings](settings.md) of `handclasp-serve`: environment and files
- [Metrics](metrics.md), by name and label
- [Audit events](audit.md), and what each holds
- [Errors](errors.md): what is raised, and what a command ends with
"""


def _table(head: str, rows: list[tuple[str, ...]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


# Commands


def _commands(program: str, app: typer.Typer) -> str:
    command = typer.main.get_command(app)
    title = "`handclasp-http1`, `handclasp-http2`" if program == "handclasp-http2" else f"`{program}`"
    lines = [f"# {title}", ""]
    if program == "handclasp-http2":
        lines += ["One over HTTP/1.1, the other over HTTP/2; their words are the same.", ""]
    for path, found, context in _walk(program, command, None):
        if path != program:
            lines += [f"## `{path.removeprefix(program).strip()}`", ""]
        usage = " ".join(found.collect_usage_pieces(context))
        lines += [
            "```text",
            f"{path} {usage}".rstrip(),
            "```",
            "",
            _prose(found.help or ""),
            "",
            _options(found, context),
            "",
        ]
    return "\n".join(lines) + f"\n{shell.EXIT_CODES}\n"


def _walk(path: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = typer.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent)
    yield path, command, context
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _walk(f"{path} {name}", below, context)


def _prose(help_text: str) -> str:
    """A command's help: what stands behind `\\b` is shown as it is typed."""
    parts = []
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == "\b":
            parts.append("```text\n" + textwrap.dedent("\n".join(lines[1:])) + "\n```")
        else:
            parts.append(paragraph)
    return "\n\n".join(parts)


def _options(command: Any, context: Any) -> str:
    records = [given.get_help_record(context) for given in command.get_params(context)]
    rows = [(f"`{' '.join(record[0].split())}`", " ".join(record[1].split())) for record in records if record]
    return _table("option | meaning", rows)


# Settings


def _settings() -> str:
    described = _docstrings_of_fields(Settings)
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        bounds = ", ".join(_bound(rule) for rule in field.metadata if _bound(rule))
        rows.append((f"`{name}`", f"`HANDCLASP_{name.upper()}`", _value(default), bounds, described.get(name, "")))
    return (
        "# Settings\n\nOf `handclasp-serve`. The first that speaks wins: the command line, the environment, "
        "`handclasp.toml`, the table `[tool.handclasp]` of `pyproject.toml`. Times are numbers of seconds, or words "
        "such as `30s` and `24h`. Lists are separated by commas in the environment, and are lists in TOML.\n\n"
        + _table("in TOML | in the environment | default | allowed | meaning", rows)
    )


def _docstrings_of_fields(model: type[Any]) -> dict[str, str]:
    """The string below each field, as a reader of the code sees it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _bound(rule: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(rule, name):
            return f"{sign} {getattr(rule, name):,}"
    return ""


def _value(default: Any) -> str:
    if default is None:
        return "none"
    if default in ((), ""):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (int, float)):
        return f"{default:,g}" if isinstance(default, float) else f"{default:,}"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{getattr(default, 'value', default)}`"


# Metrics


def _metrics() -> str:
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), words)
        for name, kind, labels, words in sorted(_families())
    ]
    told = [(f"`{word}`",) for word in dict.fromkeys((*reasons.REFUSED.values(), reasons.OTHER))]
    ended = [(f"`{word}`",) for word in dict.fromkeys((*reasons.ENDED.values(), reasons.OTHER))]
    return (
        "# Metrics\n\nAt `/metrics` of the admin listener (`--admin-bind`), in Prometheus' form. No label holds an "
        "identity, an address or a path. [Alert rules and a dashboard](../watching.md) come with them.\n\n"
        + _table("metric | kind | labels | is", rows)
        + "\n\n## Reasons of `handclasp_handshakes_total`\n\n"
        + ", ".join(row[0] for row in told)
        + "\n\n## Reasons of `handclasp_connections_ended_total`\n\n"
        + ", ".join(row[0] for row in ended)
    )


def _families() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, kind, labels, and what it is, of each metric: as it was declared to prometheus-client."""
    for file in sorted(Path(services.cli.__file__).parent.rglob("*metrics*.py")):
        yield from _declared(ast.parse(file.read_text()))


def _declared(tree: ast.AST) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    kinds = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "GaugeMetricFamily": "gauge"}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds):
            continue
        name, words = (ast.literal_eval(argument) for argument in call.args[:2])
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        labels = named.get("labels", call.args[2] if len(call.args) > 2 else None)
        kind = kinds[call.func.id]
        yield (
            f"{name}_total" if kind == "counter" else name,
            kind,
            tuple(ast.literal_eval(labels)) if labels is not None else (),
            words,
        )


# Audit events


def _audit() -> str:
    tree = ast.parse(inspect.getsource(audit))
    shared = _keys_of(tree, "_peer")
    rows = []
    for method in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for said in (node for node in ast.walk(method) if isinstance(node, ast.Call)):
            if not (isinstance(said.func, ast.Attribute) and said.func.attr == "_say"):
                continue
            words = ast.get_docstring(method) or ""
            if isinstance(said.args[0], ast.Constant):
                events = [said.args[0].value]
            else:  # certificate.{how}: its docstring names them
                events = re.findall(r"`(\w+\.\w+)`", words)
                words = words.partition(":")[0] + "."
            keys = [name for keyword in said.keywords for name in ((keyword.arg,) if keyword.arg else shared)]
            rows += [(f"`{event}`", " ".join(words.split()), ", ".join(f"`{key}`" for key in keys)) for event in events]
    return (
        "# Audit events\n\n`--audit-log FILE` writes a JSON object a line. Each has `time` (UTC), `event` and `pid`, "
        "and what is here.\n\n" + _table("event | says | holds", sorted(rows))
    )


def _keys_of(tree: ast.AST, function: str) -> list[str]:
    """The keys of the dictionary that a function of the module returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            returned = next(part.value for part in ast.walk(node) if isinstance(part, ast.Return))
            assert isinstance(returned, ast.Dict)
            return [ast.literal_eval(key) for key in returned.keys if key is not None]
    raise AssertionError(function)


# Errors


def _errors() -> str:
    own = [
        (error.__name__, _module(error), _first(error))
        for error in (
            settings.SettingsError,
            policy.PolicyError,
            authorizers.PatternError,
            loading.AppNotFoundError,
            server.AuditLogError,
            sockets.BindError,
            peer.NoPeerError,
        )
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "What is raised, and the exit code that a command ends with. Each message is one line that says what is",
            "wrong and how to mend it. Codes of all commands: [at the shell](../shell.md#exit-codes).",
            "",
            "## Of `pki`",
            "",
            _tree(pki.errors, pki.errors.PKIError),
            "",
            "## Of `clients`",
            "",
            _tree(clients.errors, clients.errors.ClientError),
            "",
            "## Of `services`",
            "",
            "`handclasp-serve` ends with 2 for a word that makes no sense, and with 1 for what cannot be served; also",
            "where the application fails as it starts up, or does not end its startup.",
            "",
            _table("error | of | means", [(f"`{name}`", f"`{where}`", words) for name, where, words in own]),
        ]
    )


def _tree(module: ModuleType, root: type[Any]) -> str:
    known = {getattr(module, name) for name in module.__all__}
    rows = []

    def climb(error: type[Any], depth: int) -> None:
        rows.append(("&nbsp;" * 4 * depth + f"`{error.__name__}`", str(error.exit_code), _first(error)))
        for below in error.__subclasses__():
            if below in known:
                climb(below, depth + 1)

    climb(root, 0)
    assert len(rows) == len(known)
    return _table("error | exit code | means", rows)


def _module(error: type[Any]) -> str:
    return error.__module__


def _first(error: type[Any]) -> str:
    """The first sentence or line of its docstring."""
    return " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())


def main() -> int:
    """Write the pages, or say which are stale: then the exit code is 1."""
    names = stale()
    if "--write" in sys.argv[1:]:
        wanted = pages()
        FOLDER.mkdir(exist_ok=True)
        for name in names:
            if name in wanted:
                (FOLDER / name).write_text(wanted[name])
                print(f"wrote docs/reference/{name}")
            else:
                (FOLDER / name).unlink()
        return 0
    for name in names:
        print(f"docs/reference/{name} is stale: `just reference` writes it", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
