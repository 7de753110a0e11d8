"""`serin lint`: everything that can be said about policies before a release.

Other Kubernetes objects in the same files are used to check the policies against: a policy whose VirtualService is not
among them is checked by itself. A cluster, if one is given, has the objects that the files do not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path as FilePath
from typing import Final, TypeVar

from analyzer.policy.bundle import STDIN, Bundle, read_bundle
from analyzer.policy.checks import check_against
from analyzer.policy.defaults import HOME
from analyzer.policy.findings import Code, Finding, Path, Problem, Severity, suggest
from analyzer.policy.hours import check_schedule
from analyzer.policy.layered import LayeredDocument, conflicting, place_of
from analyzer.policy.limits import check_limits
from analyzer.policy.load import Document, from_cluster
from analyzer.policy.mesh import Object, get_map, name_of, namespace_of
from analyzer.policy.model import DEFAULTS_KIND, KIND, CanaryPolicy
from analyzer.policy.nulls import null_paths
from analyzer.policy.parse import check_kind, read_defaults, read_policy

__all__ = ["STDIN", "ListObjects", "lint_bundle", "lint_files"]

ListObjects = Callable[[Iterable[str]], Sequence[Object]]
"""Gives all objects of these namespaces that a policy may point to, and the policies."""


def lint_files(
    paths: Sequence[FilePath],
    *,
    stdin: bytes | str | None = None,
    namespace: str | None = None,
    list_objects: ListObjects | None = None,
    home: str = HOME,
) -> list[Finding]:
    """Check files, and folders with all they hold. Raises nothing of its own.

    Parameters
    ----------
    paths
        `-` is `stdin`.
    stdin
        What is checked too where no path is given.
    namespace
        Of objects that name none, as kubectl's `-n`; `default` otherwise.
    list_objects
        Asks the cluster to check against.
    home
        Serin's own namespace: `CanaryDefaults` there count for all policies.

    Raises
    ------
    SerinError
        What `list_objects` raises.
    """
    bundle = read_bundle(paths, stdin=stdin)
    if namespace is not None:
        _place_in(namespace, bundle)
    live = None
    if list_objects is not None:
        namespaces = {namespace_of(item.value) for item in bundle.policies}
        live = [from_cluster(obj) for obj in list_objects(sorted(namespaces))]
    findings = bundle.findings + _check_bundle(bundle, live, home=home)
    return sorted(set(findings))


def lint_bundle(bundle: Bundle, *, home: str = HOME) -> list[Finding]:
    """Check what was read already."""
    return sorted(set(bundle.findings + _check_bundle(bundle, None, home=home)))


def _place_in(namespace: str, bundle: Bundle) -> None:
    for item in (*bundle.policies, *bundle.defaults, *bundle.objects):
        metadata = item.value.setdefault("metadata", {})
        if isinstance(metadata, dict):
            metadata.setdefault("namespace", namespace)


# --- checking ---------------------------------------------------------------------------------------------------------


def _check_bundle(bundle: Bundle, live: Sequence[Document] | None, *, home: str) -> list[Finding]:
    findings = [_stray(item) for item in bundle.strays]
    severity = Severity.WARNING if bundle.policies else Severity.ERROR
    findings += [
        item.finding(problem.code, problem.message, problem.mend, path=problem.path, severity=severity)
        for item in bundle.foreign
        if (problem := check_kind(item.value)) is not None
    ]
    ours = bundle.policies or bundle.defaults
    if bundle.objects and not (ours or bundle.foreign or bundle.strays or bundle.findings):
        first = bundle.objects[0]
        problem = check_kind(first.value)
        message = f"there is no {KIND} here" + (f": {problem.message}" if problem else "")
        findings.append(first.finding(Code.NO_POLICY, message, problem.mend if problem else "add one", path=("kind",)))
    defaults = _accepted(bundle.defaults, read_defaults, findings)
    findings += conflicting(bundle.defaults)
    policies = _accepted(bundle.policies, read_policy, findings)
    findings += _conflicts(bundle.policies)
    findings += _taken(policies, live or ())
    known = [item for item, _ in defaults] + [item for item in live or () if item.value.get("kind") == DEFAULTS_KIND]
    for own, _ in policies:
        item = LayeredDocument.over(own, known, home=home)
        policy = read_policy(item.value)
        if isinstance(policy, list):
            findings += [item.clash(p.code, p.message, p.mend, path=p.path) for p in policy]
            continue
        findings += [
            item.finding(p.code, p.message, p.mend, path=p.path, severity=p.severity)
            for p in (*check_limits(policy), *check_schedule(policy))
        ]
        others = [*bundle.objects, *(live or ())]
        findings += check_against(item, policy, others=others, live=live is not None)
    return findings


_Read = TypeVar("_Read")


def _accepted(
    items: Iterable[Document], read: Callable[[Object], _Read | list[Problem]], findings: list[Finding]
) -> list[tuple[Document, _Read]]:
    """Read objects of ours; what is wrong with them goes to `findings`."""
    accepted: list[tuple[Document, _Read]] = []
    for item in items:
        found = read(item.value)
        problems = found if isinstance(found, list) else []
        if not isinstance(found, list):
            accepted.append((item, found))
        findings += [item.finding(p.code, p.message, p.mend, path=p.path) for p in problems]
        findings += [*_odd_scalars(item, known={p.path for p in problems}), *_metadata(item)]
        findings += _nulls(item, known={p.path for p in problems})
    return accepted


def _stray(item: Document) -> Finding:
    message = "this object has no `kind`" if isinstance(item.value, dict) else "this is no Kubernetes object"
    return item.finding(Code.WRONG_KIND, message, f"write `apiVersion: …` and `kind: {KIND}`")


def _odd_scalars(item: Document, *, known: AbstractSet[Path]) -> Iterator[Finding]:
    for path in (path for path in item.odd_scalars if path not in known):
        message = "kubectl reads this unquoted word as a number or a boolean, not as a string"
        mend = "put it in quotes if a string is meant"
        yield item.finding(Code.AMBIGUOUS_SCALAR, message, mend, path=path, severity=Severity.WARNING)


def _nulls(item: Document, *, known: AbstractSet[Path]) -> Iterator[Finding]:
    for path in null_paths({"spec": item.value.get("spec")}):
        if path not in known and path != ("spec",):
            message = f"`{path[-1]}` has no value: it is as if it were not there"
            mend = "write a value, or leave it out to have the default"
            yield item.finding(Code.WRONG_VALUE, message, mend, path=path, severity=Severity.WARNING)


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
            message = f"there is a policy {name_of(item.value)} already in {place_of(other)}"
            yield item.finding(Code.CONTRADICTION, message, "give it another name", path=("metadata", "name"))
        if isinstance(service, str) and (other := by_target.setdefault((namespace, service), item)) is not item:
            message = f"VirtualService {service} already has the policy {name_of(other.value)}, in {place_of(other)}"
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
