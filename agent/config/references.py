"""Checks what one part of a configuration says about another. Works on values not yet validated.

The checks look at plain values, and skip what has the wrong shape, so that they can report beside
the errors of shape instead of after them. Nothing here looks at a disk or a network.
"""

import re
from collections.abc import Callable, Iterator

from agent.artifact_uri import ArtifactUri
from agent.config.origins import Key
from agent.config.problems import Problem
from agent.secret_reference import SecretReference

Tree = dict[str, object]

_CONNECTOR_OF = {
    "s3": "aws",
    "gs": "gcp",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "mlflow": "http",
    "zenml": "zenml",
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def contradictions_in(tree: Tree) -> Iterator[Problem]:
    """Yield every contradiction between the parts of *tree*."""
    for check in _CHECKS:
        yield from check(tree)


def _secrets_have_stores(tree: Tree) -> Iterator[Problem]:
    stores = _names(tree, "secret_stores")
    for key, text in _texts(tree, ()):
        if not text.startswith("secret://"):
            continue
        try:
            reference = SecretReference.parse(text)
        except ValueError as exc:
            yield Problem(key, str(exc))
            continue
        if isinstance(reference, SecretReference) and reference.store not in stores:
            yield Problem(key, f"should name a secret store; {_known(stores)}")


def _stores_have_connectors(tree: Tree) -> Iterator[Problem]:
    connectors = _names(tree, "connectors")
    for key, store in _items(tree, "artifact_stores"):
        connector = store.get("connector")
        if isinstance(connector, str) and connector not in connectors:
            yield Problem((*key, "connector"), f"should name a connector; {_known(connectors)}")
        scheme = _scheme(store)
        if connector is not None and scheme == "file":
            yield Problem((*key, "connector"), "has no use for file://; remove it")
        if connector is None and scheme in _CONNECTOR_OF:
            wanted = _CONNECTOR_OF[scheme]
            yield Problem((*key, "connector"), f"is required for {scheme}://; one of type {wanted}")


def _stores_do_not_wait_for_each_other(tree: Tree) -> Iterator[Problem]:
    stores = tree.get("secret_stores")
    named = stores if isinstance(stores, dict) else {}
    chained = {name for name, store in named.items() if any(_references_in(store))}
    for name, store in named.items():
        for key, reference in _references_in(store):
            if reference.store in chained:
                yield Problem(
                    ("secret_stores", name, *key),
                    f"names {reference.store}, which needs a secret of another store itself; "
                    "name one that does not, such as one of type file",
                )


def _references_in(value: object) -> Iterator[tuple[Key, SecretReference]]:
    for key, text in _texts(value, ()):
        try:
            reference = SecretReference.parse(text) if text.startswith("secret://") else None
        except ValueError:
            continue
        if isinstance(reference, SecretReference):
            yield key, reference


def _scheme(store: Tree) -> str:
    return str(store.get("uri")).partition("://")[0].lower()


def _names_are_unique(tree: Tree) -> Iterator[Problem]:
    for section in ("artifact_stores", "pipelines"):
        seen: dict[object, Key] = {}
        for key, item in _items(tree, section):
            name = item.get("name")
            first = seen.setdefault(name, key) if isinstance(name, str) else key
            if first != key:
                yield Problem((*key, "name"), f"is taken by {section}.{first[-1]}")


def _roots_are_unique(tree: Tree) -> Iterator[Problem]:
    seen: dict[ArtifactUri, Key] = {}
    for key, store in _items(tree, "artifact_stores"):
        try:
            root = ArtifactUri.parse(str(store.get("uri")))
        except ValueError:
            continue
        first = seen.setdefault(root, key)
        if first != key:
            yield Problem((*key, "uri"), f"is the same place as artifact_stores.{first[-1]}")


def _placeholders_have_parameters(tree: Tree) -> Iterator[Problem]:
    for key, pipeline in _items(tree, "pipelines"):
        parameters = pipeline.get("parameters", {})
        known = sorted(parameters) if isinstance(parameters, dict) else []
        for at, name in _placeholders(pipeline.get("command")):
            if at == 0:
                yield Problem((*key, "command", 0), "should be a program, without a parameter")
            elif name not in known:
                yield Problem(
                    (*key, "command", at), f"{{{name}}} should be a parameter; {_known(known)}"
                )


def _placeholders(command: object) -> Iterator[tuple[int, str]]:
    for at, argument in enumerate(command if isinstance(command, list) else []):
        for name in _PLACEHOLDER.findall(argument) if isinstance(argument, str) else []:
            yield at, name


def _parameters_have_schemas(tree: Tree) -> Iterator[Problem]:
    for key, pipeline in _items(tree, "pipelines"):
        parameters = pipeline.get("parameters")
        for name, schema in parameters.items() if isinstance(parameters, dict) else ():
            message = _schema_error(schema) if isinstance(schema, dict) else None
            if message:
                yield Problem((*key, "parameters", name), message)


def _schema_error(schema: Tree) -> str | None:
    # Imported here because it takes a tenth of a second that only agents with parameters need.
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        # An empty registry: a $ref must not make anybody fetch something.
        validator = Draft202012Validator(schema, registry=Registry())
        fits = "default" not in schema or validator.is_valid(schema["default"])
    except SchemaError as exc:
        return f"should be a JSON Schema; {exc.json_path} is wrong for {exc.validator}"
    except Unresolvable:
        return "should be a JSON Schema without a $ref to another document"
    return None if fits else "has a default that its own schema refuses"


def _names(tree: Tree, section: str) -> list[str]:
    named = tree.get(section)
    return sorted(named) if isinstance(named, dict) else []


def _items(tree: Tree, section: str) -> Iterator[tuple[Key, Tree]]:
    listed = tree.get(section)
    for at, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, dict):
            yield (section, at), item


def _texts(value: object, key: Key) -> Iterator[tuple[Key, str]]:
    match value:
        case str():
            yield key, value
        case dict():
            for name, child in value.items():
                yield from _texts(child, (*key, name))
        case list():
            for at, child in enumerate(value):
                yield from _texts(child, (*key, at))


def _known(names: list[str]) -> str:
    return f"configured: {', '.join(names)}" if names else "none is configured"


_CHECKS: tuple[Callable[[Tree], Iterator[Problem]], ...] = (
    _secrets_have_stores,
    _stores_do_not_wait_for_each_other,
    _stores_have_connectors,
    _names_are_unique,
    _roots_are_unique,
    _placeholders_have_parameters,
    _parameters_have_schemas,
)
