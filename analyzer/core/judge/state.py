"""The judge's memory of one rollout: one record of numbers, and its text form for `.status`.

A record is a row of a numpy structured array, so that a thousand rollouts become `[R, C, L]` arrays by joining bytes,
and a checkpoint is exact to the last bit. C is 1 + the number of histogram edges: channel 0 is errors, channel 1 + j
is edge j.
"""

import base64
import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import completions, dispersion, harm, noninferiority, warmup
from analyzer.core.judge.noninferiority import COMPLETIONS, N_GUESSES, N_LATENCY_CLAIMS
from analyzer.core.judge.types import JudgeRequest, JudgeState, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_VERSION: Final = "3."
_HEAD: Final = struct.Struct("<HHH")
_MOST_BYTES: Final = 1 << 16
_MOST_EDGES: Final = 256
_MOST_RUNGS: Final = 100


def rungs_of(ladder: tuple[float, ...]) -> int:
    """Count the margins that are proven side by side: those of the ladder, or the one of the step."""
    return max(len(ladder), 1)


@lru_cache(maxsize=_MOST_EDGES + 1)
def layout(n_edges: int, n_rungs: int = 1) -> "np.dtype[np.void]":
    """Fields of a record for `n_edges` histogram edges and `n_rungs` margins, all little-endian."""
    channels = 1 + n_edges
    return np.dtype(
        [
            # harm: what is bet on each effect, what is not bet yet, and the largest log evidence so far
            ("bets", "<f4", (channels + harm.SOLO, harm.N_EFFECTS)),
            ("cash", "<f4", (channels + harm.SOLO,)),
            ("max_log_e", "<f8"),
            # running mean of the stable version: requests, and events among them
            ("mean_n", "<f8", (channels,)),
            ("mean_x", "<f8", (channels,)),
            # dispersion: learned from a history, or fall-backs; [intervals, squares] of the stable version's errors
            ("clump", "<f4", (channels,)),
            ("noise", "<f4", (channels,)),
            ("spread", "<f4", (channels,)),
            ("base", "<f4"),
            ("load", "<f4"),
            ("running", "<f8", (2,)),
            ("wander", "<f8", (2,)),  # the same of its latency: [noise, weight]
            # warm-up: log evidence against each level, how many are rejected, by age class too; shifts from a history
            ("warm_e", "<f4", (len(warmup.LEVELS),)),
            ("warm_age", "<f8"),  # age of the youngest pod at the last interval's end; -1: never seen
            ("warm_pods", "<f4"),
            ("warm_share", "<f4"),  # part of the canary's pods that is young
            ("warm_shift", "<f2", (n_edges, len(warmup.AGES_S) - 1)),
            # non-inferiority: what is bet per margin, claim and guess; on completions; what is not bet yet
            ("ni_bets", "<f4", (n_rungs, COMPLETIONS, N_GUESSES)),
            ("ni_kept", "<f4"),
            ("ni_cash", "<f4"),
            ("log_ratio", "<f4", (len(completions.RATIOS),)),  # sample ratio
            # totals since the evidence began: [stable, canary]
            ("requests", "<i8", (2,)),
            ("errors", "<i8", (2,)),
            ("histogram", "<i8", (2, channels)),
            ("seconds", "<f8"),
            ("intervals", "<i8"),
            ("compared", "<i8"),  # intervals in which both versions had requests
            # totals since the step's weight was set
            ("step_seconds", "<f8"),
            ("step_intervals", "<i8"),
            ("step_requests", "<i8", (2,)),
            ("step_unattributed", "<i8"),
            ("ni_edges", "<i4", (N_LATENCY_CLAIMS,)),  # edges chosen for the step; -1: not yet
            ("learned", "u1"),  # 1: the dispersion is from a history
            ("warm_known", "u1"),  # 1: the warm-up is from a history
            ("warm_births", "u1"),  # how often new pods were seen
            ("warm_rejected", "u1"),
            ("warm_table", "u1", (len(warmup.AGES_S),)),
            ("weights_set", "u1"),  # 1 once the edges' weights are fixed
            ("body", "u1", (n_edges,)),  # how each edge takes part: harm.REST, BODY, SPARED
        ]
    )


