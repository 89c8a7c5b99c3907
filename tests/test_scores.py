"""Scores against closed forms, other libraries on shared features, and sets whose scores are known by hand."""

import jax
import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.metrics import moments, neighbours, scores
from tests import torch_fidelity_oracle as oracle


def _normal(*shape, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, shape)


def _statistics(x):
    return x.mean(0), np.cov(x, rowvar=False)


# Fréchet distance


def test_frechet_distance_of_commuting_gaussians_has_a_closed_form():
    # With a common eigenbasis it is |μ1 - μ2|² + Σ (√λ1 - √λ2)².
    basis = np.linalg.qr(_normal(6, 6))[0]
    values1, values2 = np.array([4.0, 1, 9, 0.25, 0, 1]), np.array([1.0, 1, 4, 4, 2, 0])
    mu1, mu2 = np.zeros(6), np.arange(6.0)
    sigmas = [basis * values @ basis.T for values in (values1, values2)]
    expected = (mu2**2).sum() + ((np.sqrt(values1) - np.sqrt(values2)) ** 2).sum()
    assert scores.frechet_distance(mu1, sigmas[0], mu2, sigmas[1]) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("num_samples", [500, 30])
def test_frechet_distance_equals_the_eigenvalue_form(num_samples):
    # Tr (Σ1 Σ2)^½ = Σ √λ(Σ1 Σ2). With 30 samples in 64 dimensions both covariances are singular.
    mixing = _normal(64, 64, seed=1)
    (mu1, sigma1), (mu2, sigma2) = (
        _statistics(_normal(num_samples, 64, seed=2)),
        _statistics(_normal(num_samples, 64, seed=3, shift=0.1) @ mixing),
    )
    root = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(complex)).real.sum()
    expected = ((mu1 - mu2) ** 2).sum() + np.trace(sigma1 + sigma2) - 2 * root
    assert scores.frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_equals_torch_fidelity():
    oracle.load()
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    (mu1, sigma1), (mu2, sigma2) = _statistics(_normal(300, 48)), _statistics(_normal(300, 48, seed=1, scale=1.3))
    expected = fid_statistics_to_metric({"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2}, verbose=False)
    found = scores.frechet_distance(mu1, sigma1, mu2, sigma2)
    assert found == pytest.approx(expected["frechet_inception_distance"], rel=1e-9)


@pytest.mark.parametrize("num_samples", [200, 20])
def test_frechet_distance_of_a_set_to_itself_is_zero(num_samples):
    mu, sigma = _statistics(_normal(num_samples, 50))
    assert abs(scores.frechet_distance(mu, sigma, mu, sigma)) < 1e-5 * np.trace(sigma)


def test_frechet_distance_is_symmetric_and_blind_to_rotation_and_common_shift():
    x, y = _normal(300, 32), _normal(200, 32, seed=1, scale=2, shift=0.3)
    rotation = np.linalg.qr(_normal(32, 32, seed=2))[0]
    distance = scores.frechet_distance(*_statistics(x), *_statistics(y))
    assert scores.frechet_distance(*_statistics(y), *_statistics(x)) == pytest.approx(distance, rel=1e-9)
    moved = (_statistics(z @ rotation + 5) for z in (x, y))
    assert scores.frechet_distance(*next(moved), *next(moved)) == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ((np.zeros(3), np.eye(3), np.zeros(4), np.eye(4)), r"mu2: found shape \(4,\), expected \(3,\)"),
        ((np.zeros(3), np.eye(4), np.zeros(3), np.eye(3)), r"sigma1: found shape \(4, 4\), expected \(3, 3\)"),
        ((np.zeros(3), np.eye(3), np.zeros(3), np.full((3, 3), np.nan)), "sigma2: found NaN"),
        ((np.zeros((1, 3)), np.eye(3), np.zeros(3), np.eye(3)), r"mu1: found shape \(1, 3\)"),
    ],
)
def test_frechet_distance_names_the_wrong_input(statistics, message):
    with pytest.raises(DataError, match=message):
        scores.frechet_distance(*statistics)


