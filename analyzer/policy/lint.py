"""`serin lint`: everything that can be said about policies before a release.

Other Kubernetes objects in the same files are used to check the policies against: a policy whose VirtualService is not
among them is checked by itself. A cluster, if one is given, has the objects that the files do not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from analyzer.policy.checks import check_against
from analyzer.policy.findings import Code, Finding, Path, Position, Severity, suggest
from analyzer.policy.limits import check_limits
from analyzer.policy.load import Document, from_cluster, load_documents
from analyzer.policy.mesh import Object, get_map, name_of, namespace_of
from analyzer.policy.model import KIND, CanaryPolicy
from analyzer.policy.parse import check_kind, is_foreign, read_policy

STDIN: Final = "<stdin>"
_SUFFIXES: Final = {".yaml", ".yml", ".json"}


@dataclass(slots=True)
class _Bundle:
    """What was read from all files."""

    policies: list[Document] = field(default_factory=list)
    foreign: list[Document] = field(default_factory=list)
    objects: list[Document] = field(default_factory=list)
    strays: list[Document] = field(default_factory=list)  # no Kubernetes objects
    findings: list[Finding] = field(default_factory=list)


ListObjects = Callable[[Iterable[str]], Sequence[Object]]
"""Gives all objects of these namespaces that a policy may point to, and the policies."""


def lint_files(
    paths: Sequence[FilePath],
    *,
    stdin: str | None = None,
    namespace: str | None = None,
    list_objects: ListObjects | None = None,
) -> list[Finding]:
    """Check files, and folders with all they hold. Raises nothing of its own.

    Parameters
    ----------
    paths
        `-` is `stdin`.
    stdin
        A text, which is checked too where no path is given.
    namespace
        Of objects that name none, as kubectl's `-n`; `default` otherwise.
    list_objects
        Asks the cluster to check against.

    Raises
    ------
    SerinError
        What `list_objects` raises.
    """
    bundle = _Bundle()
    if stdin is not None and not paths:
        paths = [FilePath("-")]
    for path in paths:
        if str(path) == "-":
            _add(bundle, stdin or "", file=STDIN)
        elif path.is_dir():
            _add_folder(bundle, path)
        else:
            _add_file(bundle, path)
    if namespace is not None:
        _place_in(namespace, bundle)
    live = None
    if list_objects is not None:
        namespaces = {namespace_of(item.value) for item in bundle.policies}
        live = [from_cluster(obj) for obj in list_objects(sorted(namespaces))]
    findings = bundle.findings + _check_bundle(bundle, live)
    return sorted(set(findings))


def _place_in(namespace: str, bundle: _Bundle) -> None:
    for item in (*bundle.policies, *bundle.objects):
        metadata = item.value.setdefault("metadata", {})
        if isinstance(metadata, dict):
            metadata.setdefault("namespace", namespace)


# --- reading ----------------------------------------------------------------------------------------------------------


def _add_folder(bundle: _Bundle, folder: FilePath) -> None:
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


def _add_file(bundle: _Bundle, path: FilePath, *, in_folder: bool = False) -> None:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        bundle.findings.append(_unreadable(path, error))
        return
    _add(bundle, text, file=str(path), in_folder=in_folder)


def _unreadable(path: FilePath, error: Exception) -> Finding:
    if isinstance(error, FileNotFoundError):
        return _at_start(str(path), Code.UNREADABLE, "there is no such file", "correct the path")
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start]
        position = Position(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        mend = "save the file as UTF-8"
        return Finding(str(path), *position, Code.UNREADABLE, Severity.ERROR, "this is not UTF-8 text", mend)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _at_start(str(path), Code.UNREADABLE, f"it cannot be read: {reason}", "correct the path or its permissions")


def _at_start(file: str, code: Code, message: str, mend: str) -> Finding:
    return Finding(file, 1, 1, code, Severity.ERROR, message, mend)


def _add(bundle: _Bundle, text: str, *, file: str, in_folder: bool = False) -> None:
    loaded = load_documents(text, file=file)
    bundle.findings += loaded.findings
    if not loaded.documents and not loaded.findings and not in_folder:
        mend = f"write a {KIND} into it; `serin lint` reads files as kubectl does"
        bundle.findings.append(_at_start(file, Code.EMPTY, "the file is empty", mend))
    for document in loaded.documents:
        for item in document.items():
            if (home := _home(bundle, item)) is not bundle.strays or not in_folder:
                home.append(item)


def _home(bundle: _Bundle, item: Document) -> list[Document]:
    value = item.value
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return bundle.strays
    if value["kind"] == KIND or str(value.get("apiVersion")).startswith("serin.dev/"):
        return bundle.policies
    problem = check_kind(value)
    if problem is not None and problem.mend.startswith("did you mean"):
        return bundle.policies
    return bundle.foreign if is_foreign(value) else bundle.objects


# --- checking ---------------------------------------------------------------------------------------------------------


def _check_bundle(bundle: _Bundle, live: Sequence[Document] | None) -> list[Finding]:
    findings = [_stray(item) for item in bundle.strays]
    severity = Severity.WARNING if bundle.policies else Severity.ERROR
    findings += [
        item.finding(problem.code, problem.message, problem.mend, path=problem.path, severity=severity)
        for item in bundle.foreign
        if (problem := check_kind(item.value)) is not None
    ]
    if bundle.objects and not (bundle.policies or bundle.foreign or bundle.strays or bundle.findings):
        first = bundle.objects[0]
        problem = check_kind(first.value)
        message = f"there is no {KIND} here" + (f": {problem.message}" if problem else "")
        findings.append(first.finding(Code.NO_POLICY, message, problem.mend if problem else "add one", path=("kind",)))
    accepted: list[tuple[Document, CanaryPolicy]] = []
    for item in bundle.policies:
        policy = read_policy(item.value)
        problems = [] if isinstance(policy, CanaryPolicy) else policy
        if isinstance(policy, CanaryPolicy):
            accepted.append((item, policy))
        findings += [item.finding(p.code, p.message, p.mend, path=p.path) for p in problems]
        findings += [*_odd_scalars(item, known={p.path for p in problems}), *_metadata(item)]
    findings += _conflicts(bundle.policies)
    findings += _taken(accepted, live or ())
    for item, policy in accepted:
        findings += [
            item.finding(p.code, p.message, p.mend, path=p.path, severity=p.severity) for p in check_limits(policy)
        ]
        others = [*bundle.objects, *(live or ())]
        findings += check_against(item, policy, others=others, live=live is not None)
    return findings


def _stray(item: Document) -> Finding:
    message = "this object has no `kind`" if isinstance(item.value, dict) else "this is no Kubernetes object"
    return item.finding(Code.WRONG_KIND, message, f"write `apiVersion: …` and `kind: {KIND}`")


def _odd_scalars(item: Document, *, known: AbstractSet[Path]) -> Iterator[Finding]:
    for path in (path for path in item.odd_scalars if path not in known):
        message = "kubectl reads this unquoted word as a number or a boolean, not as a string"
        mend = "put it in quotes if a string is meant"
        yield item.finding(Code.AMBIGUOUS_SCALAR, message, mend, path=path, severity=Severity.WARNING)


_METADATA: Final = (
    "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "generateName", "uid", "generation",
    "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
    "selfLink",
)  # fmt: skip


def _metadata(item: Document) -> Iterator[Finding]:
    """Warn of fields that the API server would drop: a policy without its `namespace` is checked against nothing."""
    metadata = item.value.get("metadata")
    for name in metadata if isinstance(metadata, dict) else ():
        if name not in _METADATA:
            message, mend = f"objects have no `metadata.{name}`", suggest(name, _METADATA)
            path = ("metadata", name)
            yield item.finding(Code.UNKNOWN_FIELD, message, mend, path=path, severity=Severity.WARNING)


def _conflicts(items: Sequence[Document]) -> Iterator[Finding]:
    """Find two policies with one name, and two on one VirtualService."""
    by_name: dict[tuple[str, str], Document] = {}
    by_target: dict[tuple[str, str], Document] = {}
    for item in items:
        namespace = namespace_of(item.value)
        spec = item.value.get("spec")
        target = spec.get("target") if isinstance(spec, dict) else None
        service = target.get("virtualService") if isinstance(target, dict) else None
        if (other := by_name.setdefault((namespace, name_of(item.value)), item)) is not item:
            message = f"there is a policy {name_of(item.value)} already in {_place(other)}"
            yield item.finding(Code.CONTRADICTION, message, "give it another name", path=("metadata", "name"))
        if isinstance(service, str) and (other := by_target.setdefault((namespace, service), item)) is not item:
            message = f"VirtualService {service} already has the policy {name_of(other.value)}, in {_place(other)}"
            mend = "keep one policy per VirtualService; it may have several stages"
            path = ("spec", "target", "virtualService")
            yield item.finding(Code.TARGET_TAKEN, message, mend, path=path)


def _taken(accepted: Iterable[tuple[Document, CanaryPolicy]], live: Iterable[Document]) -> Iterator[Finding]:
    """Find VirtualServices that another policy of the cluster has."""
    others = [item.value for item in live if item.value.get("kind") == KIND]
    for item, policy in accepted:
        mine, service = policy.metadata, policy.spec.target.virtual_service
        for other in others:
            target = get_map(other, "spec", "target").get("virtualService")
            if namespace_of(other) == mine.namespace and name_of(other) != mine.name and target == service:
                message = f"VirtualService {service} already has the policy {name_of(other)}, in the cluster"
                mend = "keep one policy per VirtualService: delete that one first"
                yield item.finding(Code.TARGET_TAKEN, message, mend, path=("spec", "target", "virtualService"))


def _place(item: Document) -> str:
    return f"{item.file}:{item.position(()).line}"
