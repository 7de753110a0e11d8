"""Files, folders and standard input into a bundle of documents, sorted by what they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from analyzer.policy.findings import Code, Finding, Position, Severity
from analyzer.policy.load import Document, load_documents
from analyzer.policy.model import DEFAULTS_KIND, KIND
from analyzer.policy.parse import check_kind, is_foreign

STDIN: Final = "<stdin>"
_SUFFIXES: Final = {".yaml", ".yml", ".json"}


@dataclass(slots=True)
class Bundle:
    """What was read.

    Attributes
    ----------
    policies
        Ours, or meant to be: nobody else's `apiVersion` begins with `serin.dev/`.
    defaults
        `CanaryDefaults`.
    foreign
        Policies of other tools.
    objects
        Everything else that Kubernetes knows.
    strays
        No Kubernetes objects.
    findings
        What could not be read.
    seen
        Files, so that one that is named twice, or with its folder, is read once.
    """

    policies: list[Document] = field(default_factory=list)
    defaults: list[Document] = field(default_factory=list)
    foreign: list[Document] = field(default_factory=list)
    objects: list[Document] = field(default_factory=list)
    strays: list[Document] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seen: set[FilePath] = field(default_factory=set)


def read_bundle(paths: Sequence[FilePath], *, stdin: bytes | str | None = None) -> Bundle:
    """Read files, and folders with all they hold; `-` is `stdin`, which is read too where no path is given."""
    bundle = Bundle()
    if stdin is not None and not paths:
        paths = [FilePath("-")]
    for path in paths:
        if str(path) == "-":
            _add_bytes(bundle, stdin.encode() if isinstance(stdin, str) else stdin or b"", file=STDIN)
        elif path.is_dir():
            _add_folder(bundle, path)
        else:
            _add_file(bundle, path)
    return bundle


def _add_folder(bundle: Bundle, folder: FilePath) -> None:
    try:
        files = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    except OSError as error:
        bundle.findings.append(_unreadable(folder, error))
        return
    if not files:
        mend = "name a folder with *.yaml, *.yml or *.json files"
        bundle.findings.append(_at_start(str(folder), Code.EMPTY, "the folder holds no manifest", mend))
    for file in files:
        _add_file(bundle, file, in_folder=True)


def _add_file(bundle: Bundle, path: FilePath, *, in_folder: bool = False) -> None:
    try:
        if (found := path.resolve()) in bundle.seen:
            return
        bundle.seen.add(found)
        read = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a null character in it, or links in a circle
        bundle.findings.append(_unreadable(path, error))
        return
    _add_bytes(bundle, read, file=str(path), in_folder=in_folder)


def _add_bytes(bundle: Bundle, read: bytes, *, file: str, in_folder: bool = False) -> None:
    try:
        text = read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        position = Position(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        message, mend = "this is not UTF-8 text", "save the file as UTF-8"
        bundle.findings.append(Finding(file, *position, Code.UNREADABLE, Severity.ERROR, message, mend))
    else:
        _add(bundle, text, file=file, in_folder=in_folder)


def _unreadable(path: FilePath, error: Exception) -> Finding:
    if isinstance(error, FileNotFoundError):
        return _at_start(str(path), Code.UNREADABLE, "there is no such file", "correct the path")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _at_start(str(path), Code.UNREADABLE, f"it cannot be read: {reason}", "correct the path or its permissions")


def _at_start(file: str, code: Code, message: str, mend: str) -> Finding:
    return Finding(file, 1, 1, code, Severity.ERROR, message, mend)


def _add(bundle: Bundle, text: str, *, file: str, in_folder: bool = False) -> None:
    loaded = load_documents(text, file=file)
    bundle.findings += loaded.findings
    if not loaded.documents and not loaded.findings and not in_folder:
        mend = f"write a {KIND} into it; `serin lint` reads files as kubectl does"
        bundle.findings.append(_at_start(file, Code.EMPTY, "the file is empty", mend))
    for document in loaded.documents:
        for item in document.items():
            if (home := _home(bundle, item)) is not bundle.strays or not in_folder:
                home.append(item)


def _home(bundle: Bundle, item: Document) -> list[Document]:
    value = item.value
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return bundle.strays
    if value["kind"] == DEFAULTS_KIND:
        return bundle.defaults
    if value["kind"] == KIND or str(value.get("apiVersion")).startswith("serin.dev/"):
        return bundle.policies
    problem = check_kind(value)
    if problem is not None and problem.mend.startswith("did you mean"):
        return bundle.policies
    return bundle.foreign if is_foreign(value) else bundle.objects
