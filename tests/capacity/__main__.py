"""`python -m tests.capacity [--services 200] [--seed 1]`: the rollback planner on random services, as a table."""

import argparse

import numpy as np

from tests.capacity.services import Hurt, always_ramped, by_steps, draw, one_jump, planned, play


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    rows: dict[str, list[Hurt]] = {
        "one jump": [],
        "always ramped": [],
        "steps of 1/30 each 5 s": [],
        "Serin's choice": [],
    }
    for number in range(args.services):
        service = draw(rng)
        seed = args.seed * 1_000_003 + number
        courses = (one_jump, always_ramped(service), by_steps, planned(service))
        for name, course in zip(rows, courses, strict=True):
            rows[name].append(play(service, course, seed=seed))
    best = np.minimum(_cost(rows["one jump"]), _cost(rows["always ramped"]))
    chosen = _cost(rows["Serin's choice"])
    print(f"{args.services} random services, seed {args.seed}; requests per service, mean")
    print(f"{'course':<24}{'failed':>9}{'by canary':>11}{'by overload':>13}{'slow':>9}")
    for name, hurts in rows.items():
        figures = [
            np.mean([getattr(h, part) for h in hurts]) for part in ("failed", "by_canary", "by_overload", "slow")
        ]
        print(f"{name:<24}{figures[0]:>9.0f}{figures[1]:>11.0f}{figures[2]:>13.0f}{figures[3]:>9.0f}")
    regret = chosen - best
    print(f"Serin's choice was the better course, or within 5 % of it: {np.mean(chosen <= 1.05 * best + 1):.0%}")
    print(
        f"regret against the better in hindsight: mean {regret.mean():.0f}, median {np.median(regret):.0f}, "
        f"95 % {np.quantile(regret, 0.95):.0f} requests; relative to the better's sum {regret.sum() / best.sum():.1%}"
    )


def _cost(hurts: list[Hurt]) -> np.ndarray:
    return np.array([h.failed + 0.25 * h.slow for h in hurts])


if __name__ == "__main__":
    main()