# Inception Score


def test_inception_score_is_one_when_all_samples_look_alike():
    mean, std = scores.inception_score(np.tile(_normal(1, 20), (100, 1)))
    assert mean == pytest.approx(1) and std == pytest.approx(0, abs=1e-12)


def test_inception_score_is_the_number_of_classes_at_best():
    # Confident and balanced within every split; five more outputs are never predicted. A logit of 800 overflows a
    # careless softmax, and makes the probability of the others exactly 0.
    mean, std = scores.inception_score(np.tile(800 * np.eye(20, 25), (50, 1)), splits=10)
    assert mean == pytest.approx(20) and std == pytest.approx(0, abs=1e-9)


def test_inception_score_depends_on_the_size_and_order_of_splits():
    logits = np.repeat(50 * np.eye(10), 10, axis=0)  # sorted by class, 10 of each
    assert scores.inception_score(logits, splits=1) == pytest.approx((10, 0))
    assert scores.inception_score(logits, splits=10) == pytest.approx((1, 0), abs=1e-9)
    p = np.array([10, 10, 5]) / 25  # classes in each of four splits, in some order
    assert scores.inception_score(logits, splits=4) == pytest.approx((np.exp(-(p * np.log(p)).sum()), 0), abs=1e-9)


@pytest.mark.parametrize(("num_samples", "splits"), [(200, 10), (205, 7), (50, 1)])
def test_inception_score_equals_torch_fidelity(num_samples, splits):
    oracle.load()
    import torch
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = _normal(num_samples, 1008, scale=3)
    expected = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)
    mean, std = scores.inception_score(logits, splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-9, abs=1e-12)


def test_inception_score_needs_a_sample_per_split():
    with pytest.raises(DataError, match="9 samples for 10 splits"):
        scores.inception_score(np.zeros((9, 4)))
    with pytest.raises(DataError, match="0 splits"):
        scores.inception_score(np.zeros((9, 4)), splits=0)


# Kernel Inception Distance