def moves(state: JudgeState, step: Step) -> bool:
    """Tell whether a rollout begins a step with this."""
    return step.key != state.step_key or step.ladder != state.ladder


def is_carried(state: JudgeState, step: Step) -> bool:
    """Tell whether a step goes on with the proof of the one before: it proves the same things."""
    return bool(step.ladder) and step.ladder == state.ladder


def is_same_step(state: JudgeState, step: Step) -> bool:
    """Tell whether it is the same step at another weight: there are more pods for it now, or fewer."""
    return step.ladder == state.ladder and step.key.partition("@")[0] == state.step_key.partition("@")[0]


def start(records: "NDArray[np.void]", requests: "Sequence[JudgeRequest]") -> None:
    """Begin a step where the request is about another than the state: proof and step totals; evidence of harm stays.

    Parameters
    ----------
    records : ndarray, shape (R,)
        Of the requests' states; changed in place.
    requests
        What is to be judged, shape (R,).
    """
    moved = [number for number, r in enumerate(requests) if moves(r.state, r.step)]
    anew = [number for number in moved if not is_same_step(requests[number].state, requests[number].step)]
    carried = [is_carried(requests[number].state, requests[number].step) for number in anew]
    noninferiority.start_step(records, np.array(anew, dtype=np.intp), carried=np.array(carried, dtype=np.bool_))
    rows = np.array(moved, dtype=np.intp)
    records["log_ratio"][rows] = 0.0  # it is about the weight
    for name in ("step_seconds", "step_intervals", "step_requests", "step_unattributed"):
        records[name][rows] = 0


def fresh(n_edges: int, n_rungs: int = 1) -> "NDArray[np.void]":
    """Give a writable record, shape (1,), of a rollout that nothing is known of."""
    record = np.zeros(1, layout(n_edges, n_rungs))
    record["bets"] = harm.START_SHARE * harm.PRIOR
    record["bets"][:, 0] = harm.START_SHARE_ERRORS * harm.PRIOR
    record["cash"] = 1.0 - harm.START_SHARE
    record["cash"][:, 0] = 1.0 - harm.START_SHARE_ERRORS
    record["clump"] = dispersion.CLUMP
    record["noise"] = dispersion.NOISE_LATENCY
    record["noise"][:, 0] = dispersion.NOISE_ERRORS
    record["spread"] = dispersion.SPREAD_LATENCY
    record["spread"][:, 0] = dispersion.SPREAD_ERRORS
    record["base"] = dispersion.BASE
    record["load"] = dispersion.LOAD
    record["warm_age"] = -1.0
    record["warm_share"] = 1.0
    noninferiority.begin(record)
    return record


@lru_cache(maxsize=_MOST_EDGES + 1)
def fresh_record(n_edges: int, n_rungs: int = 1) -> bytes:
    """Give the record of a rollout that nothing is known of."""
    return fresh(n_edges, n_rungs).tobytes()


_PER_EDGE: Final = frozenset({"mean_n", "mean_x", "clump", "noise", "spread"})
_PURSES: Final = frozenset({"bets", "cash"})
_SHAPED_BY_EDGES: Final = _PER_EDGE | _PURSES | {"histogram", "body", "warm_shift"}
_PROOF: Final = frozenset({"ni_bets", "ni_cash", "ni_edges"})


def fitted(state: JudgeState, edges_ms: tuple[float, ...], n_rungs: int) -> bytes:
    """Give a state's record in the layout of `edges_ms` (its own or, while it has none, its first) and so many margins."""
    if not state.record:
        return fresh_record(len(edges_ms), n_rungs)
    had_edges, had_rungs = len(state.edges_ms), rungs_of(state.ladder)
    if had_edges == len(edges_ms) and had_rungs == n_rungs:
        return state.record
    old = np.frombuffer(state.record, layout(had_edges, had_rungs))
    new = fresh(len(edges_ms), n_rungs)
    for name in old.dtype.names or ():
        if name in _PROOF and had_rungs != n_rungs:
            continue  # other margins: their proof begins anew
        if had_edges == len(edges_ms) or name not in _SHAPED_BY_EDGES:
            new[name] = old[name]
        elif name in _PER_EDGE:
            new[name][:, :1] = old[name]
        elif name in _PURSES:
            new[name][:, :1] = old[name][:, :1]
            new[name][:, -harm.SOLO :] = old[name][:, -harm.SOLO :]
    return new.tobytes()


