"""What several commands read of their options."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analyzer.errors import PolicyError
from analyzer.policy.bundle import read_bundle
from analyzer.policy.defaults import HOME
from analyzer.policy.findings import Finding, format_findings
from analyzer.policy.layered import LayeredDocument, conflicting
from analyzer.policy.load import Document
from analyzer.policy.mesh import namespace_of
from analyzer.policy.model import KIND, CanaryPolicy
from analyzer.policy.parse import read_defaults, read_policy


class UsageError(PolicyError):
    """An option is not what it should be."""

    reason = "UsageError"


def read_policy_file(path: Path, *, beside: Sequence[Path] = (), home: str = HOME) -> CanaryPolicy:
    """Read the one policy of a file, over the `CanaryDefaults` that `serin lint` would read with the same files.

    Parameters
    ----------
    path
        A file or a folder; `-` is standard input. Whatever else is in it does not matter.
    beside
        More of them, of which only `CanaryDefaults` are taken.
    home
        Serin's own namespace: `CanaryDefaults` there count for all policies.

    Raises
    ------
    PolicyError
        There is none, or more than one, or it is wrong, or something cannot be read.
    """
    stdin = sys.stdin.buffer.read() if Path("-") in (path, *beside) else None
    first, whole = read_bundle([path], stdin=stdin), read_bundle([path, *beside], stdin=stdin)
    if whole.findings:
        raise _wrong(whole.findings)
    found = [*first.policies, *first.foreign]
    if len(found) != 1:
        count = f"{len(found)} policies" if found else f"no {KIND}"
        raise UsageError(f"{path} holds {count}: name a file with exactly one")
    return _over(found[0], whole.defaults, home=home)


def _over(own: Document, defaults: Sequence[Document], *, home: str) -> CanaryPolicy:
    """Read a policy over the defaults that count for it: each is to be right by itself, and so are they together."""
    if isinstance(problems := read_policy(own.value), list):
        raise _wrong(own.finding(p.code, p.message, p.mend, path=p.path) for p in problems)
    counting = [item for item in defaults if namespace_of(item.value) in {namespace_of(own.value), home}]
    if twice := list(conflicting(counting)):
        raise _wrong(twice)
    for item in counting:
        if isinstance(wrong := read_defaults(item.value), list):
            raise _wrong(item.finding(p.code, p.message, p.mend, path=p.path) for p in wrong)
    layered = LayeredDocument.over(own, counting, home=home)
    if isinstance(policy := read_policy(layered.value), list):
        raise _wrong(layered.clash(p.code, p.message, p.mend, path=p.path) for p in policy)
    return policy


def _wrong(findings: Iterable[Finding]) -> PolicyError:
    return PolicyError(format_findings(findings).rstrip())
