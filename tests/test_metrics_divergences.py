"""Distances that can be worked out, and what a discriminator says of one."""

import numpy as np

from biggan_jax.metrics import divergences
from tests import fixtures
from tests.fixtures import needs_fixtures

STORED = 2e-7  # relative: the recorded numbers are float32


@needs_fixtures
def test_distances_between_gaussians_are_those_recorded():
    found = fixtures.load("metrics")
    std = float(found["gauss/q_std"])
    ours = [divergences.between_gaussians(0.0, 1.0, theta, std) for theta in found["gauss/theta"]]
    names = {"js": "js", "kl_p_q": "kl", "kl_q_p": "reverse_kl", "tv": "tv", "w1": "w1"}
    for key, name in names.items():
        np.testing.assert_allclose([getattr(d, name) for d in ours], found[f"gauss/{key}"], rtol=1e-6, err_msg=key)


@needs_fixtures
def test_distances_between_parallel_lines_are_those_recorded():
    found = fixtures.load("metrics")
    ours = [divergences.between_parallel_lines(float(theta)) for theta in found["lines/theta"]]
    for key, name in {"js": "js", "tv": "tv", "w1": "w1", "kl_inf_where_apart": "kl"}.items():
        np.testing.assert_allclose([getattr(d, name) for d in ours], found[f"lines/{key}"], rtol=STORED, err_msg=key)


@needs_fixtures
def test_the_estimate_of_a_discriminator_is_that_recorded():
    found = fixtures.load("metrics")
    ours = divergences.js_of_logits(found["js/logit_real"], found["js/logit_fake"])
    # Near 0 the estimate is a difference: what is stored of the logits moves it by 1e-9.
    np.testing.assert_allclose(ours.value, found["js/value_function"], rtol=STORED)
    np.testing.assert_allclose(ours.nats, found["js/estimate_nats"], atol=1e-9)
    np.testing.assert_allclose(ours.bits, found["js/estimate_bits"], atol=1e-9)
    np.testing.assert_allclose(-ours.value / 2, found["js/loss_D_mean_form"], rtol=STORED)
    np.testing.assert_allclose(np.log(2) + ours.value / 2, found["js/estimate_from_mean_form"], atol=1e-9)


def test_the_best_discriminator_reaches_the_divergence_and_others_stay_below():
    """Between N(0, 1) and N(2, .7^2) with the logit log p - log q."""
    random = np.random.default_rng(0)
    real, fake = random.normal(size=200_000), 2 + 0.7 * random.normal(size=200_000)
    best = lambda x: -(x**2) / 2 + (x - 2) ** 2 / (2 * 0.7**2) + np.log(0.7)
    exact = divergences.between_gaussians(0, 1, 2, 0.7).js
    assert abs(divergences.js_of_logits(best(real), best(fake)).nats - exact) < 0.003
    assert divergences.js_of_logits(best(real) / 2 + 1, best(fake) / 2 + 1).nats < exact - 0.01


def test_jensen_shannon_stays_at_log_2_while_the_earth_movers_distance_follows():
    """Two narrow Gaussians that move apart (Arjovsky et al. 2017, Section 2)."""
    found = [divergences.between_gaussians(0, 0.1, theta, 0.1) for theta in (1.0, 2.0, 4.0)]
    np.testing.assert_allclose([d.js for d in found], np.log(2), rtol=1e-5)
    np.testing.assert_allclose([d.w1 for d in found], [1, 2, 4], rtol=1e-6)
