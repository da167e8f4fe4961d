"""Reads one YAML document into plain values with the line of each.

What the values mean is not known here.
"""

import re
from pathlib import Path

import yaml

from agent.config.origins import Key, Origin, Origins
from agent.config.problems import Problem

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 20_000
"""Counted after aliases are expanded, so that a few lines of them can't fill the memory."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KNOWN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Document:
    """The values of one YAML text, and every problem of it, found in one reading."""

    def __init__(self, text: str, *, name: str) -> None:
        self.origins = Origins()
        self.problems: list[Problem] = []
        self._name = name
        self._left = MAX_VALUES
        self.tree = self._root(text)

    def _root(self, text: str) -> dict[str, object]:
        try:
            deep = _too_deep_at(text)
            node = None if deep else yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as exc:
            self._refuse_syntax(exc)
            return {}
        if deep:
            place = f"{self._name}:{deep}"
            self.problems.append(Problem((), f"is more than {MAX_DEPTH} levels deep", place))
        value = self._value(node, ()) if node else {}
        if not isinstance(value, dict):
            self._refuse((), "should be a mapping of keys such as control_plane: and agent:", node)
            return {}
        return value

    def _refuse_syntax(self, exc: yaml.YAMLError) -> None:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "unreadable"
        # PyYAML quotes what it found, which may be a piece of a password.
        reason = re.sub(r"'[^'<>]{2,}'", "…", reason)
        self.problems.append(Problem((), f"is not valid YAML: {reason}", f"{self._name}{line}"))

    def _refuse(self, key: Key, message: str, node: yaml.Node | None) -> None:
        self.problems.append(Problem(key, message, self._place(node)))

    def _place(self, node: yaml.Node | None) -> str:
        return f"{self._name}:{node.start_mark.line + 1}" if node else self._name

    def _value(self, node: yaml.Node, key: Key) -> object:
        if self._exhausted(node, key):
            return None
        self.origins.record(key, Origin("file", self._place(node)))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, key)
            case yaml.SequenceNode():
                return [self._value(item, (*key, at)) for at, item in enumerate(node.value)]
            case _:
                return self._scalar(node, key)

    def _exhausted(self, node: yaml.Node, key: Key) -> bool:
        self._left -= 1
        if self._left > 0 and len(key) <= MAX_DEPTH:
            return False
        if self._left >= 0:
            self._refuse(key, "is too large or too deep once its aliases are expanded", node)
            self._left = -1
        return True

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, object]:
        values: dict[str, object] = {}
        for name_node, value_node in node.value:
            name = self._scalar(name_node, key)
            if not isinstance(name, str):
                self._refuse(key, "has a key that is not text; put it in quotes", name_node)
                continue
            if name in values:
                self._refuse((*key, name), "stands here a second time; remove one", name_node)
                continue
            values[name] = self._value(value_node, (*key, name))
            self.origins.record((*key, name), Origin("file", self._place(name_node)))
        return values

    def _scalar(self, node: yaml.Node, key: Key) -> object:
        if node.tag == _TIMESTAMP:
            return node.value
        if node.tag not in _KNOWN_TAGS or not isinstance(node, yaml.ScalarNode):
            self._refuse(key, "should be plain text, a number, true, false or null", node)
            return None
        try:
            return _plain(node.tag, node.value)
        except ValueError:
            self._refuse(key, "is not what its tag says", node)
            return None


def read(path: Path) -> Document:
    """Return the document in the file at *path*; a file that can't be read is a problem of it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as exc:
        return _unreadable(path, f"cannot be read: {exc.strerror}")
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        return _unreadable(path, f"is not UTF-8 at line {line}")
    if len(content) > MAX_FILE_BYTES:
        return _unreadable(path, f"is larger than {MAX_FILE_BYTES} bytes")
    return Document(text, name=str(path))


def _unreadable(path: Path, message: str) -> Document:
    document = Document("", name=str(path))
    document.problems.append(Problem((), message, str(path)))
    return document


def value_of(text: str) -> object:
    """Return what *text* means as one YAML value: ``8`` a number, ``[a]`` a list, else itself.

    Raises:
        ValueError: It starts like a list, a mapping or quoted text and is none. The message does
            not repeat it.
    """
    if not text.lstrip().startswith(("[", "{", '"', "'")):
        # Not read as a document: there, " #" would begin a comment, and a password may hold one.
        tag = _LOADER("").resolve(yaml.ScalarNode, text, (True, False))
        return _plain(tag, text)
    document = Document(f"value: {text}", name="")
    if document.problems or list(document.tree) != ["value"]:
        raise ValueError("is not a valid YAML value such as [a, b], {a: b} or 'text'")
    return document.tree["value"]


def _plain(tag: str, text: str) -> object:
    if tag not in _KNOWN_TAGS:
        return text
    return yaml.constructor.SafeConstructor().construct_object(yaml.ScalarNode(tag, text))


def _too_deep_at(text: str) -> int | None:
    """Walk the events first: composing recurses, and a hostile depth would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH and event.start_mark:
            return event.start_mark.line + 1
    return None