def stack(records: "Sequence[bytes]", n_edges: int, n_rungs: int = 1) -> "NDArray[np.void]":
    """Put records below each other, shape (R,), writable."""
    return np.frombuffer(bytearray(b"".join(records)), layout(n_edges, n_rungs))


def dump_state(state: JudgeState) -> str:
    """Write a state as text of at most 4 kB (for 19 edges).

    Parameters
    ----------
    state
        Any state that the judge gave.

    Returns
    -------
    str
        ASCII, with a version in front. `load_state` gives back the same state, bit for bit.
    """
    key = state.step_key.encode()
    head = _HEAD.pack(len(state.edges_ms), len(state.ladder), len(key))
    numbers = (*state.edges_ms, *state.ladder)
    packed = zlib.compress(head + key + struct.pack(f"<{len(numbers)}d", *numbers) + state.record, 9)
    return _VERSION + base64.b64encode(packed).decode("ascii")


def load_state(text: str) -> JudgeState:
    """Read what `dump_state` wrote.

    Parameters
    ----------
    text
        The stored state.

    Returns
    -------
    JudgeState
        Equal to the one that was stored.

    Raises
    ------
    ValueError
        The text is not a state, is damaged, or was written by another version of the judge.
    """
    if not text.startswith(_VERSION):
        found = text[:12] + ("…" if len(text) > 12 else "")
        raise ValueError(
            f"stored evidence must begin with {_VERSION!r}, found {found!r}: remove it to judge this rollout anew"
        )
    try:
        state = _unpack(_inflate(base64.b64decode(text[len(_VERSION) :], validate=True)))
    except (ValueError, zlib.error, struct.error) as error:
        raise ValueError(f"stored evidence is damaged ({error}): remove it to judge this rollout anew") from error
    return state


def _inflate(packed: bytes) -> bytes:
    stream = zlib.decompressobj()
    raw = stream.decompress(packed, _MOST_BYTES)
    if not stream.eof or stream.unused_data:
        raise zlib.error("it is cut off, or longer than any state")
    return raw


def _unpack(raw: bytes) -> JudgeState:
    n_edges, n_weights, key_size = _HEAD.unpack_from(raw)
    offset = _HEAD.size + key_size
    key = raw[_HEAD.size : offset].decode()
    numbers = struct.unpack_from(f"<{n_edges + n_weights}d", raw, offset)
    edges, ladder = numbers[:n_edges], numbers[n_edges:]
    record = raw[offset + 8 * len(numbers) :]
    if not record and not edges:
        return JudgeState(step_key=key, ladder=ladder)
    if n_edges > _MOST_EDGES or n_weights > _MOST_RUNGS or len(record) != layout(n_edges, rungs_of(ladder)).itemsize:
        raise struct.error(f"{len(record)} bytes do not fit {n_edges} histogram edges and {n_weights} weights")
    _check_numbers(np.array(edges), np.array(ladder), np.frombuffer(record, layout(n_edges, rungs_of(ladder))))
    return JudgeState(edges_ms=edges, step_key=key, record=record, ladder=ladder)


def _check_numbers(edges: "NDArray[np.float64]", ladder: "NDArray[np.float64]", record: "NDArray[np.void]") -> None:
    names = [name for name in record.dtype.names or () if record.dtype[name].base.kind == "f"]
    finite = all(bool(np.isfinite(record[name]).all()) for name in names)
    ordered = all(bool(np.isfinite(a).all()) and bool((np.diff(a) > 0).all()) for a in (edges, ladder))
    chosen = bool(((record["ni_edges"] >= -1) & (record["ni_edges"] < max(len(edges), 1))).all())
    if not (finite and ordered and chosen):
        raise struct.error("it holds numbers that no judge writes")
