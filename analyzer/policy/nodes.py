"""PyYAML's node tree into plain values, by our own rules."""

import math
import re
from collections.abc import Iterator
from typing import Final

import yaml

from analyzer.policy.findings import Code, Path, Position

MAX_NODES: Final = 200_000
"""A file of the largest size has fewer, unless aliases multiply them."""
MAX_DEPTH: Final = 64

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = "plain"
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, bool | None]] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: spelling.lower() == "true" for spelling in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_YAML_1_1: Final = yaml.SafeLoader.yaml_implicit_resolvers


class TextLoader(yaml.SafeLoader):
    """Composes nodes, and leaves the typing of unquoted words to us."""

    def resolve(self, kind: type[yaml.Node], _value: object, implicit: tuple[bool, bool]) -> str:
        """Mark unquoted words; everything else has its usual tag."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else f"{_TAG}str"
        return f"{_TAG}map" if kind is yaml.MappingNode else f"{_TAG}seq"


class BuildError(Exception):
    """The document cannot be built at all."""

    def __init__(self, message: str, *, mend: str, position: Position, code: Code = Code.SYNTAX) -> None:
        super().__init__(message)
        self.mend = mend
        self.position = position
        self.code = code


Value = dict[str, "Value"] | list["Value"] | str | int | float | bool | None
"""What a document consists of."""


def position_of(node: yaml.Node) -> Position:
    """Tell where a node begins."""
    mark = node.start_mark
    return Position(mark.line + 1, mark.column + 1)


class Builder:
    """Builds one document.

    Attributes
    ----------
    faults
        What is wrong and yet leaves a value: duplicate keys (the first one counts).
    odd_scalars
        Paths of unquoted strings that YAML 1.1 takes for a number or a boolean.
    """

    def __init__(self) -> None:
        self.faults: list[BuildError] = []
        self.odd_scalars: list[Path] = []
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path = ()) -> Value:
        """Build a node's value.

        Raises
        ------
        BuildError
            It is too large, too deep, or uses tags.
        """
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        self._count(node, path)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq")
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        self._count(node, path)
        _check_tag(node, "map")
        built: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        first: dict[str, Position] = {}
        for key, value in node.value:
            name = _key(key)
            if _is_merge(key):
                for source in _merged(value):
                    merged = self._mapping(source, (*path, name)) | merged
            elif name in first:
                message = f"the key `{name}` is there already, in line {first[name].line}"
                fault = BuildError(
                    message, mend="keep one of the two", position=position_of(key), code=Code.DUPLICATE_KEY
                )
                self.faults.append(fault)
            else:
                first[name] = position_of(key)
                built[name] = self.build(value, (*path, name))
        return merged | built

    def _count(self, node: yaml.Node, path: Path) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            mend = "write fewer or shallower levels and aliases; a policy needs few"
            raise BuildError("this expands to more than a file may hold", mend=mend, position=position_of(node))

    def _scalar(self, node: yaml.Node, path: Path) -> Value:
        text = _joined(node.value)
        if node.tag != _PLAIN:
            _check_tag(node, "str")
            return text
        value = resolve(text)
        if isinstance(value, str) and _kubectl_differs(text):
            self.odd_scalars.append(path)
        return value


def resolve(text: str) -> str | float | bool | None:
    """Type an unquoted word: null, true, false, a JSON number, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 64 or _NUMBER.fullmatch(text) is None:
        return text
    if text.removeprefix("-").isdigit():
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


def find_node(root: yaml.Node, path: Path, *, key: bool = False) -> Position:
    """Follow a path as far as it leads; the position of the value there, or of its key."""
    node, found = root, position_of(root)
    for depth, part in enumerate(path):
        entry = _child(node, part)
        if entry is None:
            return found
        key_node, node = entry
        last = depth == len(path) - 1
        # Of what is missing below, the key says best where; so does it where only the key was asked for.
        found = position_of(key_node if key or not last else node)
    return found


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == str(part):
            return key, value
    merged = (_child(source, part) for key, value in node.value if _is_merge(key) for source in _merged(value))
    return next((entry for entry in merged if entry is not None), None)


def _key(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return _joined(node.value)
    mend = "write a plain word before the colon"
    raise BuildError("a key must be a single word", mend=mend, position=position_of(node))


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.tag == _PLAIN and key.value == "<<"


def _merged(value: yaml.Node) -> Iterator[yaml.MappingNode]:
    for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
        if not isinstance(source, yaml.MappingNode):
            mend = "write `<<: *anchor`, where the anchor is on a mapping"
            raise BuildError("`<<` merges mappings only", mend=mend, position=position_of(source))
        yield source


def _check_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != f"{_TAG}{kind}":
        mend = "leave the tag out; quotes make a string"
        raise BuildError(
            f"the tag `{node.tag.replace(_TAG, '!!')}` is not allowed", mend=mend, position=position_of(node)
        )


def _kubectl_differs(text: str) -> bool:
    """Tell whether YAML 1.1, which kubectl speaks, takes a word for a number or a boolean."""
    resolvers = _YAML_1_1.get(text[:1], []) if text else []
    kinds = {f"{_TAG}{kind}" for kind in ("bool", "int", "float")}
    return any(tag in kinds and expression.match(text) for tag, expression in resolvers)


def _joined(text: str) -> str:
    """Join surrogate pairs, which JSON writes for characters beyond U+FFFF."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
