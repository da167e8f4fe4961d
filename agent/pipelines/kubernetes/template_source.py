"""Reads a YAML file so that a mistake in it can be told with its line. What may stand there is
`template_rules`' part.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import UsageError

if TYPE_CHECKING:
    from yaml.nodes import Node

Where = tuple[str | int, ...]
"""Keys and positions that lead to a value."""

SIZE_LIMIT = 1024 * 1024


class Source:
    """A template as it was written, in a file or in the settings themselves."""

    def __init__(self, content: Any, name: str, root: "Node | None" = None) -> None:
        self.content = content
        self._name = name
        self._root = root

    @classmethod
    def of_file(cls, path: Path) -> "Source":
        """Read *path*; blocks.

        Raises:
            UsageError: It can't be read, is not one document of YAML, or says something twice.
        """
        import yaml

        text = _text_of(path)
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            content = yaml.safe_load(text)
        except yaml.YAMLError as wrong:
            mark = getattr(wrong, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(wrong, "problem", None) or "not YAML"
            raise UsageError(f"{path}{line}: {problem}") from None
        except RecursionError:
            raise UsageError(f"{path}: nested too deeply") from None
        source = cls(content, str(path), root)
        if twice := next(_repeated(root), None) if root is not None else None:
            raise UsageError(f"{path}:{twice.start_mark.line + 1}: {twice.value} is there twice")
        return source

    def place_of(self, where: Where) -> str:
        """Say where a value stands, for a message: with a line if it was read from a file."""
        line = f":{_line_of(self._root, where)}" if self._root is not None else ""
        return f"{self._name}{line}: {shown(where)}" if where else f"{self._name}{line}"


def shown(where: Where) -> str:
    """Write *where* as people do: ``spec.containers[0].image``."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in where]
    return "".join(parts).removeprefix(".")


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
        if len(content) > SIZE_LIMIT:
            raise UsageError(f"{path}: larger than {SIZE_LIMIT} bytes")
        return content.decode()
    except OSError as failure:
        raise UsageError(f"{path}: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text") from None


def _line_of(root: "Node | None", where: Sequence[str | int]) -> int:
    """Return the line of the deepest part of *where* that is there, counted from 1."""
    from yaml.nodes import MappingNode, SequenceNode

    line, node = root.start_mark.line if root is not None else 0, root
    for step in where:
        if isinstance(node, MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def _repeated(node: "Node") -> "Iterator[Node]":
    """Yield the keys that their mapping already has, of which YAML takes the last."""
    from yaml.nodes import MappingNode, SequenceNode

    if isinstance(node, MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value if isinstance(key.value, str) else None)
            yield from _repeated(value)
    elif isinstance(node, SequenceNode):
        for one in node.value:
            yield from _repeated(one)
