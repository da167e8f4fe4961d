"""Checks parameters against their schemas, and puts their values into a command.

Starting the command is not this file's part.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from pydantic import JsonValue

from agent.errors import BadParameters, PipelineFailed, UsageError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

LONGEST_ARGUMENT = 128 * 1024 - 1
"""In bytes; Linux takes no longer ones."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHELLS = {"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"}
_LONGEST_DETAIL = 500

Schema = Mapping[str, JsonValue]


class Command:
    """A command with placeholders, and the schemas of what may be put there.

    A value is only ever part of the one argument its placeholder stands in; no shell sees it.
    """

    def __init__(self, argv: Sequence[str], schemas: Mapping[str, Schema]) -> None:
        """Raises UsageError when the command lets a parameter choose what is run."""
        self._argv = tuple(argv)
        self._schemas = dict(schemas)
        self._refuse_unsafe()

    def filled(self, parameters: Mapping[str, JsonValue]) -> list[str]:
        """Return the arguments with *parameters*, or the defaults of those that are missing.

        Text stands there as it is, everything else as JSON. A value that is text can't make an
        option of an argument: for that the command has to say ``--name={name}``.

        Raises:
            BadParameters: A parameter is missing, unknown, or does not fit.
            PipelineFailed: A schema is wrong.
        """
        values = self._defaults() | dict(parameters)
        self._validate(values)
        return [self._argument(template, values) for template in self._argv]

    def _defaults(self) -> dict[str, JsonValue]:
        return {
            name: schema["default"] for name, schema in self._schemas.items() if "default" in schema
        }

    def _validate(self, values: Mapping[str, JsonValue]) -> None:
        if missing := sorted(self._schemas.keys() - values.keys()):
            raise BadParameters(f"parameter {missing[0]} is required")
        if values.keys() - self._schemas.keys():
            raise BadParameters("there is a parameter that this pipeline does not have")
        for name, value in values.items():
            if error := _first_error(name, self._schemas[name], value):
                raise BadParameters(
                    f"parameter {name} does not fit its schema: {error.validator}",
                    detail=error.message[:_LONGEST_DETAIL],
                )

    def _argument(self, template: str, values: Mapping[str, JsonValue]) -> str:
        used = [name for name in _PLACEHOLDER.findall(template) if name in values]
        argument = _PLACEHOLDER.sub(
            lambda match: _text(values[match[1]]) if match[1] in values else match[0], template
        )
        if any(isinstance(values[name], str) for name in used):
            _refuse_options(template, argument, used)
        if used:
            _refuse_unfit(argument, used)
        return argument

    def _refuse_unsafe(self) -> None:
        if self._has_placeholder(self._argv[:1]):
            raise UsageError("command: a parameter can't stand in the name of the program")
        if PurePath(self._argv[0]).name in _SHELLS:
            for option, script in zip(self._argv[1:], self._argv[2:], strict=False):
                if re.fullmatch("-[a-z]*c[a-z]*", option) and self._has_placeholder([script]):
                    raise UsageError(
                        "command: a parameter can't stand in a shell's script; pass it as an "
                        'argument after the script, which then says "$1"'
                    )

    def _has_placeholder(self, arguments: Iterable[str]) -> bool:
        return any(
            name in self._schemas
            for argument in arguments
            for name in _PLACEHOLDER.findall(argument)
        )


def _first_error(name: str, schema: Schema, value: JsonValue) -> "ValidationError | None":
    # It takes a tenth of a second to import, which an agent without pipelines need not spend.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        # With a registry of its own it never fetches what a $ref points to.
        validator = Draft202012Validator(schema, registry=Registry())
        error: ValidationError | None = best_match(validator.iter_errors(value))
    except (SchemaError, Unresolvable, re.error) as failure:
        raise PipelineFailed(
            "the pipeline's configuration is wrong",
            detail=f"the schema of parameter {name}: {str(failure)[:_LONGEST_DETAIL]}",
        ) from None
    return error


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise BadParameters("a number is not finite") from None


def _refuse_options(template: str, argument: str, used: Sequence[str]) -> None:
    if argument.startswith("-") and not template.startswith("-"):
        raise BadParameters(f"parameter {used[0]} may not begin with -")


def _refuse_unfit(argument: str, used: Sequence[str]) -> None:
    try:
        size = len(argument.encode())
    except UnicodeEncodeError:
        raise BadParameters(f"parameter {used[0]} is not valid text") from None
    if "\0" in argument:
        raise BadParameters(f"parameter {used[0]} holds a NUL character")
    if size > LONGEST_ARGUMENT:
        raise BadParameters(f"parameter {used[0]} is too long")
