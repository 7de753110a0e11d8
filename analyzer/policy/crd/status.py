"""The schema of `.status`, for `kubectl explain`; `analyzer.app.status` writes what it describes."""

from typing import Any, Final

Schema = dict[str, Any]


def _one(kind: str, text: str) -> Schema:
    # Nullable throughout: a part that there is nothing to say about is written as null.
    return {"type": kind, "nullable": True, "description": text}


def _text(text: str) -> Schema:
    return _one("string", text)


def _number(text: str) -> Schema:
    return _one("number", text)


def _whole(text: str) -> Schema:
    return _one("integer", text)


def _object(text: str, **fields: Schema) -> Schema:
    return _one("object", text) | {"properties": fields, "x-kubernetes-preserve-unknown-fields": True}


def _list(text: str, items: Schema) -> Schema:
    return _one("array", text) | {"items": {key: value for key, value in items.items() if key != "nullable"}}


def _weights(text: str) -> Schema:
    return _list(text, _number("The canary's share of one stage [per cent]."))


def _role(text: str) -> Schema:
    return _object(
        text, version=_text("Subset or host."), revision=_text("Hash of the pod template when the roles were fixed.")
    )


def _rates(text: str) -> Schema:
    return _object(
        text,
        requests=_whole("Requests that were judged."),
        errors=_whole("Those that failed."),
        errorRate=_number("Share of requests that failed."),
        errorRateInterval=_list("The error rate, with 95 % confidence.", _number("Lower or upper end.")),
        p50Milliseconds=_number("Median latency [ms]."),
        p99Milliseconds=_number("99th percentile of latency [ms]."),
    )


_EVIDENCE: Final = _object(
    "What the verdict rests on.",
    logE=_number("Natural logarithm of the evidence of harm."),
    logThreshold=_number("At or above this the evidence is HARM."),
    pValue=_number("Anytime-valid p-value of `the canary is harmless`."),
    culprit=_text("The measure with the most evidence of harm."),
    proof=_one("object", "Per claim, the natural logarithm of the evidence that it holds in this step.")
    | {"additionalProperties": {"type": "number"}},
    logProofThreshold=_number("PROVEN when every claim is at or above this."),
    margins=_text("What is being proven in this step."),
    limits=_one("object", "Per absolute limit, the natural logarithm of the evidence that it is exceeded.")
    | {"additionalProperties": {"type": "number"}},
    sampleRatioLogE=_number("Natural logarithm of the evidence that the weights are not in effect."),
    intervals=_whole("Scrape intervals that were judged."),
    seconds=_number("Time that was judged [s]."),
    stable=_rates("The stable version since the evidence began."),
    canary=_rates("The canary since the evidence began."),
)


def _capacity(text: str) -> Schema:
    return _object(
        text,
        autoscaler=_text("Its HorizontalPodAutoscaler; empty where none works."),
        replicas=_whole("Pods that its Deployment wants."),
        ready=_whole("Pods that can answer."),
        maxReplicas=_whole("The most that its HorizontalPodAutoscaler makes."),
        needed=_whole("Replicas needed: the canary for its next weight, the stable version to take everything back."),
        requestsPerSecond=_number("Requests per second that it has."),
        carries=_number("Requests per second that its ready pods can be given."),
        doubt=_number("Standard deviation of what a pod carries, as a share of it."),
        unknown=_text("Why nothing, or not everything, can be foretold."),
    )


# No `Reconciling`: until a change of the policy was seen `observedGeneration` says so, which kstatus looks at first.
_CONDITION: Final = _object(
    "One condition.",
    type={
        "type": "string",
        "description": "Ready (the policy is accepted and enforced), Stalled (it is not, until somebody mends it), "
        "Promoted (the canary has all traffic) or Held (nothing moves forward).",
    },
    status=_text("True, False or Unknown."),
    reason=_text("In one word."),
    message=_text("For people."),
    observedGeneration=_whole("The generation of the policy that it speaks of."),
    lastTransitionTime=_text("When the status changed last.") | {"format": "date-time"},
) | {"required": ["type", "status"]}

_INTENT: Final = _object(
    "A weight change that is recorded and not yet confirmed.",
    before=_weights("Shares expected there."),
    after=_weights("Shares wanted."),
    reason=_text("Why, in one word."),
    message=_text("Why, for people."),
)

_NOTICE: Final = _object(
    "One notice.",
    reason=_text("What happened, in one word."),
    urgency=_text("event, info, notice or page."),
    rollout=_text("Version and revision that it is about."),
    title=_text("What happened, in one line."),
    what=_text("What happened."),
    evidence=_text("What tells so."),
    done=_text("What Serin did."),
    toDo=_text("What a person should do."),
    command=_text("A command for it."),
    ends=_list("Conditions that end with this.", _text("A reason.")),
    resolved=_one("boolean", "Whether it ends what an earlier notice began."),
    atS=_number("When [unix seconds]."),
)