def _naive_mmd2(x, y):
    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    within = [
        sum(kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    return sum(within) - 2 * np.mean([[kernel(a, b) for b in y] for a in x])


def test_kid_is_the_unbiased_estimator():
    x, y = _normal(12, 5), _normal(9, 5, seed=1, shift=0.5)
    assert scores.kernel_inception_distance(x, y) == pytest.approx(_naive_mmd2(x, y), rel=1e-12)


def test_kid_of_one_distribution_averages_to_zero():
    # The biased estimator would be above 0 by about 2 (E k(x, x) - E k(x, y)) / N = 0.1 here.
    draws = _normal(400, 2, 40, 16)
    estimates = [scores.kernel_inception_distance(x, y) for x, y in draws]
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(400) < 0.02
    assert min(estimates) < 0


def test_kid_does_not_depend_on_the_block_size(monkeypatch):
    x, y = _normal(50, 8), _normal(33, 8, seed=1, shift=0.5)
    whole = scores.kernel_inception_distance(x, y)
    monkeypatch.setattr(scores, "_KERNEL_ROWS", 7)
    assert scores.kernel_inception_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_kid_over_subsets_equals_torch_fidelity():
    oracle.load()
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = _normal(120, 24), _normal(90, 24, seed=1, scale=1.2)
    expected = kid_features_to_metric(
        *(torch.from_numpy(x) for x in (real, fake)), kid_subsets=6, kid_subset_size=40, rng_seed=5, verbose=False
    )
    mean, std = scores.kernel_inception_distance(real, fake, subset_size=40, num_subsets=6, seed=5)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
    assert std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-9)


@pytest.mark.parametrize("subset_size", [1, 31])
def test_kid_names_an_impossible_subset(subset_size):
    with pytest.raises(DataError, match=f"subsets of {subset_size}, allowed are 1 or more of 2 to 30"):
        scores.kernel_inception_distance(_normal(40, 3), _normal(30, 3), subset_size=subset_size)


# Precision, recall, density, coverage

LINE = np.array([[0.0], [1], [2], [3], [10]])  # radii to the nearest other point: 1, 1, 1, 1, 7
BOTH = pytest.mark.parametrize("distances", [neighbours.HOST, neighbours.DEVICE], ids=["host", "device"])


@BOTH
def test_precision_and_recall_on_a_line(distances):
    # Balls of real: [-1, 4] and [3, 17]. Balls of fake, radii 14, 0.5, 0.5: [4, 32], [3.5, 4.5], [4, 5].
    fake = np.array([[18.0], [4], [4.5]])
    precision, recall = scores.precision_recall(LINE, fake, k=1, distances=distances)
    assert precision == pytest.approx(2 / 3)  # 4 lies on the surface of [2, 4] but also inside [3, 17]
    assert recall == pytest.approx(1 / 5)  # only 10


@BOTH
def test_precision_counts_the_surface_of_a_ball_and_density_does_not(distances):
    real = np.array([[0.0, 0], [3, 4]])  # both balls have radius 5
    fake = np.array([[-3.0, -4], [-30, -40]])  # on the surface of the first; far from both
    assert scores.precision_recall(real, fake, k=1, distances=distances)[0] == 0.5
    assert scores.density_coverage(real, fake, k=1, distances=distances) == (0, 0)


@BOTH
def test_density_and_coverage_on_a_line(distances):
    # Open balls of real: (-1, 1) (0, 2) (1, 3) (2, 4) (3, 17).
    fake = np.array([[0.5], [0.5], [2.5], [5], [40]])
    density, coverage = scores.density_coverage(LINE, fake, k=1, distances=distances)
    assert density == pytest.approx((2 + 2 + 2 + 1 + 0) / 5)
    assert coverage == 1
    # k = 2: radii 2, 1, 1, 2, 8; open balls (-2, 2) (0, 2) (1, 3) (1, 5) (2, 18).
    density, coverage = scores.density_coverage(LINE, fake[:2], k=2, distances=distances)
    assert density == pytest.approx(2 / 2) and coverage == pytest.approx(2 / 5)


@BOTH
def test_scores_of_a_set_against_itself_and_against_a_far_one(distances):
    x = _normal(60, 8)
    assert scores.precision_recall(x, x, distances=distances) == (1, 1)
    assert scores.density_coverage(x, x, distances=distances)[1] == 1
    assert scores.precision_recall(x, x + 100, distances=distances) == (0, 0)
    assert scores.density_coverage(x, x + 100, distances=distances) == (0, 0)


@BOTH
def test_a_collapsed_generator_keeps_precision_and_loses_recall(distances):
    real = _normal(80, 4)
    fake = np.repeat(real[:1], 50, axis=0)
    precision, recall = scores.precision_recall(real, fake, distances=distances)
    assert precision == 1 and recall <= 1 / 80


@BOTH
@pytest.mark.parametrize("k", [1, 3, 5])
def test_density_and_coverage_equal_prdc(distances, k):
    prdc = pytest.importorskip("prdc", reason="needs the reference: pip install -e '.[reference]'")
    real, fake = _normal(150, 12), _normal(110, 12, seed=1, scale=0.8)
    expected = prdc.compute_prdc(real, fake, nearest_k=k)
    assert 0 < expected["coverage"] < 1
    density, coverage = scores.density_coverage(real, fake, k, distances)
    assert density == pytest.approx(expected["density"]) and coverage == pytest.approx(expected["coverage"])
    # No ties among random points, so open and closed balls agree.
    precision, recall = scores.precision_recall(real, fake, k, distances)
    assert precision == pytest.approx(expected["precision"]) and recall == pytest.approx(expected["recall"])


def test_precision_and_recall_equal_torch_fidelity():
    oracle.load()
    import torch
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    real, fake = _normal(150, 12), _normal(110, 12, seed=1, scale=0.8)
    expected = calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real), neighborhood=3)
    assert scores.precision_recall(real, fake) == pytest.approx(expected)


