"""The manners of a command, the same for all of ours.

The answer goes to stdout. What went wrong is one line on stderr that names the program, never a traceback. Exit codes:
0 done, 1 it cannot be done, 2 the request makes no sense, 130 interrupted. Colours are for terminals, and never where
NO_COLOR is set.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pki import completions
from pki.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

EXIT_CODES = "Exit codes: 0 done, 1 it cannot be done, 2 the request makes no sense, 130 interrupted by Ctrl-C."
SETTINGS = {"help_option_names": ["-h", "--help"]}


def _show_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"{context.find_root().info_name} {version('handclasp')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
]


def new_app(*, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Return an empty command, plain: `run` says what went wrong, not typer."""
    return typer.Typer(
        cls=cls,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=SETTINGS,
    )


def lazy_group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """Return a group whose commands, `name: "module:function"` or `"module:app"`, are imported when they are asked for.

    Typer takes some milliseconds for each command that it knows; a short one would wait for all the others.
    """

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
            return [*super().list_commands(ctx), *commands]

        def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
            return _load(commands[cmd_name], cmd_name) if cmd_name in commands else super().get_command(ctx, cmd_name)

    return LazyGroup


def _load(where: str, name: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        command = _sparing(get_command(found))
        command.name = name
        return command
    app = new_app()
    app.command(name)(found)
    return _sparing(get_command(app))


@dataclass(frozen=True, slots=True)
class _Unconverted:
    """What a parameter's value becomes: a text stays as it was typed, and what was not given as it is.

    Typer makes a converter of pydantic's for these too, whose import takes a fifth of the time of a short command.
    """

    annotation: Any
    converter: Callable[[], Any]

    def __call__(self) -> _Unconverted:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """As typer's own converters do it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        kind = self.annotation
        if kind == list[str] or (isinstance(kind, type) and isinstance(value, kind)):
            return value
        return self.converter().coerce(value, param, ctx)


def _sparing(command: Any) -> Any:
    """The command, which converts the values of its parameters, and of those of the commands below it, where needed."""
    all_params = command.get_params

    def get_params(context: Any) -> Any:
        parameters = all_params(context)
        for one in parameters:
            if not isinstance(one.get_runtime_param, _Unconverted):
                one.get_runtime_param = _Unconverted(one.type_descriptor.annotation, one.get_runtime_param)
        return parameters

    command.get_params = get_params
    for below in getattr(command, "commands", {}).values():
        _sparing(below)
    return command


def in_colour(stream: TextIO) -> bool:
    """Whether what is written there may have colours; the console below judges alike."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (
        stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    )


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Where tables, plans and bars are drawn: in colour on a terminal that can, and where FORCE_COLOR is set.

    With NO_COLOR nothing but text is written, on a terminal too: https://no-color.org.
    """
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, width=width, highlight=False, color_system=None if plain else "auto")


def run(
    app: typer.Typer,
    program: str,
    expected: tuple[type[Exception], ...] | Callable[[], tuple[type[Exception], ...]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a command and return its exit code.

    `expected` are the errors that a user can cause, or what names them once there is one: so that a command need not
    import, before it is known to be asked for, all that can fail. One that has an `exit_code` decides it, else it is 1.
    Any other exception is a defect of ours, and passes through.
    """
    # Where a descriptor was closed (`>&-`), there is no stream, and nobody to tell.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = completions.completed(sys.argv[1:] if arguments is None else arguments)
    try:
        completions.prepare(program)
        code = _sparing(get_command(app))(args=words, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except _named(expected) as error:
        return _fail(program, str(error), int(getattr(error, "exit_code", 1)))
    except typer.TyperException as error:
        return _fail(program, _usage(error, program), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our answer has seen enough. Nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(program, f"{error.filename or 'output'}: {error.strerror or error}", 1)
    return code or 0


def _named(
    expected: tuple[type[Exception], ...] | Callable[[], tuple[type[Exception], ...]],
) -> tuple[type[Exception], ...]:
    return expected() if callable(expected) else expected


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 -- until the process ends


def complain(program: str, kind: str, message: str) -> None:
    """Write one line to stderr: `handclasp-pki: error: ...`."""
    typer.echo(f"{program}: {kind}: {visible(message)}", err=True)


def visible(text: str) -> str:
    """Return the text in one line; what would move a cursor or hide a letter is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _fail(program: str, message: str, code: int) -> int:
    complain(program, "error", message)
    return code


def _usage(error: typer.TyperException, program: str) -> str:
    """The parser's complaint in one line, with where to read more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else program
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    return f"{message.removesuffix('.')}; see `{command} --help`"
