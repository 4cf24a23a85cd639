"""Completions for bash, zsh and fish: typer's, for every command of ours, without guessing which shell one is in.

eval "$(handclasp-pki --show-completion bash)"
handclasp-pki --install-completion zsh
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence


class Shell(StrEnum):
    """The shells that commands, options and their values are completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def _show_completion(context: typer.Context, shell: Shell | None) -> None:
    if shell is not None:
        from typer._completion_shared import get_completion_script

        program = context.find_root().info_name or ""
        typer.echo(get_completion_script(prog_name=program, complete_var=_variable(program), shell=shell))
        raise typer.Exit


def _install_completion(context: typer.Context, shell: Shell | None) -> None:
    if shell is not None:
        from typer._completion_shared import install

        program = context.find_root().info_name
        _, path = install(shell=shell, prog_name=program)
        typer.echo(f"completions of {program} are in {path}: begin a new {shell}")
        raise typer.Exit


ShowOption = Annotated[
    Shell | None,
    typer.Option("--show-completion", callback=_show_completion, is_eager=True, help="Print completions for a shell."),
]
InstallOption = Annotated[
    Shell | None,
    typer.Option("--install-completion", callback=_install_completion, is_eager=True, help="Put them into your home."),
]
_OF_A_SHELL = ("--show-completion", "--install-completion")


def completed(words: Sequence[str]) -> list[str]:
    """The words, and behind an option for completions that names no shell, last of all, the shell one is in."""
    shell = Path(os.environ.get("SHELL") or "bash").name
    return [*words, shell] if words and words[-1] in _OF_A_SHELL else list(words)


def prepare(program: str) -> None:
    """Where a shell is asking, have typer answer in the words that its scripts understand."""
    if _variable(program) in os.environ:
        from typer._completion_classes import completion_init

        completion_init()


def _variable(program: str) -> str:
    return f"_{program.replace('-', '_').upper()}_COMPLETE"
