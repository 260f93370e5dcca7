"""YAML as a plain tree that remembers where each key stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from curation_audit.checks import InputError

Path_: TypeAlias = tuple[str | int, ...]
MOST_BYTES = 1_000_000
MOST_DEPTH = 50
# what PyYAML raises for a date or a number that is none, and for a tower of brackets
UNREADABLE = (ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class ConfigTree:
    """The mapping of one file, and the line and column (from 1) of each of its places."""

    file: str
    root: dict[str, Any]
    places: dict[Path_, tuple[int, int]]
    overridden: frozenset[Path_] = frozenset()

    def where(self, path: Path_) -> str:
        """``file:line:column: a.b``; the nearest known place, or the override that set it."""
        dotted = ".".join(str(part) for part in path)
        if any(one[: len(path)] == path for one in self.overridden):
            return f"--set {dotted}"
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return f"--set {dotted}"
            if path[:end] in self.places:
                line, column = self.places[path[:end]]
                place = f"{self.file}:{line}:{column}"
                return f"{place}: {dotted}" if dotted else place
        return f"{self.file}: {dotted}" if dotted else self.file


def read_tree(path: Path) -> ConfigTree:
    """Read a YAML mapping safely.

    Raises:
        InputError: if the file is missing, too large, not UTF-8, no YAML, holds a key twice, an
            alias or a tag of a Python object, or is no mapping.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(str(path), "no such file", "check --pipeline") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise InputError(str(path), f"found {len(content)} bytes, expected a short YAML file")
    try:
        text = content.decode()
        _check_events(text, path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        root = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise InputError(str(path), "is not UTF-8 text", "expected a YAML file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _at(path, mark) if mark else str(path)
        raise InputError(where, f"is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise InputError(str(path), f"is not valid YAML: {_short(error)}") from None
    if not isinstance(root, dict) or not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}:1:1", "found no mapping", "expected keys like 'version: 1'")
    places: dict[Path_, tuple[int, int]] = {(): (1, 1)}
    _note_places(node, (), places, path)
    return ConfigTree(str(path), root, places)


def _check_events(text: str, path: Path) -> None:
    """Refuse aliases, and nesting that nobody writes by hand."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(
                _at(path, event.start_mark), "found an alias (*name)", "write the value out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise InputError(_at(path, event.start_mark), f"is nested {depth} deep")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _at(path: Path, mark: Any) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def _note_places(
    node: yaml.Node, at: Path_, places: dict[Path_, tuple[int, int]], path: Path
) -> None:
    """Remember where every key and item starts; refuse a key that stands twice."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(_at(path, key.start_mark), "found a key that is no plain name")
            if key.value in seen:
                raise InputError(
                    _at(path, key.start_mark), f"key {key.value!r} stands twice", "remove one"
                )
            seen.add(key.value)
            places[(*at, key.value)] = (key.start_mark.line + 1, key.start_mark.column + 1)
            _note_places(value, (*at, key.value), places, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            places[(*at, i)] = (item.start_mark.line + 1, item.start_mark.column + 1)
            _note_places(item, (*at, i), places, path)


def override(tree: ConfigTree, assignments: Sequence[str]) -> ConfigTree:
    """Apply ``a.b=value`` assignments; values are YAML.

    Raises:
        InputError: for an assignment without ``=``, a path through a value that is no mapping, or
            a value that is no YAML.
    """
    root, set_paths = _copied(tree.root), set()
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        path = tuple(dotted.split("."))
        if not equals or not all(path):
            raise InputError(
                f"--set {assignment}", "found no KEY=VALUE", "expected e.g. attack.shadows=64"
            )
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, *UNREADABLE):
            raise InputError(f"--set {dotted}", "the value is not valid YAML") from None
        place = root
        for part in path[:-1]:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                raise InputError(f"--set {assignment}", f"{part!r} holds no settings")
        place[path[-1]] = value
        set_paths.add(path)
    return ConfigTree(tree.file, root, tree.places, tree.overridden | set_paths)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