STATUS: Final = _object(
    "What Serin knows, and from where any of its replicas goes on. Written by Serin only.",
    observedGeneration=_whole("The generation of the policy that this status speaks of."),
    inherited=_one("object", "What the policy is silent on and CanaryDefaults say: field to value and namespace.")
    | {"additionalProperties": {"type": "string"}},
    turn=_whole("Number of the turn of the loop that wrote this."),
    phase=_text("Idle, Pending, Progressing, Baking, RollingBack, Promoted, RolledBack or Invalid."),
    reason=_text("Why the phase is what it is, in one word."),
    message=_text("The same for people."),
    weight=_whole("The canary's share of the active stage [per cent]."),
    step=_text("Stage and weight: `1:25`."),
    since=_text("When phase or weights changed last.") | {"format": "date-time"},
    verdict=_text("HARM, PROVEN, INCONCLUSIVE or NO_DATA."),
    stable=_role("The version that is trusted."),
    canary=_role("The version that is judged, or was last."),
    weights=_weights("The canary's share of each stage, as read back."),
    intent=_INTENT,
    hold=_object(
        "Why nothing moves forward, if nothing may.",
        reason=_text("Blind, Drift, SampleRatio, Capacity, Schedule, Approval, Paused or Unreachable."),
        message=_text("For people."),
    ),
    paused=_object(
        "Who lets nothing move forward; not there unless somebody does.",
        by=_text("Who."),
        why=_text("In their words."),
        at=_text("Since when.") | {"format": "date-time"},
    ),
    request=_object(
        "The last request (annotation `serin.dev/request`) that was dealt with.",
        id=_text("Its id."),
        verb=_text("pause, resume, retry, promote or abort."),
        by=_text("Who asked."),
        why=_text("In their words."),
        at=_text("When."),
        outcome=_text("Done or Refused."),
        message=_text("What came of it."),
    ),
    answered=_list("Ids of the last requests that were dealt with.", _text("An id.")),
    dispersion=_text("Where the idea of ordinary variation is from: learned from pods, or usual values."),
    evidence=_EVIDENCE,
    capacity=_object(
        "Whether pods are there for the next step, as far as that can be known.",
        nextWeight=_number("The weight that comes next [per cent]."),
        gate=_text("open, part (a part of the step now), wait or never."),
        seconds=_whole("When pods for it are expected [s]."),
        message=_text("The same for people, with how sure it is, or why nobody can know."),
        stable=_capacity("The stable version."),
        canary=_capacity("The canary."),
    ),
    judged=_list(
        "The newest revisions that are not judged again.",
        _object(
            "One revision.",
            version=_text("Subset or host."),
            revision=_text("Hash of its pod template."),
            outcome=_text("Promoted, RolledBack or Superseded."),
            reason=_text("Why."),
        ),
    ),
    history=_list(
        "What happened, the newest last.",
        _object(
            "One thing that happened.",
            at=_text("When.") | {"format": "date-time"},
            reason=_text("In one word."),
            message=_text("For people."),
        ),
    ),
    conditions=_list("Conditions, for `kubectl wait` and GitOps tools.", _CONDITION)
    | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    notices=_list("What happened and may not have reached every receiver yet.", _NOTICE),
    told=_list("Standing conditions that people were told of in this rollout.", _text("A reason.")),
    checkpoint=_object(
        "From where judging goes on after a restart; not for people.",
        judge=_text("The judge's evidence, opaque."),
        judgedUntil=_number("End of the newest judged interval [unix seconds]."),
        intervalSeconds=_number("Length of an interval [s]."),
        passed=_text("The same as `judge`, of the users of stages that are through."),
        passedUntil=_number("The same as `judgedUntil`, of these users [unix seconds]."),
        weightsBefore=_weights("The weights before the present ones."),
        mismatchSeconds=_number("Time held because the weights are not in effect [s]."),
        shortSeconds=_number("Time without a step for want of pods [s]."),
        cleared=_weights("Weights that were cleared, and that pods do not carry yet."),
        unproven=_weights("Weights that the canary was taken beyond without proof."),
        severity=_object(
            "How bad a canary is that is taken back.",
            failing=_number("Share of its requests that fail beyond the stable version's own."),
            low=_number("The same at the lower end of its 95 % interval."),
            high=_number("The same at the upper end."),
        ),
        returningSeconds=_number("Time since a rollback began [s]."),
        course=_text("How the traffic goes back, and why."),
        awaits=_weights("Weights that wait for approval."),
        approved=_weights("Weights that were approved."),
        promotion=_object(
            "Who has ordered that everybody gets the canary.",
            by=_text("Who."),
            why=_text("In their words."),
            force=_one("boolean", "Whatever the evidence and the pods say."),
        ),
        restoring=_one("boolean", "Whether somebody else's weights are to be undone."),
        weightsSince=_number("When the weights were read back, by Prometheus' clock [unix seconds]."),
        waitingSeconds=_number("Time spent waiting for the canary [s]."),
        blindSeconds=_number("Time spent without telemetry [s]."),
    ),
)
