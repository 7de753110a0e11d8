"""YAML and JSON into plain objects that know where everything was written.

PyYAML's own loader keeps the last of duplicate keys and reads `010` as 8, `1:30` as 90 and `on` as True. This one
- refuses duplicate keys;
- reads unquoted words as JSON does (`10`, `1.5`, `true`, `null`) and everything else as a string;
- takes aliases and merge keys, as kubectl does, within a limit on what they may expand to;
- builds nothing but mappings, lists and scalars, whatever tags are written.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

import yaml

from analyzer.errors import PolicyError
from analyzer.policy.findings import Code, Finding, Path, Position, Severity, format_findings
from analyzer.policy.nodes import Builder, BuildError, TextLoader, find_node

MAX_CHARACTERS: Final = 4 << 20
"""The API server takes no object above 1.5 MiB; a file may hold several."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file.

    Attributes
    ----------
    file
        As the user named it.
    value
        Mappings, lists, strings, numbers, booleans and None.
    odd_scalars
        Paths of unquoted words that kubectl (YAML 1.1) reads as something other than the string they are here.
    """

    file: str
    value: Any
    node: yaml.Node
    odd_scalars: tuple[Path, ...] = ()
    prefix: Path = ()

    def position(self, path: Path, *, key: bool = False) -> Position:
        """Find where a value (or its key) is written; where the nearest thing around it is, if it is not there."""
        return find_node(self.node, (*self.prefix, *path), key=key)

    def finding(
        self, code: Code, message: str, mend: str, *, path: Path = (), severity: Severity = Severity.ERROR
    ) -> Finding:
        """Make a finding at a path."""
        position = self.position(path, key=code in _AT_KEY)
        return Finding(self.file, *position, code, severity, message, mend)

    def items(self) -> Iterator["Document"]:
        """List the objects: the document itself, or what a `kind: List` holds."""
        entries = self.value.get("items") if isinstance(self.value, dict) and self.value.get("kind") == "List" else None
        if not isinstance(entries, list):
            yield self
            return
        for index, entry in enumerate(entries):
            prefix = (*self.prefix, "items", index)
            odd = tuple(path[2:] for path in self.odd_scalars if path[:2] == ("items", index))
            yield Document(self.file, entry, self.node, odd, prefix)


CLUSTER: Final = "<cluster>"
"""The "file" of what was listed from a cluster."""


def from_cluster(value: Any) -> Document:  # noqa: ANN401  JSON
    """Make a document of an object that the API server gave: it has no place in a text."""
    mark = yaml.Mark(CLUSTER, 0, 0, 0, None, 0)
    return Document(CLUSTER, value, yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark))


_AT_KEY: Final = {Code.UNKNOWN_FIELD, Code.MISSING_FIELD, Code.DUPLICATE_KEY}


class Loaded(NamedTuple):
    """What a text holds, as far as it could be read."""

    documents: list[Document]
    findings: list[Finding]


def load_documents(text: str, *, file: str) -> Loaded:
    """Read all documents of a text; documents without content are left out. Never raises."""
    if len(text) > MAX_CHARACTERS:
        mend = "give the policy a file of its own"
        return Loaded([], [_finding(file, Position(1, 1), Code.UNREADABLE, "the file is larger than 4 MiB", mend)])
    if file.endswith(".json"):
        if (finding := _check_json(text, file=file)) is not None:
            return Loaded([], [finding])
        text = text.replace("\t", " ")  # YAML, which JSON is otherwise a part of, takes no tabs between tokens
    documents: list[Document] = []
    findings: list[Finding] = []
    try:
        for node in yaml.compose_all(text, Loader=TextLoader):
            builder = Builder()
            value = builder.build(node)
            findings += [_finding(file, fault.position, fault.code, str(fault), fault.mend) for fault in builder.faults]
            if value is not None:
                documents.append(Document(file, value, node, tuple(builder.odd_scalars)))
    except BuildError as error:
        findings.append(_finding(file, error.position, error.code, str(error), error.mend))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        findings.append(_syntax(error, text, file=file))
    return Loaded(documents, findings)


def load_objects(paths: Iterable[FilePath]) -> list[dict[str, Any]]:
    """Read all objects of some files.

    Raises
    ------
    PolicyError
        A file cannot be read, or holds something other than objects.
    """
    objects: list[dict[str, Any]] = []
    for path in paths:
        try:
            loaded = load_documents(path.read_text(encoding="utf-8-sig"), file=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path} cannot be read: {error}") from error
        items = [item for document in loaded.documents for item in document.items()]
        odd = [
            item.finding(Code.WRONG_KIND, "this is no object", "write `kind: …`")
            for item in items
            if not isinstance(item.value, dict)
        ]
        if findings := loaded.findings + odd:
            raise PolicyError(format_findings(findings).rstrip())
        objects += [item.value for item in items]
    return objects


def _finding(file: str, position: Position, code: Code, message: str, mend: str) -> Finding:
    return Finding(file, *position, code, Severity.ERROR, message, mend)


def _check_json(text: str, *, file: str) -> Finding | None:
    """Hold a .json file to JSON, which is stricter than the YAML that reads it."""
    if not text.strip():
        return None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        position = Position(error.lineno, error.colno)
        return _finding(file, position, Code.SYNTAX, f"this is not JSON: {error.msg}", "correct it here or just before")
    except (ValueError, RecursionError) as error:
        return _finding(file, Position(1, 1), Code.SYNTAX, f"this is not JSON: {error}", "correct the file")
    return None


def _syntax(error: Exception, text: str, *, file: str) -> Finding:
    mend = "correct the text here or just before; check indentation, quotes and brackets"
    position = Position(1, 1)
    message = f"this is not YAML: {error}"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else position
        message = f"this is not YAML: {error.problem or error.context}"
    elif isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        position = Position(before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        message = f"this is not YAML: the character U+{ord(text[error.position]):04X} may not be in it"
        mend = "remove it, or write it as an escape in double quotes"
    elif isinstance(error, RecursionError):
        message, mend = "this is nested too deeply", "a policy is at most six levels deep"
    return _finding(file, position, Code.SYNTAX, message, mend)
