"""What the stable version's own pods teach before a rollout: how much counts vary though nothing was released.

Each pod plays canary against the rest. In interval t pod i has x of the x. events of all pods; given x., it should have
e = x. n r / sum(n r), r its own long-run rate (so constant offsets do not count as noise), and u = x - e has variance V
(hypergeometric) if requests are independent. Averaged over all ways to split the pods into halves, half against half
holds exactly the same: sum over i of u^2, times P / (4 (P - 1)). So one pass over the pods is all there is to learn.

    noise:   gamma_k = sum u_t u_{t+k} / sum V_t V_{t+k}, gamma_0 = sum (u^2 - V) / sum V^2,  over pods and intervals;
             long-run variance = max(gamma_0, gamma_0 (1 + rho) / (1 - rho), Bartlett sum of 16) + its standard error,
             per pod: over 1 + 1/(P - 1).
    clump:   the ratio sum u^2 / sum V, less the part that has a memory: clumps have none.
    load:    how unequally requests are spread over pods beyond chance: users that stick.
    spread:  between-pod standard deviation of the long-run log-odds (DerSimonian & Laird 1986), its upper bound; of errors
             only what is significant.

What one pod at constant load shows is explained by clumps or by noise or both; `dispersion.phi` takes the larger.

Few pods. Two and three: one against the rest is all there is; the spread of two is taken from the fall-back, that of
three is not below half of it. One: each interval plays canary against the next; noise and spread are not below the
fall-backs, because slow noise cancels between neighbours. Too few events (sum of V below 1 in a channel): fall-backs.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import chdtri

from analyzer.core.judge import dispersion, newborn, prediction, state
from analyzer.core.judge.types import History, JudgeSettings, Learned
from analyzer.core.judge.warmup import AGES_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.evalues import FloatArray

_LAGS: Final = 16
_MOST_MEMORY: Final = 0.95
_BASE: Final = 1.0
_MOST_LATENCY_CLUMP: Final = 1.5
"""Slow requests do not come in clumps by themselves: what makes them (a pause of a pod) grows with its traffic, as noise
does."""
_SIGNIFICANT: Final = 0.1
"""Errors are rare: a spread of theirs that chance shows in one history of ten is not believed. What an hour of all pods does
not show, half an hour of two cannot either."""
_LOWER_TAIL: Final = 0.8
"""The spread is taken at the upper end of an 80 % one-sided interval, for few pods show it badly."""


def learn(history: History, settings: JudgeSettings) -> Learned:
    """Learn how the stable version usually does.

    Parameters
    ----------
    history
        Its counts, pod by pod; a few hundred intervals are best, up to the rollout's beginning.
    settings
        Those of the rollout to come.

    Returns
    -------
    Learned
        For `initial_state`.

    Raises
    ------
    ValueError
        The arrays' shapes do not fit each other.
    """
    _check(history)
    x, n = _counts(history)
    record = state.fresh(len(history.edges_ms))
    if x.shape[0] == 0 or not n.any():
        return Learned(history.edges_ms, record.tobytes())
    record["learned"] = 1
    record["base"] = _BASE
    record["load"] = _load(n[..., 0])
    _prime(record, x, n, history.seconds)
    begins_s = _ages(history)
    grown_up = ~(begins_s < AGES_S[-1])
    for channel in range(x.shape[2]):
        # What a young pod does is its warm-up, not noise.
        part = grown_up if channel else np.ones_like(grown_up)
        clump, noise, spread = _channel(x[..., channel] * part, n[..., channel] * part, latency=channel > 0)
        record["clump"][0, channel] = clump
        record["noise"][0, channel] = noise
        record["spread"][0, channel] = spread
    if settings.warm_up_s > 0 and len(history.edges_ms):
        newborn.learn(record, x[..., 1:], n[..., 1:], begins_s=begins_s, edges_ms=history.edges_ms)
    return Learned(history.edges_ms, record.tobytes())


def _check(history: History) -> None:
    shape = history.requests.shape
    wanted = (*shape, len(history.edges_ms) + 1)
    if len(shape) != 2 or history.errors.shape != shape or history.latency_counts.shape != wanted:
        raise ValueError(
            f"history: requests {shape}, errors {history.errors.shape} and latency_counts "
            f"{history.latency_counts.shape} must be (intervals, pods), the same, and (intervals, pods, "
            f"{len(history.edges_ms) + 1})"
        )
    if history.pod_age_s is not None and history.pod_age_s.shape != shape:
        raise ValueError(f"history: pod_age_s {history.pod_age_s.shape} must have the shape of requests, {shape}")


def _ages(history: History) -> "FloatArray":
    """Age of each pod when each interval began, shape (T, P) [s]; infinity or NaN where it is not known to be young."""
    if history.pod_age_s is None:
        return newborn.births(np.maximum(history.requests, 0).astype(np.float64), history.seconds)
    return np.asarray(history.pod_age_s - history.seconds)


def _counts(history: History) -> tuple["FloatArray", "FloatArray"]:
    """Events and requests per interval, pod and channel, shape (T, P, C)."""
    requests = np.maximum(history.requests, 0).astype(np.float64)
    errors = np.clip(history.errors, 0, requests)
    counts = np.maximum(history.latency_counts, 0).astype(np.float64)
    above = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    x = np.concatenate([errors[..., None], above[..., 1:]], axis=-1)
    n = np.concatenate([requests[..., None], np.repeat(above[..., :1], x.shape[-1] - 1, axis=-1)], axis=-1)
    return x, n


def _prime(record: "NDArray[np.void]", x: "FloatArray", n: "FloatArray", seconds: float) -> None:
    keep = prediction.keep_rate(seconds) ** np.arange(len(x))[::-1]
    record["mean_n"][0] = keep @ n.sum(axis=1)
    record["mean_x"][0] = np.minimum(keep @ x.sum(axis=1), record["mean_n"][0])


def _channel(x: "FloatArray", n: "FloatArray", *, latency: bool) -> tuple[float, float, float]:
    """Give clump, noise and spread of one channel, from counts of shape (T, P)."""
    least = dispersion.NOISE_LATENCY if latency else dispersion.NOISE_ERRORS
    usual = dispersion.SPREAD_LATENCY if latency else dispersion.SPREAD_ERRORS
    pods = int((n.sum(axis=0) > 0).sum())
    alone = pods <= 1
    if alone:
        total_x, total_n = x.sum(axis=1), n.sum(axis=1)
        half = len(total_x) // 2
        x, n, pods = total_x[: 2 * half].reshape(half, 2), total_n[: 2 * half].reshape(half, 2), 2
    u, v = _residuals(x, n)
    if v.sum() < 1.0:
        return dispersion.CLUMP, least, usual
    ratio = float((u**2).sum() / v.sum())
    long_run, memory = _noise(u, v)
    noise = long_run / (1.0 + 1.0 / (pods - 1.0))
    clump = 1.0 + max(ratio - 1.0, 0.0) * (1.0 - memory) + np.sqrt(2.0 / np.count_nonzero(v))
    if latency:
        clump = min(clump, _MOST_LATENCY_CLUMP)
    if alone:
        return clump, max(noise, least), usual
    return clump, noise, _spread(x, n, ratio=max(ratio, 1.0), noise=noise, usual=usual, latency=latency)


def _residuals(x: "FloatArray", n: "FloatArray") -> tuple["FloatArray", "FloatArray"]:
    """Give u and V, shape (T, P)."""
    all_x, all_n = x.sum(axis=1, keepdims=True), n.sum(axis=1, keepdims=True)
    share = all_x / np.maximum(all_n, 1.0)
    rate = _long_run_rate(x, n, share)
    part = n * rate / np.maximum((n * rate).sum(axis=1, keepdims=True), 1e-300)
    expected = all_x * part
    variance = expected * (1.0 - part) * (all_n - all_x) / np.maximum(all_n - 1.0, 1.0)
    return x - expected, np.maximum(variance, 0.0)


def _long_run_rate(x: "FloatArray", n: "FloatArray", share: "FloatArray") -> "FloatArray":
    """Each pod's events over those that the intervals' common shares give it, shape (P,)."""
    rate: FloatArray = (x.sum(axis=0) + 1.0) / ((n * share).sum(axis=0) + 1.0)
    return rate


def _noise(u: "FloatArray", v: "FloatArray") -> tuple[float, float]:
    """Give the long-run variance of the log-odds, pod against rest, and the part of the variance that has a memory."""
    weight = float((v**2).sum())
    error = float(np.sqrt(2.0 / max(weight, 1e-300)))
    gamma = [float((u**2 - v).sum() / weight)]
    for lag in range(1, min(_LAGS, len(u))):
        both = float((v[lag:] * v[:-lag]).sum())
        gamma.append(float((u[lag:] * u[:-lag]).sum() / both) if both > 0 else 0.0)
    if gamma[0] < 2.0 * error:
        return max(gamma[0], 0.0) + error, 0.0
    rho = float(np.clip(gamma[1] / gamma[0], 0.0, _MOST_MEMORY)) if len(gamma) > 1 else 0.0
    bartlett = gamma[0] + 2.0 * sum((1.0 - k / _LAGS) * g for k, g in enumerate(gamma) if k)
    memory = rho if len(gamma) > 1 and gamma[1] > 2.0 * error else 0.0
    return max(gamma[0], gamma[0] * (1.0 + rho) / (1.0 - rho), bartlett) + error, memory


def _load(n: "FloatArray") -> float:
    """Relative standard deviation of what a random part of the users asks for, if it had all pods' size.

    Where users stick to a pod, and so to a version, the requests of the pods differ more than by chance, and so does
    the canary's share: by this over the square root of its weight. Counts of requests routed one by one give 0.
    """
    there = n > 0
    there[1:] &= n[:-1] > 0  # a pod's first interval is not whole
    n = np.where(there, n, 0.0)
    pods = there.sum(axis=1, keepdims=True)
    some = pods[:, 0] > 1
    if not some.any():
        return dispersion.LOAD
    n, there, pods = n[some], there[some], pods[some]
    mean = n.sum(axis=1, keepdims=True) / pods
    square = np.where(there, (n - mean) ** 2, 0.0).sum(axis=1) / (pods[:, 0] - 1)
    relative = float((square - mean[:, 0]).mean() / (mean**2).mean())
    return float(np.sqrt(max(relative, 0.0) / np.median(pods)))


def _spread(x: "FloatArray", n: "FloatArray", *, ratio: float, noise: float, usual: float, latency: bool) -> float:
    """Between-pod standard deviation of the long-run log-odds, upper bound."""
    share = x.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1.0)
    there = n.sum(axis=0) > 0
    pods = int(there.sum())
    if pods == 2:
        return usual
    intervals = (n > 0).sum(axis=0)[there]
    slow, fast = x.sum(axis=0)[there] + 0.5, (n - x).sum(axis=0)[there] + 0.5
    expected = (n * share).sum(axis=0)[there] + 0.5
    rest = np.maximum(n.sum(axis=0)[there] + 1.0 - expected, 0.5)
    effect = np.log(slow / fast) - np.log(expected / rest)
    weight = 1.0 / (ratio * (1.0 / expected + 1.0 / rest) + noise / np.maximum(intervals, 1))
    mean = (weight * effect).sum() / weight.sum()
    q = float((weight * (effect - mean) ** 2).sum())
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    largest = (pods - 1.0) / float(chdtri(pods - 1.0, _LOWER_TAIL))
    chance = pods - 1.0 if latency else float(chdtri(pods - 1.0, _SIGNIFICANT))
    spread = float(np.sqrt(max(0.0, (q - chance) / scale) * largest))
    return max(spread, 0.5 * usual) if pods == 3 else spread
