"""What can be wrong with a policy or with what it points to: the codes, and how a finding reads.

A `Problem` knows the place inside an object; a `Finding` also knows the file, line and column of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

Path = tuple[str | int, ...]
"""The way to a value inside an object: `("spec", "stages", 0, "route")`."""


class Severity(StrEnum):
    """An error stops a release from being judged; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """Every code, once. They are stable: a number is never given a second meaning."""

    # The file
    SYNTAX = "SRN001"  # not YAML, or not JSON
    DUPLICATE_KEY = "SRN002"  # one key twice in a mapping
    UNREADABLE = "SRN003"  # the file is not there, or cannot be read as text
    EMPTY = "SRN004"  # nothing in the file
    NO_POLICY = "SRN005"  # other objects, but no CanaryPolicy
    WRONG_KIND = "SRN006"  # not a CanaryPolicy, or not of a version that Serin knows
    AMBIGUOUS_SCALAR = "SRN007"  # warning: kubectl reads this unquoted word as something else

    # The policy by itself
    UNKNOWN_FIELD = "SRN101"  # there is no such field
    MISSING_FIELD = "SRN102"  # a field that must be there is not
    WRONG_VALUE = "SRN103"  # wrong type, or out of range
    WRONG_UNIT = "SRN104"  # a duration or percentage without its unit
    WEIGHTS = "SRN105"  # the steps of a stage do not lead from little to everything
    CONTRADICTION = "SRN106"  # two fields cannot both be meant

    # The policy and its VirtualService
    VIRTUAL_SERVICE_MISSING = "SRN201"  # (with --cluster) there is no such VirtualService
    UNSUPPORTED_ROUTE = "SRN202"  # tcp or tls routes
    DUPLICATE_ROUTE = "SRN203"  # a route name twice
    DUPLICATE_DESTINATION = "SRN204"  # a destination twice in one route
    ROUTE_MISSING = "SRN205"  # no route of that name
    ROUTE_NOT_SPLIT = "SRN206"  # the route does not lead to both versions
    EXTRA_DESTINATION = "SRN207"  # the route leads to a third version
    ONE_VERSION = "SRN208"  # the VirtualService knows one version only
    VERSIONS_AMBIGUOUS = "SRN209"  # more than two versions, and the policy names none
    VERSION_MISSING = "SRN210"  # no destination is this version
    WEIGHTS_INEXPRESSIBLE = "SRN211"  # a step is no whole number of the route's total weight
    STABLE_UNKNOWN = "SRN212"  # equal weights, and no `stable`
    WEIGHTS_DISAGREE = "SRN213"  # warning: routes that move together have different weights
    TARGET_TAKEN = "SRN214"  # two policies on one VirtualService
    FOREIGN_HOST = "SRN215"  # a version lives in another namespace
    WEIGHTS_DELEGATED = "SRN216"  # the weights are in a delegate of this VirtualService
    DELEGATE_HIDDEN = "SRN217"  # a root delegates to it, and `exportTo` hides it from the root
    ROOT_UNSEEN = "SRN218"  # (lint: a warning) what telemetry calls a delegate's route is not known, and is needed
    ROUTE_UNNAMED = "SRN219"  # a route shares its versions with others, and telemetry cannot tell it from them

    # What runs behind it
    SUBSET_MISSING = "SRN301"  # no DestinationRule defines the subset
    SERVICE_MISSING = "SRN302"  # no Service for the host
    DEPLOYMENT_MISSING = "SRN303"  # no Deployment for the version
    DEPLOYMENT_AMBIGUOUS = "SRN304"  # several Deployments for the version
    DEPLOYMENT_SHARED = "SRN305"  # one Deployment for both versions

    # What makes a rollback dangerous, and traps
    NO_AUTOSCALER = "SRN401"  # warning: nothing scales the version
    SCALE_DOWN_WINDOW = "SRN402"  # warning: stable shrinks while the canary is still judged
    NO_CPU_REQUEST = "SRN403"  # warning: the HPA cannot work without it
    AUTOSCALERS_AMBIGUOUS = "SRN404"  # warning: several HPAs scale one Deployment, so none of them does
    MAX_REPLICAS_TOO_FEW = "SRN405"  # warning: under `maxReplicas` the version can never carry a stage
    NEVER_SCALES_UP = "SRN406"  # warning: the HPA may not scale up
    TARGET_TOO_HIGH = "SRN407"  # warning: the HPA grows only where its pods use more than anybody promised them
    REGEX_COOKIE_SPACE = "SRN411"  # warning: misses cookies after the first
    REGEX_DOT = "SRN412"  # warning: an unescaped dot matches anything
    SHORT_WINDOW = "SRN421"  # warning: hours that are over before a step's dwell is
    LIMIT_BELOW_FLOOR = "SRN413"  # warning: a limit so low that the comparison tolerates more
    LIMIT_BETWEEN_EDGES = (
        "SRN414"  # warning: the histogram has no edge at the limit, so it is tested at a higher one or not
    )
    PASSED_UNWATCHED = "SRN415"  # warning: nothing finds harm to the users of a stage that is through

    # Traps of VirtualServices
    REGEX_COOKIE_ALONE = "SRN431"  # warning: matches only where there is no other cookie
    REGEX_REFUSED = "SRN432"  # Istio refuses the expression
    ROUTE_UNREACHABLE = "SRN433"  # no request comes to the route; a warning, where no stage moves it
    WEIGHTS_SUM = "SRN434"  # weights that are no per cent; an error, where Istio refuses them
    MESH_ONLY = "SRN435"  # warning: bound to no gateway, so requests from outside are not split
    ANOTHER_WAY = "SRN436"  # warning: another VirtualService leads to the versions, and is not moved
    EXPORT_HIDES = "SRN437"  # warning: `exportTo` keeps it from the proxies that should know it


