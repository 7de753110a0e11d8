"""From the text of a receivers file to what it says, or to findings with file, line, column and mend.

Values never appear in a finding: one that is in the wrong place may be a secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from analyzer.policy.findings import Code, Finding, Severity, dotted, suggest
from analyzer.policy.load import Document, load_documents
from analyzer.policy.receivers import Receivers, Trouble, check

_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_TYPES: Final = {
    "string_type": ("a string is wanted here", "write a word, or put it in quotes"),
    "dict_type": ("a mapping is wanted here", "write it as `key: value`"),
    "model_type": ("a mapping is wanted here", "write it as `key: value`"),
    "tuple_type": ("a list is wanted here", "write it like `[…]`, or one `- ` a line"),
    "too_short": ("the list is empty", "name at least one"),
    "too_long": ("the list is too long", "leave some out"),
}


def read_receivers(text: str, *, file: str) -> Receivers | list[Finding]:
    """Read the file, or list what is wrong with it."""
    loaded = load_documents(text, file=file)
    if loaded.findings:
        return [_redacted(finding) for finding in loaded.findings]
    if len(loaded.documents) != 1:
        message = "the file is empty" if not loaded.documents else "there is more than one document"
        mend = "write `receivers:` and one receiver below it" if not loaded.documents else "remove the `---`"
        return [Finding(file, 1, 1, Code.EMPTY, Severity.ERROR, message, mend)]
    (document,) = loaded.documents
    if not isinstance(document.value, dict):
        return [document.finding(Code.WRONG_VALUE, "the file is no mapping", "begin with `receivers:`")]
    try:
        read = Receivers.model_validate(document.value)
    except ValidationError as error:
        troubles = [_translate(each) for each in error.errors(include_url=False, include_input=False)]
        return [document.finding(code, *told, path=path) for code, path, *told in troubles]
    return [_finding(document, trouble) for trouble in check(read)] or read


def _finding(document: Document, trouble: Trouble) -> Finding:
    path, message, mend = trouble
    return document.finding(Code.WRONG_VALUE, message, mend, path=path)


def _redacted(finding: Finding) -> Finding:
    """Take out what the parser quotes of the text, but for keys: those are no secret."""
    if finding.code is not Code.SYNTAX:
        return finding
    return finding._replace(message=_QUOTED.sub("…", finding.message), mend="correct the text here or just before")


def _translate(error: ErrorDetails) -> tuple[Code, tuple[str | int, ...], str, str]:
    path = error["loc"]
    kind = error["type"]
    if kind == "extra_forbidden":
        under = f" under `{dotted(path[:-1])}`" if len(path) > 1 else ""
        return (
            Code.UNKNOWN_FIELD,
            path,
            f"there is no field `{path[-1]}`{under}",
            suggest(str(path[-1]), _siblings(path)),
        )
    if kind == "missing":
        return Code.MISSING_FIELD, path, f"`{path[-1]}` is missing", f"add `{path[-1]}: …`"
    if kind == "literal_error":
        known = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return Code.WRONG_VALUE, path, "this is none of the values that may be here", f"there are: {known}"
    if kind == "serin":
        name = error["ctx"]["mend"]
        return Code.WRONG_VALUE, tuple(part for part in path if part != "[key]"), "this cannot be a name", name
    message, mend = _TYPES.get(kind, ("this cannot be here", "see `deploy/receivers.md`"))
    return Code.WRONG_VALUE, path, message, mend


def _siblings(path: tuple[str | int, ...]) -> Sequence[str]:
    """List the fields that may be where the last part of a path is."""
    annotation: Any = Receivers
    for part in path[:-1]:
        model = next(_models(annotation), None)
        if model is None:
            return ()
        fields: Mapping[str, Any] = {
            field.alias or name: field.annotation for name, field in model.model_fields.items()
        }
        # The name of a receiver is no field: what is below it is of the same type.
        annotation = fields.get(str(part), annotation)
    model = next(_models(annotation), None)
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
