"""A policy's document over those of its defaults, so that a finding goes to where the culprit is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from analyzer.policy.checks import nearest
from analyzer.policy.defaults import decides, layers_for, with_defaults
from analyzer.policy.findings import Code, Finding, Path, Severity
from analyzer.policy.load import CLUSTER, Document
from analyzer.policy.mesh import name_of, namespace_of


@dataclass(frozen=True, slots=True)
class LayeredDocument(Document):
    """A policy with its defaults.

    Attributes
    ----------
    value
        The policy as it is in effect.
    own
        The policy as it is written.
    layers
        `CanaryDefaults`, those that go before others first.
    """

    own: Document | None = None
    layers: tuple[Document, ...] = ()

    @classmethod
    def over(cls, own: Document, defaults: Iterable[Document], *, home: str) -> Self:
        """Choose the defaults that count for a policy."""
        namespace = namespace_of(own.value)
        near = nearest(own, [item for item in defaults if namespace_of(item.value) == namespace])
        near += nearest(own, [item for item in defaults if namespace_of(item.value) == home != namespace])
        chosen = layers_for(namespace, [item.value for item in near], home=home)
        layers = tuple(item for value in chosen for item in near if item.value is value)
        value = with_defaults(own.value, chosen)
        return cls(own.file, value, own.node, own.odd_scalars, own.prefix, own, layers)

    def finding(
        self, code: Code, message: str, mend: str, *, path: Path = (), severity: Severity = Severity.ERROR
    ) -> Finding:
        """Make a finding where the value at a path is written: in the policy, or in defaults."""
        assert self.own is not None
        layer = self._layer_of(path)
        if layer is None:
            return self.own.finding(code, message, mend, path=path, severity=severity)
        if layer.file == CLUSTER:
            text = f"{message}, from {_named(layer)} in the cluster"
            return self.own.finding(code, text, mend, path=path, severity=severity)
        text = f"{message}, in policy {name_of(self.own.value)} ({place_of(self.own)}), which has it from here"
        return layer.finding(code, text, mend, path=path, severity=severity)

    def clash(self, code: Code, message: str, mend: str, *, path: Path = ()) -> Finding:
        """Make a finding of what is wrong only together with the defaults."""
        assert self.own is not None
        if self._layer_of(path) is not None:
            return self.finding(code, message, mend, path=path)
        with_them = " and ".join(f"{_named(layer)} ({place_of(layer)})" for layer in self.layers)
        return self.own.finding(code, f"{message}, together with {with_them}", mend, path=path)

    def _layer_of(self, path: Path) -> Document | None:
        assert self.own is not None
        if not path or decides(self.own.value, path):
            return None
        return next((layer for layer in self.layers if decides(layer.value, path)), None)


def _named(layer: Document) -> str:
    return f"CanaryDefaults of {namespace_of(layer.value)}"


def place_of(item: Document) -> str:
    """Name the file and the line at which an object begins; or the cluster."""
    return f"{item.file}:{item.position(()).line}" if item.file != CLUSTER else "the cluster"


def conflicting(items: Sequence[Document]) -> Iterable[Finding]:
    """Find second `CanaryDefaults` of one namespace."""
    first: dict[str, Document] = {}
    for item in items:
        namespace = namespace_of(item.value)
        if (other := first.setdefault(namespace, item)) is not item:
            message = f"namespace {namespace} has CanaryDefaults already in {place_of(other)}"
            mend = "join the two, or write another `metadata.namespace`"
            yield item.finding(Code.CONTRADICTION, message, mend, path=("metadata", "namespace"))
