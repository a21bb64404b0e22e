"""Counts, intervals and calibration against scipy, scikit-learn and cases done by hand."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import sklearn.metrics

from jaxcnn.evaluation import calibration, mcnemar_exact, tango_interval, wilson_interval


def test_wilson_interval_equals_scipys():
    for successes, trials in ((0, 10), (7, 10), (8103, 10_000), (10, 10)):
        expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson_interval(successes, trials), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("b", "c"), [(0, 0), (1, 0), (5, 9), (9, 5), (40, 20), (1400, 1600), (30_000, 30_500)]
)
def test_mcnemars_exact_test_equals_scipys_binomial_test(b, c):
    expected = scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-8)


def test_mcnemar_by_hand():
    # 1 of 8 or fewer, both sides: 2 (1 + 8) / 2^8.
    assert mcnemar_exact(1, 7) == pytest.approx(18 / 256, rel=1e-12)


def test_tangos_interval_equals_the_published_one():
    # Bentur et al. 2009 in Fagerland, Lydersen, Laake 2014: 1 and 7 of 21, -0.517 to -0.026.
    np.testing.assert_allclose(tango_interval(1, 7, 21), (-0.517, -0.026), atol=5e-4)


@pytest.mark.parametrize(("b", "c", "n"), [(40, 20, 160), (3, 9, 364), (120, 90, 5000)])
def test_tangos_interval_holds_what_a_score_test_by_numeric_likelihood_allows(b, c, n):
    z = scipy.stats.norm.ppf(0.975)

    def score(delta):
        # The multinomial's likelihood under p_b - p_c = delta, maximised without the formula.
        def loss(q):
            parts = ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta))
            return -sum(k * np.log(max(p, 1e-300)) for k, p in parts)

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = scipy.optimize.minimize_scalar(
            loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
        ).x
        return (b - c - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))

    low, high = tango_interval(b, c, n)
    assert score(low) == pytest.approx(z, abs=1e-3)
    assert score(high) == pytest.approx(-z, abs=1e-3)


def test_tangos_interval_is_symmetric_and_stays_within_its_range():
    for b, c, n in ((0, 0, 10), (10, 0, 10), (0, 7, 9), (2, 5, 50)):
        low, high = tango_interval(b, c, n)
        assert -1 <= low <= (b - c) / n <= high <= 1
        np.testing.assert_allclose(tango_interval(c, b, n), (-high, -low), atol=1e-12)


def test_calibration_of_a_case_done_by_hand():
    # Bins of a fifth. 0.55 and 0.6 lie in (0.4, 0.6]: 1 of 2 right at 0.575 mean confidence.
    # 0.9, 1.0 and 0.85 lie in (0.8, 1]: 2 of 3 right at 2.75 / 3.
    bins = calibration([0.55, 0.6, 0.9, 1.0, 0.85], [True, False, True, True, False], bins=5)
    np.testing.assert_array_equal(bins.count, [0, 0, 2, 0, 3])
    np.testing.assert_allclose(bins.accuracy[[2, 4]], [0.5, 2 / 3])
    np.testing.assert_allclose(bins.confidence[[2, 4]], [0.575, 2.75 / 3])
    assert bins.ece == pytest.approx((2 * 0.075 + 3 * (2.75 / 3 - 2 / 3)) / 5)
    assert bins.mce == pytest.approx(2.75 / 3 - 2 / 3)


def test_expected_calibration_error_equals_a_plain_loop(random_result):
    total = 0.0
    for m in range(15):
        inside = (random_result.confidence > m / 15) & (random_result.confidence <= (m + 1) / 15)
        if inside.any():
            gap = random_result.hit[inside].mean() - random_result.confidence[inside].mean()
            total += inside.mean() * abs(gap)
    assert random_result.calibration.ece == pytest.approx(total, rel=1e-6)
    assert random_result.calibration.count.sum() == random_result.count


def test_precision_recall_and_f1_equal_scikit_learns(random_result):
    expected = sklearn.metrics.precision_recall_fscore_support(
        random_result.label, random_result.prediction, labels=range(6), zero_division=0
    )
    scores = random_result.class_scores
    found = (scores.precision, scores.recall, scores.f1, scores.support)
    np.testing.assert_allclose(found, expected)
    macro = sklearn.metrics.precision_recall_fscore_support(
        random_result.label, random_result.prediction, average="macro", zero_division=0
    )
    np.testing.assert_allclose(list(scores.macro().values()), macro[:3])
    np.testing.assert_array_equal(
        random_result.confusion,
        sklearn.metrics.confusion_matrix(
            random_result.label, random_result.prediction, labels=range(6)
        ),
    )


def test_class_scores_take_memory_by_class_and_not_by_pair(random_result):
    names = tuple(map(str, range(21_841)))  # ImageNet-21k: its pairs would take 3.8 GB
    many = dataclasses.replace(random_result, class_names=names)
    tracemalloc.start()
    scores = many.class_scores
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    np.testing.assert_array_equal(scores.correct[:6], random_result.class_scores.correct)


def test_top_five_equals_scikit_learns(random_result):
    expected = sklearn.metrics.top_k_accuracy_score(
        random_result.label, random_result.scores, k=5, labels=range(6)
    )
    assert random_result.top5 == pytest.approx(expected)