@BOTH
def test_neighbours_do_not_depend_on_the_block_size(distances, monkeypatch):
    real, fake = _normal(70, 6), _normal(45, 6, seed=1)
    whole = (scores.precision_recall(real, fake, 3, distances), scores.density_coverage(real, fake, 5, distances))
    monkeypatch.setattr(neighbours, "_BLOCK_ELEMENTS", 13 * 70)
    blocked = (scores.precision_recall(real, fake, 3, distances), scores.density_coverage(real, fake, 5, distances))
    assert blocked == whole


def test_device_distances_ask_for_full_precision():
    # On TPU the default is bfloat16, which no test on CPU would notice.
    equations = jax.make_jaxpr(neighbours._device_squared)(np.ones((3, 2)), np.ones((4, 2))).eqns
    (product,) = [eqn for eqn in equations if eqn.primitive.name == "dot_general"]
    assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


@pytest.mark.parametrize("score", [scores.precision_recall, scores.density_coverage])
def test_neighbour_scores_name_the_wrong_input(score):
    with pytest.raises(DataError, match="real: found 3 samples, at least 4 are needed"):
        score(_normal(3, 2), _normal(9, 2), k=3)
    with pytest.raises(DataError, match="fake: found 3 features, expected 2"):
        score(_normal(9, 2), _normal(9, 3), k=3)
    with pytest.raises(DataError, match="real: found NaN or infinity"):
        score(np.full((9, 2), np.inf), _normal(9, 2), k=3)
    with pytest.raises(DataError, match="k: found 0"):
        score(_normal(9, 2), _normal(9, 2), k=0)


def test_only_recall_needs_balls_around_fakes():
    with pytest.raises(DataError, match="fake: found 3 samples, at least 4 are needed"):
        scores.precision_recall(_normal(9, 2), _normal(3, 2), k=3)
    assert scores.density_coverage(LINE, LINE[:1] + 0.5, k=1) == pytest.approx((2, 2 / 5))


# Moments


def _stream(x, sizes):
    result = moments.empty(x.shape[1])
    for part in np.split(x, np.cumsum(sizes)[:-1]):
        result = moments.update(result, part)
    return result


@pytest.mark.parametrize("sizes", [(100,), (1, 99), (0, 30, 30, 40), (7,) * 14 + (2,)])
def test_moments_equal_two_passes_for_every_batch_split(sizes):
    # A mean of 1e6 standard deviations: sums of squares would keep no digit of the covariance.
    x = _normal(100, 5, shift=1e6)
    found = _stream(x, sizes)
    assert found.count == 100
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance(found), np.cov(x, rowvar=False), atol=1e-8)


def test_merged_moments_equal_those_of_the_union():
    x = _normal(90, 4, shift=3)
    merged = moments.merge(_stream(x[:20], (20,)), _stream(x[20:], (30, 40)))
    swapped = moments.merge(_stream(x[20:], (70,)), _stream(x[:20], (5, 15)))
    for found in (merged, swapped):
        np.testing.assert_allclose(moments.covariance(found), np.cov(x, rowvar=False), rtol=1e-12)
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-13)


def test_moments_of_float32_features_are_summed_in_float64():
    x = np.full((3, 2), 1 / 3, np.float32)
    found = _stream(x, (1, 1, 1))
    assert found.mean.dtype == found.m2.dtype == np.float64
    np.testing.assert_array_equal(found.mean, np.float64(np.float32(1 / 3)))


def test_moments_name_the_wrong_input():
    start = moments.empty(3)
    with pytest.raises(DataError, match=r"found shape \(5, 4\), expected \[n, 3\]"):
        moments.update(start, np.zeros((5, 4)))
    with pytest.raises(DataError, match="NaN"):
        moments.update(start, np.full((5, 3), np.nan))
    with pytest.raises(DataError, match="cannot merge 3 features with 4"):
        moments.merge(start, moments.empty(4))
    with pytest.raises(DataError, match="found 1 samples, at least 2"):
        moments.covariance(moments.update(start, np.zeros((1, 3))))
