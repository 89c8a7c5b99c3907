import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from biggan_jax.errors import UsageError
from biggan_jax.gans import latents

DISTRIBUTIONS = {
    "resample": lambda t: stats.truncnorm(-t, t),
    "rescale": lambda t: stats.truncnorm(-2, 2, scale=t),
    "scale": lambda t: stats.norm(scale=t),
}


@pytest.mark.parametrize("mode", DISTRIBUTIONS)
def test_truncated_latents_have_the_distribution_their_name_says(mode):
    z = np.asarray(latents.sample_z(jax.random.key(0), (20_000,), latents.truncation(0.7, mode)))
    assert stats.kstest(z, DISTRIBUTIONS[mode](0.7).cdf).pvalue > 1e-3
    others = [name for name in DISTRIBUTIONS if name != mode]
    assert all(stats.kstest(z, DISTRIBUTIONS[name](0.7).cdf).pvalue < 1e-6 for name in others)


def test_clip_piles_up_at_the_threshold():
    z = latents.sample_z(jax.random.key(0), (20_000,), latents.truncation(0.5, "clip"))
    np.testing.assert_allclose(jnp.mean(jnp.abs(z) == 0.5), 2 * stats.norm.cdf(-0.5), atol=0.02)


def test_without_truncation_z_is_standard_normal():
    assert stats.kstest(np.asarray(latents.sample_z(jax.random.key(0), (20_000,))), "norm").pvalue > 1e-3


def test_labels_are_uniform_and_zero_without_classes():
    _, labels = latents.Prior(2, 10)(jax.random.key(0), 20_000)
    assert stats.chisquare(np.bincount(labels, minlength=10)).pvalue > 1e-3
    assert not latents.Prior(2, 0)(jax.random.key(0), 10)[1].any()


def test_numbered_latents_do_not_depend_on_their_neighbours():
    key = jax.random.key(3)
    prior, truncation = latents.Prior(4, 0), latents.truncation(0.5, "resample")
    together = prior.at(key, jnp.arange(10), truncation)
    np.testing.assert_array_equal(prior.at(key, jnp.array([7, 2]), truncation), together[jnp.array([7, 2])])


@pytest.mark.parametrize(
    "truncation, mode", [(0.0, "resample"), (-1.0, "resample"), (float("nan"), "scale"), (0.5, "trim")]
)
def test_wrong_truncations_are_refused(truncation, mode):
    with pytest.raises(UsageError, match="truncation"):
        latents.truncation(truncation, mode)
