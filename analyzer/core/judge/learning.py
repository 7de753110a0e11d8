"""What the stable version's own pods teach before a rollout."""

from analyzer.core.judge.types import History, JudgeSettings, Learned


def learn(history: History, settings: JudgeSettings) -> Learned:
    """Learn how the stable version usually does.

    Parameters
    ----------
    history
        Its counts, pod by pod.
    settings
        Those of the rollout to come.

    Returns
    -------
    Learned
        For `initial_state`.
    """
    del settings
    return Learned(edges_ms=history.edges_ms)