class Subject(StrEnum):
    """The object that a problem's path leads into."""

    POLICY = "policy"
    VIRTUAL_SERVICE = "virtualService"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in an object.

    Attributes
    ----------
    code
        What kind of problem.
    message, mend
        What is wrong, and what to write instead.
    path
        Where, inside `subject`.
    subject
        The object.
    severity
        How bad.
    """

    code: Code
    message: str
    mend: str
    path: Path = ()
    subject: Subject = Subject.POLICY
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = dotted(self.path) or "the object"
        prefix = "" if self.subject is Subject.POLICY else "VirtualService: "
        return f"{prefix}{where}: {self.message}; {self.mend}"


class Position(NamedTuple):
    """A place in a text; both count from 1."""

    line: int
    column: int


class Finding(NamedTuple):
    """Something wrong in a file; findings sort by place."""

    file: str
    line: int
    column: int
    code: Code
    severity: Severity
    message: str
    mend: str


def dotted(path: Path) -> str:
    """Write a path as people do: `spec.stages[0].route`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant."""
    by_folded = {name.casefold(): name for name in known}
    matches = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def suggest(word: str, known: Sequence[str]) -> str:
    """Word a mend for a name that is not there: the closest, or all there are."""
    if (match := closest(word, known)) is not None:
        return f"did you mean `{match}`?"
    return f"there are: {', '.join(known)}" if known else "there are none"


def format_findings(findings: Iterable[Finding]) -> str:
    """Write findings as `file:line:column CODE message`, each with its mend on an indented line."""
    lines: list[str] = []
    for finding in findings:
        note = "warning: " if finding.severity is Severity.WARNING else ""
        place = f"{finding.file}:{finding.line}:{finding.column}"
        lines += [f"{place} {finding.code} {note}{finding.message}", f"    mend: {finding.mend}"]
    return "".join(f"{line}\n" for line in lines)


def has_errors(findings: Iterable[Finding]) -> bool:
    """Tell whether anything is worse than a warning."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def hardened(findings: Iterable[Finding]) -> list[Finding]:
    """Take warnings for errors."""
    return [finding._replace(severity=Severity.ERROR) for finding in findings]
