"""The weight that the traffic had, where nobody recorded it: the step of the policy that explains the observed share.

The share of an interval is noisy, and a canary that completes less than it is sent has a smaller one than its weight;
taken as it is, every interval would be a step of its own, and missing completions would look like a smaller weight. So
the weight is one of the policy's steps, 0 or 100, and it changes when the evidence since the last change says so: a
cumulative sum of log-likelihood ratios (Page 1954) of the steps against the present one reaches ln 1000.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

_SURE: Final = np.log(1000.0)
_DISPERSION: Final = 2.0
"""Sticky callers and connections make the share vary more than a coin would."""
_LEAST: Final = 1e-4


class WeightFollower:
    """Tells the weight interval by interval.

    Parameters
    ----------
    steps
        Weights that may occur besides 0 and 100 [per cent].
    """

    def __init__(self, steps: Iterable[float]) -> None:
        self._weights = np.array(sorted({0.0, 100.0, *steps}))
        share = np.clip(self._weights / 100.0, _LEAST, 1.0 - _LEAST)
        self._log_canary, self._log_stable = np.log(share), np.log1p(-share)
        self._score = np.zeros(self._weights.size)
        self._now = 0
        self._begun = False

    def next_weight(self, *, stable: int, canary: int) -> float:
        """Take in the requests of an interval, and tell its weight [per cent]."""
        likelihood = (canary * self._log_canary + stable * self._log_stable) / _DISPERSION
        if not self._begun and canary > 0:
            self._begun = True
            self._move(int(likelihood.argmax()))
        self._score = np.maximum(self._score + likelihood - likelihood[self._now], 0.0)
        if float(self._score.max()) >= _SURE:
            self._move(int(self._score.argmax()))
        return float(self._weights[self._now])

    def _move(self, place: int) -> None:
        self._now = place
        self._score = np.zeros(self._weights.size)
