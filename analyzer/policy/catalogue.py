"""What each code means and why it matters, for the tools that show it: titles of annotations, SARIF's rules.

The findings themselves say what is wrong where, and what to write instead; this says why anybody should care.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from analyzer.policy.findings import Code


class Entry(NamedTuple):
    """One code for people."""

    title: str
    why: str


CATALOGUE: Final[Mapping[Code, Entry]] = {
    code: Entry(title, why)
    for code, title, why in (
        (Code.SYNTAX, "not YAML or JSON", "Nothing of the file can be read, by kubectl neither."),
        (Code.DUPLICATE_KEY, "a key twice", "kubectl silently keeps the last one."),
        (Code.UNREADABLE, "the file cannot be read", "A file that was to be checked, and was not, is not a clean one."),
        (Code.EMPTY, "nothing in it", "A check of nothing would pass."),
        (Code.NO_POLICY, "no policy in it", "A check of nothing would pass."),
        (Code.WRONG_KIND, "not a kind that Serin reads", "The API server refuses it, or nobody ever looks at it."),
        (Code.AMBIGUOUS_SCALAR, "a word that kubectl reads otherwise", "YAML 1.1 takes `on` for true and `010` for 8."),
        (Code.UNKNOWN_FIELD, "no such field", "A misspelt field would leave its default in force."),
        (Code.MISSING_FIELD, "a field is missing", "Without it Serin cannot tell what to release."),
        (Code.WRONG_VALUE, "a wrong value", "It has another type, or is out of range."),
        (Code.WRONG_UNIT, "a unit is missing or wrong", "`10` has been taken for seconds, minutes and milliseconds."),
        (Code.WEIGHTS, "steps that lead nowhere", "The steps of a stage lead from little to everything."),
        (Code.CONTRADICTION, "fields that contradict each other", "Both cannot be meant."),
        (Code.VIRTUAL_SERVICE_MISSING, "no such VirtualService", "There are no weights to move."),
        (
            Code.UNSUPPORTED_ROUTE,
            "a kind of route that Serin does not move",
            "Its weights or its telemetry are elsewhere.",
        ),
        (Code.DUPLICATE_ROUTE, "a route name twice", "Istio allows it; nobody could tell which one a stage moves."),
        (Code.DUPLICATE_DESTINATION, "a destination twice", "The weight of a version would be in two places."),
        (Code.ROUTE_MISSING, "no such route", "The stage has nothing to move."),
        (Code.ROUTE_NOT_SPLIT, "a route to one version only", "There is no second weight to move traffic to."),
        (Code.EXTRA_DESTINATION, "a third version", "The weights would not be the canary's share."),
        (Code.ONE_VERSION, "one version only", "There is nothing to compare with."),
        (Code.VERSIONS_AMBIGUOUS, "more than two versions", "Serin compares two, and cannot guess which."),
        (Code.VERSION_MISSING, "no such version", "No destination of the VirtualService is called that."),
        (Code.WEIGHTS_INEXPRESSIBLE, "a step between two whole numbers", "Istio's weights are whole numbers."),
        (Code.STABLE_UNKNOWN, "equal weights", "Nothing tells which of the two versions is to be trusted."),
        (Code.WEIGHTS_DISAGREE, "different weights in routes that move together", "The first step would jump."),
        (
            Code.TARGET_TAKEN,
            "two policies on one VirtualService",
            "They would fight over its weights; the older one wins.",
        ),
        (Code.FOREIGN_HOST, "a version in another namespace", "Serin reads and writes within the policy's namespace."),
        (
            Code.WEIGHTS_DELEGATED,
            "the weights are in a delegate",
            "Serin moves those of the VirtualService it is given.",
        ),
        (
            Code.DELEGATE_HIDDEN,
            "a delegate that its root may not see",
            "Istio leaves its routes out, and says nothing.",
        ),
        (Code.ROOT_UNSEEN, "the root is not known", "What telemetry calls a delegate's route begins with the root's."),
        (Code.ROUTE_UNNAMED, "a route that telemetry cannot tell", "Different users would be compared."),
        (Code.SUBSET_MISSING, "an undefined subset", "Istio answers its requests with 503."),
        (Code.SERVICE_MISSING, "no Service", "The pods behind the version cannot be found."),
        (Code.DEPLOYMENT_MISSING, "no Deployment", "A version without pods cannot be judged."),
        (Code.DEPLOYMENT_AMBIGUOUS, "several Deployments", "Serin cannot tell which one the version is."),
        (Code.DEPLOYMENT_SHARED, "one Deployment for both versions", "Compared with itself, anything looks harmless."),
        (
            Code.NO_AUTOSCALER,
            "nothing scales the version",
            "Its pods stay as they are while its share of traffic grows.",
        ),
        (Code.SCALE_DOWN_WINDOW, "the stable version shrinks too early", "A rollback would find too few pods."),
        (Code.NO_CPU_REQUEST, "no CPU request", "An HPA on CPU utilisation does nothing without it."),
        (Code.AUTOSCALERS_AMBIGUOUS, "several HPAs on one Deployment", "Kubernetes then lets none of them scale it."),
        (
            Code.MAX_REPLICAS_TOO_FEW,
            "too few maxReplicas",
            "The version could never carry the stage; Serin would hold there.",
        ),
        (Code.NEVER_SCALES_UP, "an HPA that never scales up", "Each step would wait for pods that nobody starts."),
        (Code.TARGET_TOO_HIGH, "a target that no pod may reach", "Full pods fail requests, and no more are started."),
        (Code.SHORT_WINDOW, "hours shorter than a step", "A rollout takes as many days as it has steps."),
        (Code.REGEX_COOKIE_SPACE, "an expression that misses cookies", "Browsers write a space after each `;`."),
        (Code.REGEX_DOT, "an unescaped dot", "It matches any character, and so other people's domains."),
        (
            Code.LIMIT_BELOW_FLOOR,
            "a limit below what is tolerated",
            "The release is rolled back for what was called harmless.",
        ),
        (
            Code.LIMIT_BETWEEN_EDGES,
            "a limit between two edges",
            "Istio's histogram cannot tell a p99 between its edges.",
        ),
        (
            Code.PASSED_UNWATCHED,
            "users whom nothing watches",
            "All of them are on the canary; without an absolute limit there is nothing to compare them with.",
        ),
        (Code.REGEX_COOKIE_ALONE, "an expression for one cookie alone", "Browsers send all cookies in one header."),
        (Code.REGEX_REFUSED, "an expression that Istio refuses", "The VirtualService could not be applied."),
        (Code.ROUTE_UNREACHABLE, "a route without requests", "Istio takes the first route that matches."),
        (Code.WEIGHTS_SUM, "weights that are no per cent", "Istio divides by their sum, whatever it is."),
        (Code.MESH_ONLY, "bound to no gateway", "Requests from outside would go on unsplit."),
        (Code.ANOTHER_WAY, "another way to the versions", "Its users are not moved, but counted."),
        (Code.EXPORT_HIDES, "hidden by exportTo", "Proxies that should split requests do not know the weights."),
    )
}
