import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from analyzer.core.judge.evalues import Tables, gro_affine, gro_ratio, poisson_affine


def table(*counts: float) -> Tables:
    x1, n1, x2, n2 = (np.array([float(c)]) for c in counts)
    return Tables(x1=x1, n1=n1, x2=x2, n2=n2)


def of(value: float) -> np.ndarray:
    return np.array([value])


def test_e1_gives_the_published_evidence_of_harm() -> None:
    log_e = poisson_affine(
        table(10, 9900, 5, 100), q1=of(0.001), q2=of(8 * (1.1 * 0.001 + 1e-4)), tau=of(1.1), delta=of(1e-4)
    )
    assert log_e[0] == pytest.approx(9.243556, abs=1e-6)


def test_e1_with_the_other_sign_gives_the_published_evidence_of_non_inferiority() -> None:
    log_e = poisson_affine(table(10, 9900, 0, 1000), q1=of(0.001), q2=of(0.001), tau=of(1.1), delta=of(0.005))
    assert log_e[0] == pytest.approx(5.053329, abs=1e-6)


def test_e2_gives_the_published_evidence() -> None:
    log_e = gro_ratio(table(1970, 9900, 28, 100), q1=of(0.2), q2=of(0.264), ratio=of(1.1))
    assert log_e[0] == pytest.approx(0.941585, abs=1e-6)


def all_tables(n1: int, n2: int) -> Tables:
    x1, x2 = (a.ravel().astype(float) for a in np.meshgrid(np.arange(n1 + 1), np.arange(n2 + 1), indexing="ij"))
    return Tables(x1=x1, n1=np.full(x1.shape, float(n1)), x2=x2, n2=np.full(x1.shape, float(n2)))


def expectation(tables: Tables, log_e: np.ndarray, *, p1: float, p2: float) -> float:
    probability = binom.pmf(tables.x1, tables.n1, p1) * binom.pmf(tables.x2, tables.n2, p2)
    return float((probability * np.exp(log_e)).sum())


SIZES = [(1, 1), (6, 3), (20, 5), (5, 20), (40, 40)]
RATES = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 12)])


@pytest.mark.parametrize(("n1", "n2"), SIZES)
@pytest.mark.parametrize("factor", [0.3, 0.9, 1.3, 8.0])
@pytest.mark.parametrize(("tau", "delta"), [(1.0, 0.0), (1.1, 1e-4), (1.1, 0.05), (3.0, 0.01)])
def test_e1_expects_at_most_one_on_the_whole_boundary_of_the_null(
    n1: int, n2: int, factor: float, tau: float, delta: float
) -> None:
    tables = all_tables(n1, n2)
    for q1 in (0.004, 0.2):
        q2 = min(1.0, factor * (tau * q1 + delta))
        log_e = poisson_affine(tables, q1=of(q1), q2=of(q2), tau=of(tau), delta=of(delta))
        for p1 in RATES:
            p2 = tau * p1 + delta
            if p2 <= 1.0:
                assert expectation(tables, log_e, p1=p1, p2=p2) <= 1.0 + 1e-9


@pytest.mark.parametrize(("n1", "n2"), SIZES)
@pytest.mark.parametrize("factor", [0.3, 0.9, 1.3, 8.0])
@pytest.mark.parametrize(("tau", "delta"), [(1.0, 0.0), (1.1, 1e-4), (1.1, 0.05), (3.0, 0.01)])
def test_affine_e2_expects_at_most_one_on_the_whole_boundary_of_the_null(
    n1: int, n2: int, factor: float, tau: float, delta: float
) -> None:
    tables = all_tables(n1, n2)
    for q1 in (0.004, 0.04, 0.2):
        q2 = min(0.999, factor * (tau * q1 + delta))
        log_e = gro_affine(tables, q1=of(q1), q2=of(q2), tau=of(tau), delta=of(delta))
        for p1 in RATES:
            p2 = tau * p1 + delta
            if p2 <= 1.0:
                assert expectation(tables, log_e, p1=p1, p2=p2) <= 1.0 + 1e-9


def test_affine_e2_without_an_offset_is_e2() -> None:
    counts = table(197, 990, 28, 100)
    affine = gro_affine(counts, q1=of(0.2), q2=of(0.264), tau=of(1.1), delta=of(0.0))
    assert affine == pytest.approx(gro_ratio(counts, q1=of(0.2), q2=of(0.264), ratio=of(1.1)), abs=1e-9)


