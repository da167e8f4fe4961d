"""A Job as the customer wrote it, and how parameters get into it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from agent.errors import UsageError
from agent.pipelines.kubernetes import template_rules
from agent.pipelines.kubernetes.template_source import Source, Where
from agent.pipelines.parameters import Command, Schema

_MOST_FAULTS = 10


class JobTemplate:
    """A template without faults, as far as that can be said without the cluster.

    Values of parameters stand in `args` and in values of `env`, each within the one it was put
    into: no shell sees it, and neither does the cluster's own ``$(NAME)``.
    """

    def __init__(self, source: Source, schemas: Mapping[str, Schema]) -> None:
        """Raises UsageError, with the places, when the template is not one to run."""
        faults = list(template_rules.faults_of(source.content, schemas))
        if faults:
            told = [f"{source.place_of(where)} {what}" for where, what in faults[:_MOST_FAULTS]]
            raise UsageError("; ".join(told))
        self._job: dict[str, Any] = source.content
        self._schemas = dict(schemas)
        self._check = Command(["job"], schemas)
        self._arguments = [
            _Texts(source, (*where, "args"), schemas, program=container.get("command"))
            for where, container in template_rules.containers(self._job)
            if container.get("args")
        ]
        self._variables = [
            _Variables(where, container["env"], schemas)
            for where, container in template_rules.containers(self._job)
            if container.get("env")
        ]

    @property
    def job(self) -> Mapping[str, Any]:
        """The Job as it was written."""
        return self._job

    def filled(self, parameters: Mapping[str, JsonValue]) -> dict[str, Any]:
        """Return a Job of its own with *parameters*, or the defaults of those that are missing.

        Raises:
            BadParameters: A parameter is missing, unknown, or does not fit.
            PipelineFailed: A schema is wrong.
        """
        self._check.filled(parameters)
        job = copy.deepcopy(self._job)
        for arguments in self._arguments:
            arguments.fill(job, parameters)
        for variables in self._variables:
            variables.fill(job, parameters)
        return job


class _Texts:
    """The arguments of one container."""

    def __init__(
        self,
        source: Source,
        where: Where,
        schemas: Mapping[str, Schema],
        *,
        program: Sequence[str] | None,
    ) -> None:
        self._where = where
        self._texts = list(_at(source.content, where))
        # What the image starts by itself is not known here.
        self._program = list(program or ["entrypoint"])
        self._names = set(schemas)
        try:
            self._command = Command([*self._program, *self._texts], schemas)
        except UsageError as wrong:
            raise UsageError(f"{source.place_of(where)} {wrong}") from None

    def fill(self, job: dict[str, Any], parameters: Mapping[str, JsonValue]) -> None:
        filled = self._command.filled(parameters)[len(self._program) :]
        pairs = zip(self._texts, filled, strict=True)
        _at(job, self._where[:-1])["args"] = [_literal(*pair, self._names) for pair in pairs]


class _Variables:
    """The values of one container's environment."""

    def __init__(
        self, where: Where, env: Sequence[Mapping[str, Any]], schemas: Mapping[str, Schema]
    ) -> None:
        self._where = where
        self._names = set(schemas)
        self._texts = {at: str(one["value"]) for at, one in enumerate(env) if "value" in one}
        # With a name before it, a value may begin with any character.
        named = [f"{env[at]['name']}={text}" for at, text in self._texts.items()]
        self._command = Command(["env", *named], schemas)

    def fill(self, job: dict[str, Any], parameters: Mapping[str, JsonValue]) -> None:
        filled = self._command.filled(parameters)[1:]
        env = _at(job, self._where)["env"]
        for (at, text), named in zip(self._texts.items(), filled, strict=True):
            env[at]["value"] = _literal(text, named.partition("=")[2], self._names)


def _literal(template: str, text: str, names: set[str]) -> str:
    """Keep the cluster from reading ``$(NAME)`` in what a parameter is part of."""
    return text.replace("$", "$$") if template_rules.has_placeholder(template, names) else text


def _at(content: Any, where: Where) -> Any:
    for step in where:
        content = content[step]
    return content
