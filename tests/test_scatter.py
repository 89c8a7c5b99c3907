"""Pictures of points: what is drawn is what was given."""

import types

import numpy as np
import pytest

from biggan_jax.gans import losses
from biggan_jax.sampling import scatter, views
from tests.tiny import tiny_config

REAL = {dim: np.random.default_rng(0).normal(size=(300, dim)) * 0.3 for dim in (1, 2)}


def view(dim, **changes):
    return scatter.View(**{"title": "step 1", "samples": REAL[dim][:50]} | changes)


def warmth(picture) -> np.ndarray:
    """Red less blue, column by column."""
    return (picture[..., 0].astype(float) - picture[..., 2]).mean(0)


def test_places_are_a_grid_whose_first_number_runs_first():
    line, plane = scatter.places(2.0, 1), scatter.places(2.0, 2)
    n = scatter.RESOLUTION
    assert line.shape == (n, 1) and plane.shape == (n * n, 2) and plane.dtype == np.float32
    np.testing.assert_allclose([line[0, 0], line[-1, 0]], [-2, 2])
    np.testing.assert_allclose(plane[:n, 0], line[:, 0])
    assert (plane[:n, 1] == -2).all()


def test_ds_output_is_drawn_where_it_was_asked_for():
    right = scatter.places(2.0, 2)[:, 0]
    picture = scatter.panels([view(2, field=right)], REAL[2], bound=2.0)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    middle, width = warmth(picture), picture.shape[1]
    assert middle[int(0.8 * width)] > 20 and middle[int(0.25 * width)] < -20  # warm colours are high
    mirrored = scatter.panels([view(2, field=-right)], REAL[2], bound=2.0)
    assert warmth(mirrored)[int(0.8 * width)] < -20


def test_samples_are_drawn_over_the_data():
    far = view(2, samples=REAL[2][:50] + 1.2)
    assert (scatter.panels([far], REAL[2], 2.0) != scatter.panels([view(2)], REAL[2], 2.0)).any()


@pytest.mark.parametrize("dim", [1, 2])
def test_there_are_as_many_panels_as_views(dim):
    one, five = (scatter.panels([view(dim)] * count, REAL[dim], 2.0, columns=5).shape for count in (2, 5))
    seven = scatter.panels([view(dim)] * 7, REAL[dim], 2.0, columns=5).shape
    assert five[1] > 2 * one[1] and five[0] == one[0] and seven[:2] == (2 * five[0], five[1])


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("value", [0.0, np.inf])
def test_an_output_without_level_sets_leaves_a_picture(dim, value):
    """D is constant where it learns nothing; after a step that diverged it may be infinite."""
    field = np.full(scatter.RESOLUTION**dim, value, np.float32)
    for draw in (lambda v: scatter.panels([v], REAL[dim], 2.0), lambda v: scatter.surface(v, REAL[dim], 2.0)):
        assert draw(view(dim, field=field)).std() > 0


def test_one_latent_number_has_a_way_to_the_samples():
    z = np.linspace(-1, 1, scatter.LINES)
    field = np.sin(scatter.places(2.0, 1)[:, 0])
    without = scatter.panels([view(1, field=field)], REAL[1], 2.0)
    with_path = scatter.panels([view(1, field=field, path=(z, z**3))], REAL[1], 2.0)
    lower = lambda picture: (picture[int(0.75 * len(picture)) : int(0.9 * len(picture)), 60:-60] < 140).mean()
    assert with_path.shape == without.shape and lower(with_path) > 0.02


def test_the_surface_has_the_level_sets_beside_it():
    field = np.exp(-np.square(scatter.places(2.0, 2)).sum(1))
    picture = scatter.surface(view(2, field=field), REAL[2], 2.0)
    assert picture.shape[1] > 1.5 * picture.shape[0]
    halves = np.split(picture[:, : picture.shape[1] // 2 * 2], 2, axis=1)
    assert all(half.std() > 10 for half in halves)


def test_the_best_d_is_drawn_on_a_line_and_has_a_gap_where_nothing_lies():
    field = np.zeros(scatter.RESOLUTION, np.float32)
    best = np.where(scatter.places(2.0, 1)[:, 0] > 0, 1.0, np.nan)
    pictures = [scatter.panels([view(1, field=field, optimum=x)], REAL[1], 2.0) for x in (None, best)]
    blue = [(picture[..., 2].astype(int) - picture[..., 0] > 60).sum() for picture in pictures]
    assert blue[1] > blue[0]


def test_the_best_d_is_undecided_where_samples_are_data_and_sure_where_they_are_not():
    config = tiny_config(
        gan__name="gan", model__name="mlp", dataset="points", data__distribution="mixture1d", num_classes=0
    )
    like = lambda loss: types.SimpleNamespace(config=config, gan=types.SimpleNamespace(loss=loss))
    trained, real = like(losses.non_saturating), views.real_points(config)
    alike = views.optimum(trained, real)
    np.testing.assert_allclose(alike[~np.isnan(alike)], 0, atol=1e-6)
    assert np.isnan(views.optimum(trained, real[real[:, 0] < 0])).any()
    right = views.optimum(trained, real + 0.3)
    assert right[~np.isnan(right)][0] > 1 > -1 > right[~np.isnan(right)][-1]
    assert views.optimum(trained, np.zeros((20, 1))) is None
    assert views.optimum(like(losses.wasserstein), real) is None and views.optimum(like(None), real) is None