def test_affine_e2_says_more_of_frequent_errors_than_e1() -> None:
    counts, guess = table(80, 1000, 120, 1000), {"q1": of(0.08), "q2": of(0.12)}
    boundary = {"tau": of(1.1), "delta": of(1e-4)}
    assert gro_affine(counts, **guess, **boundary) > 1.08 * poisson_affine(counts, **guess, **boundary)


@pytest.mark.parametrize(("n1", "n2"), SIZES)
@pytest.mark.parametrize("factor", [0.5, 0.95, 1.05, 1.8])
@pytest.mark.parametrize("ratio", [0.6, 0.95, 1.1, 2.0])
def test_e2_expects_at_most_one_on_the_whole_boundary_of_the_null(
    n1: int, n2: int, factor: float, ratio: float
) -> None:
    tables = all_tables(n1, n2)
    for q1 in (0.06, 0.3):
        log_e = gro_ratio(tables, q1=of(q1), q2=of(min(0.99, factor * ratio * q1)), ratio=of(ratio))
        for p1 in RATES:
            if ratio * p1 <= 1.0:
                assert expectation(tables, log_e, p1=p1, p2=ratio * p1) <= 1.0 + 1e-9


@pytest.mark.parametrize("factor", [0.5, 1.8])
def test_both_expect_at_most_one_inside_the_null_too(factor: float) -> None:
    tables = all_tables(20, 8)
    boundary = 1.1 * 0.1
    e1 = poisson_affine(tables, q1=of(0.1), q2=of(factor * boundary), tau=of(1.1), delta=of(0.0))
    e2 = gro_ratio(tables, q1=of(0.1), q2=of(factor * boundary), ratio=of(1.1))
    for p1 in (0.0, 0.05, 0.3, 0.8):
        for inside in (0.0, 0.3, 0.9):
            edge = min(1.0, 1.1 * p1)
            p2 = edge * inside if factor > 1 else edge + (1.0 - edge) * (1.0 - inside)
            for log_e in (e1, e2):
                assert expectation(tables, log_e, p1=p1, p2=p2) <= 1.0 + 1e-9


@pytest.mark.parametrize("counts", [(0, 0, 5, 10), (3, 10, 0, 0), (0, 0, 0, 0)])
def test_a_version_without_requests_gives_no_evidence(counts: tuple[float, ...]) -> None:
    assert poisson_affine(table(*counts), q1=of(0.01), q2=of(0.2), tau=of(1.1), delta=of(1e-4))[0] == 0.0
    assert gro_ratio(table(*counts), q1=of(0.1), q2=of(0.3), ratio=of(1.1))[0] == 0.0


def test_a_guess_on_the_boundary_gives_no_evidence() -> None:
    counts = table(4, 100, 30, 50)
    e1 = poisson_affine(counts, q1=of(0.01), q2=of(1.1 * 0.01 + 1e-3), tau=of(1.1), delta=of(1e-3))
    e2 = gro_ratio(counts, q1=of(0.2), q2=of(0.22), ratio=of(1.1))
    assert e1[0] == pytest.approx(0.0, abs=1e-9)
    assert e2[0] == pytest.approx(0.0, abs=1e-9)


COUNT = st.one_of(st.integers(0, 50), st.integers(0, 10**15))
SHARE = st.floats(0.0, 1.0)


@given(n1=COUNT, n2=COUNT, s1=SHARE, s2=SHARE, q1=SHARE, q2=SHARE, tau=st.floats(1.0, 100.0), delta=st.floats(0, 0.5))
def test_evidence_is_finite_whatever_the_counts(
    *, n1: int, n2: int, s1: float, s2: float, q1: float, q2: float, tau: float, delta: float
) -> None:
    counts = table(round(s1 * n1), n1, round(s2 * n2), n2)
    assert np.isfinite(poisson_affine(counts, q1=of(q1), q2=of(q2), tau=of(tau), delta=of(delta))).all()
    assert np.isfinite(gro_ratio(counts, q1=of(q1), q2=of(q2), ratio=of(tau))).all()
    if tau * q1 + delta < 0.95:
        assert np.isfinite(gro_affine(counts, q1=of(q1), q2=of(q2), tau=of(tau), delta=of(delta))).all()
