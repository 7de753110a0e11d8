"""`serin init`: a first policy for a VirtualService that is there.

Several drafts are tried, the most telling first, and the first that lint has nothing against is the one: what is written passes
`serin lint` together with what it was made from.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from analyzer.policy import mesh
from analyzer.policy.bundle import Bundle
from analyzer.policy.fields import DEFAULT_WEIGHTS
from analyzer.policy.findings import Finding, Severity
from analyzer.policy.lint import lint_bundle
from analyzer.policy.load import Document, load_documents
from analyzer.policy.mesh import Object, RouteView, name_of, namespace_of

DRAFT: Final = "<draft>"
_FOCUSED: Final = (50, 100)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a policy is written from.

    Attributes
    ----------
    stages
        Route (None: every one that splits both versions), weights, and whether it is for a few users first.
    deployments
        Only where they cannot be found through labels.
    """

    virtual_service: Object
    versions: tuple[str, str]
    stages: tuple[tuple[str | None, tuple[int, ...], bool], ...]
    stable: str | None = None
    deployments: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """Write the policy, a comment on each line that says something."""
        metadata = mesh.get_map(self.virtual_service, "metadata")
        name = name_of(self.virtual_service)
        first, second = self.versions
        lines = ["apiVersion: serin.dev/v1alpha1", "kind: CanaryPolicy", "metadata:", f"  name: {_quoted(name)}"]
        if metadata.get("namespace"):
            lines.append(f"  namespace: {_quoted(namespace_of(self.virtual_service))}  # that of the VirtualService")
        lines += [
            "spec:",
            "  mode: observe  # Serin decides and reports, and patches nothing; write `enforce` once you trust it",
            "  target:",
            f"    virtualService: {_quoted(name)}  # the weights are in its routes",
            f"    versions: [{_quoted(first)}, {_quoted(second)}]  # compared; the one with less traffic is the canary",
        ]
        if self.stable is not None:
            why = "trusted to begin with: both have the same weight now, and nothing else tells"
            lines.append(f"    stable: {_quoted(self.stable)}  # {why}")
        if self.deployments:
            lines.append("    deployments:  # labels alone do not tell which is which")
            lines += [f"      {_quoted(version)}: {_quoted(deployment)}" for version, deployment in self.deployments]
        lines.append("  stages:  # one after the other; each takes its route to 100 %")
        for route, weights, focused in self.stages:
            written = f"[{', '.join(map(str, weights))}]"
            if route is None:
                lines.append(f"    - weights: {written}  # the canary's share of every route that leads to both")
                continue
            who = "the users whom its match singles out, first" if focused else "everybody whom it serves"
            lines += [
                f"    - route: {_quoted(route)}  # {who}",
                f"      weights: {written}  # the canary's share [per cent]",
            ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no policy can be written for a VirtualService."""

    name: str
    reasons: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(self.reasons)}"


def draft_policy(bundle: Bundle, *, name: str | None = None, home: str) -> str | list[Refusal]:
    """Write a policy for the one VirtualService that has two versions, or for the one of this name.

    Returns the policy; or, where there is none or more than one to choose from, each candidate and what speaks against it.
    """
    services = [item for item in bundle.objects if _is_virtual_service(item.value)]
    wanted = [item for item in services if name in {None, name_of(item.value)}]
    if not wanted:
        known = [Refusal(_label(item.value), ("is another one",)) for item in services]
        return known or [Refusal(name or "nothing", ("there is no VirtualService at all",))]
    answers = [(item, _draft(item, bundle, home=home)) for item in wanted]
    texts = [(item, answer) for item, answer in answers if isinstance(answer, str)]
    if len(texts) == 1:
        return texts[0][1]
    if texts:
        return [Refusal(_label(item.value), ("could have one: name it",)) for item, _ in texts]
    return [answer for _, answer in answers if isinstance(answer, Refusal)]


def _is_virtual_service(value: Object) -> bool:
    group = str(value.get("apiVersion")).partition("/")[0]
    return value.get("kind") == "VirtualService" and group == "networking.istio.io"


def _label(value: Object) -> str:
    return f"VirtualService {namespace_of(value)}/{name_of(value)}"


def _draft(item: Document, bundle: Bundle, *, home: str) -> str | Refusal:
    before = {_what(finding) for finding in lint_bundle(bundle, home=home)}
    reasons: dict[str, None] = {}
    for draft in _drafts(item.value, bundle.objects):
        text = draft.text()
        loaded = load_documents(text, file=DRAFT)
        tried = replace(bundle, policies=[*bundle.policies, *loaded.documents])
        found = lint_bundle(tried, home=home)
        found = [*loaded.findings, *found]
        errors = [f for f in found if f.severity is Severity.ERROR and _what(f) not in before]
        if not errors:
            return text
        reasons |= dict.fromkeys(f"{finding.message} ({finding.mend})" for finding in errors)
    return Refusal(_label(item.value), tuple(reasons) or (_no_pair(item.value),))


def _what(finding: Finding) -> tuple[str, int, int, str, str]:
    return finding.file, finding.line, finding.column, finding.code, finding.message


def _no_pair(value: Object) -> str:
    views = mesh.find_routes(value)
    if not views:
        return "it has no http routes"
    told = ", ".join(f"{view} leads to {len({d.key for d in view.destinations})}" for view in views)
    return f"no http route leads to two versions: {told}; write the second one into it, with `weight: 0`"


def _drafts(value: Object, objects: Iterable[Document]) -> Iterator[Draft]:
    """Make drafts, those that say more first."""
    namespace = namespace_of(value)
    views = mesh.find_routes(value)
    pairs: dict[frozenset[tuple[str, str | None]], list[RouteView]] = {}
    for view in views:
        if len(view.destinations) == 2 == len({d.key for d in view.destinations}):
            pairs.setdefault(frozenset(d.key for d in view.destinations), []).append(view)
    deployments = [
        name_of(i.value) for i in objects if i.value.get("kind") == "Deployment" and namespace_of(i.value) == namespace
    ]
    for split in pairs.values():
        first, second = (mesh.version_name(d, namespace=namespace) for d in split[-1].destinations)
        for stages in _stages(value, split):
            plain = Draft(value, (first, second), stages)
            heavier = max(split[-1].destinations, key=lambda d: d.weight)
            trusted = replace(plain, stable=mesh.version_name(heavier, namespace=namespace))
            yield plain
            yield trusted
            if (named := _by_name((first, second), deployments)) is not None:
                yield replace(plain, deployments=named)
                yield replace(trusted, deployments=named)


def _stages(
    value: Object, split: Sequence[RouteView]
) -> Iterator[tuple[tuple[str | None, tuple[int, ...], bool], ...]]:
    names = [view.name for view in split]
    if len(split) > 1 and None not in names and len(set(names)) == len(names) <= 16:
        focused = [view.matches and _by_header(value, view) for view in split]
        if any(focused) and not focused[-1]:
            yield tuple(
                (view.name, _FOCUSED if first else DEFAULT_WEIGHTS, first)
                for view, first in zip(split, focused, strict=True)
            )
    if len(split) == 1 and split[0].name is not None:
        yield ((split[0].name, DEFAULT_WEIGHTS, False),)
    yield ((None, DEFAULT_WEIGHTS, False),)
    for view in split:
        if view.name is not None and not view.matches:
            yield ((view.name, DEFAULT_WEIGHTS, False),)


def _by_header(value: Object, view: RouteView) -> bool:
    """Tell whether a route singles users out: by a header, a cookie being one."""
    route = mesh.get_list(value, "spec", "http")[view.index]
    matches = mesh.get_maps(route, "match")
    return bool(matches) and all(mesh.get_map(match, "headers") for match in matches)


def _by_name(versions: tuple[str, str], deployments: Sequence[str]) -> tuple[tuple[str, str], ...] | None:
    """Find the Deployments whose names end in the versions'."""
    found = [[name for name in deployments if name == version or name.endswith(f"-{version}")] for version in versions]
    if any(len(names) != 1 for names in found):
        return None
    return tuple((version, names[0]) for version, names in zip(versions, found, strict=True))


def _quoted(text: str) -> str:
    """Write a name so that kubectl, too, takes it for a string."""
    plain = text.replace("-", "").replace(".", "").isalnum() and text.isascii() and text[0].isalpha()
    words = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
    return text if plain and text.lower() not in words else json.dumps(text)
