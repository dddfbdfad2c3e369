"""Settings dataclasses as command-line options: one definition for the jobs and for the `manta` command."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import sys
import textwrap
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from app.errors import MantaError
from app.settings import RunSettings, with_recipe

S = TypeVar("S")

ERROR_PREFIX = "error: "
"""Begins the one line that ends a job or a command that could not do what was asked."""


def with_options(settings: type[S]) -> Callable[[Callable[[S], None]], Callable[..., None]]:
    """Turns `command(settings)` into a typer command with one option for each field of the dataclass.

    The text under a field becomes its help. A field without a default becomes an argument, a tuple an option that
    may be given more than once; a field's metadata may hold `parser` and `metavar`. A `recipe` is put in place here,
    where it is known which options were typed.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(settings)
    texts = field_docs(settings)
    parameters = []
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING
        kind = typer.Argument if required else typer.Option
        # A flag that is off unless given needs no --no- form.
        names = [flag(name)] if field.default is False else []
        hint, repeated = hints[name], typing.get_origin(hints[name]) is tuple
        if repeated:
            hint = list[str]
        elif "parser" in field.metadata:
            hint = str if required or field.default is not None else str | None
        option = kind(*names, help=texts.get(name), show_default=not required, **field.metadata)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else [] if repeated else field.default,
                annotation=Annotated[hint, option],
            )
        )

    def decorate(command: Callable[[S], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(context: typer.Context, **values: Any) -> None:
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
            given = frozenset(name for name in values if _was_typed(context, name))
            command(_with_recipe(settings(**values), given))

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *parameters)}
        return run

    return decorate


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _with_recipe(settings: S, given: frozenset[str]) -> S:
    return with_recipe(settings, given) if isinstance(settings, RunSettings) else settings


def to_argv(settings: object, kind: type | None = None) -> list[str]:
    """The command line that gives these settings again, without fields at their defaults.

    kind: a base class of the settings, to take its fields only.
    """
    arguments: list[str] = []
    for field in dataclasses.fields(kind or settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if field.default is dataclasses.MISSING:
            arguments += map(str, value) if isinstance(value, tuple) else [str(value)]
    if any(argument.startswith("-") for argument in arguments):
        arguments.insert(0, "--")
    return given_options(settings, kind) + arguments


def given_options(settings: object, kind: type | None = None) -> list[str]:
    """Those of `to_argv`, without its arguments."""
    argv: list[str] = []
    for field in dataclasses.fields(kind or settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if field.default is dataclasses.MISSING or value == field.default or value is None:
            continue
        if isinstance(value, bool):
            argv.append(flag(field.name) if value else flag(f"no-{field.name}"))
        elif isinstance(value, tuple):
            for each in value:
                argv += [flag(field.name), str(each)]
        else:
            argv += [flag(field.name), str(value)]
    return argv


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def run_job(settings: type[S], main: Callable[[S], None]) -> None:
    """The `__main__` of a job: parses the command line and runs; see `run_command_line` for errors."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=inspect.getdoc(sys.modules[main.__module__]) or "")(with_options(settings)(main))
    run_command_line(app)


def run_command_line(app: typer.Typer) -> None:
    """Runs a typer app. A MantaError becomes one line on stderr and its exit code; typer makes Ctrl-C 130."""
    try:
        app()
    except MantaError as error:
        print(f"{ERROR_PREFIX}{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that cannot be read
        print(f"{ERROR_PREFIX}{error}", file=sys.stderr)
        sys.exit(MantaError.exit_code)


def field_docs(settings: type) -> dict[str, str]:
    """The string under each field, base classes included."""
    texts: dict[str, str] = {}
    for cls in reversed(settings.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, below in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                texts[statement.target.id] = inspect.cleandoc(below.value.value)
    return texts
