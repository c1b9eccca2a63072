"""YAML as untrusted input, with line numbers.

Only plain YAML is accepted: tags construct nothing but text, numbers, lists and mappings. Input that is small on disk but
large in memory (nested aliases, numbers of thousands of digits) is refused as a tree of nodes, before values are constructed;
merge keys count as their expansion.
"""

from __future__ import annotations

from typing import Any

import yaml

from manyheads.config.origin import MAX_ERRORS, MAX_SHOWN, Place
from manyheads.errors import ConfigError

MAX_BYTES = 1 << 20
"""Size of a run file: enough for 30,000 labels. PyYAML reads about 300,000 bytes per second."""
MAX_NODES = 100_000
"""Keys and values, with aliases expanded."""
MAX_VALUE_CHARACTERS = 4096
"""The longest path on Linux."""
MAX_DIGITS = 64


def read_yaml(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The nodes and the value of a YAML text. Raises ConfigError."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_nodes(loader, node, name)
        return node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: invalid YAML: {str(error.problem)[:MAX_SHOWN]}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: invalid YAML: {str(error).splitlines()[0][:MAX_SHOWN]}") from None
    except RecursionError:
        raise ConfigError(f"{name}: lists and mappings are nested too deeply; a run file has at most five levels") from None


def _check_nodes(loader: yaml.SafeLoader, root: yaml.Node, name: str) -> None:
    """Raise ConfigError for invalid scalars, aliases that contain themselves, and alias bombs."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        """Number of nodes in this subtree, with aliases expanded."""
        here = f"{name}:{node.start_mark.line + 1}"
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ConfigError(f"{here}: an alias is inside the value it refers to; write the value out")
            return known
        sizes[id(node)] = None
        total = 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(loader, node, here)
        else:
            pairs = isinstance(node, yaml.MappingNode)
            children = [part for pair in node.value for part in pair] if pairs else node.value
            total += sum(size(child) for child in children)
        if total > MAX_NODES:
            raise ConfigError(
                f"{here}: more than {MAX_NODES:,} values with aliases expanded; a run file has hundreds"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _check_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, here: str) -> None:
    """Raise ConfigError for a value that is too long, has invalid characters, or does not match its type or tag."""
    value, kind = node.value, node.tag.rpartition(":")[2]
    if len(value) > MAX_VALUE_CHARACTERS or (kind in ("int", "float") and len(value) > MAX_DIGITS):
        raise ConfigError(f"{here}: a value of {len(value):,} characters ({value[:20]}...); shorten it")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{here}: {value[:MAX_SHOWN]!r} contains an invalid character (NUL or a lone surrogate)"
        )
    if kind in ("int", "float", "bool", "timestamp"):
        try:
            made = loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            raise ConfigError(f"{here}: {value[:MAX_SHOWN]!r} is not a valid {kind}; correct it, or quote it") from None
        if kind == "int" and abs(made) >= 1 << 63:
            raise ConfigError(f"{here}: {value[:MAX_SHOWN]} is too large; integers have at most 63 bits")


def key_lines(node: yaml.Node | None, name: str) -> tuple[dict[Place, str], list[str]]:
    """`file:line` of every key and item, and an error for every duplicate key."""
    found: dict[Place, str] = {}
    duplicates: list[str] = []
    seen: set[int] = set()

    def walk(node: yaml.Node, place: Place) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                here = f"{name}:{key.start_mark.line + 1}"
                if key.value in keys:
                    duplicates.append(f"{here}: duplicate key '{key.value[:MAX_SHOWN]}'; keep one of them")
                keys.add(key.value)
                found[(*place, key.value)] = here
                walk(value, (*place, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                found[(*place, i)] = f"{name}:{value.start_mark.line + 1}"
                walk(value, (*place, i))

    if node is not None:
        walk(node, ())
    return found, duplicates[:MAX_ERRORS]
