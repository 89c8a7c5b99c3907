"""Characteristic effects: a comparison runs once, its table has means over seeds and differences by seed."""

import dataclasses
import json
import re

import jax
import numpy as np
from PIL import Image
import pytest

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError
from biggan_jax.metrics import classifier
from experiments.family import (
    effects,
    effects_collapse,
    effects_critics,
    effects_data,
    effects_modes,
    effects_points,
    effects_projected,
)
from experiments.family.effects_runs import Effect, Run
from tests.commands import ROOT


def few(effect, *rows, **changes):
    return dataclasses.replace(effect, rows=rows, **changes)


@pytest.mark.slow
def test_a_comparison_of_trained_gans_is_tabled_drawn_and_not_run_again(tmp_path, monkeypatch, capsys):
    small = few(effects_collapse.EFFECT, "8 on a ring: GAN", "8 on a ring: real points")
    monkeypatch.setitem(effects.EFFECTS, "collapse", small)
    command = ["collapse", f"--out={tmp_path}", "--seeds=1", "--steps=2"]
    assert effects.main(command) == 0
    table = (tmp_path / "collapse.md").read_text()
    assert table in capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert lines[0] == ["", "modes", "high quality", "W1"]
    gan, real = lines[2:]
    assert gan[:2] == ["8 on a ring: GAN", "0"] and real[1] == "8"
    assert float(real[2]) > 0.98 and float(real[3]) < 0.3 < float(gan[3])
    assert np.asarray(Image.open(tmp_path / "collapse.png")).shape[2] == 3

    def refuse(*_):
        raise AssertionError("run again")

    monkeypatch.setitem(effects.EFFECTS, "collapse", few(small, *small.rows, run=refuse))
    assert effects.main(command) == 0
    assert (tmp_path / "collapse.md").read_text() == table


@pytest.mark.slow
def test_a_critic_follows_the_distance_where_a_classifier_cannot(tmp_path):
    scores = effects_critics.run_distance("theta = 1.0", 0, "", 600).scores
    # A slope s gives the critic s - 10 (s - 1)^2, which is largest at 1.05.
    assert abs(scores["W estimate"] - 1.05) < 0.1
    assert abs(scores["JSD estimate"] - np.log(2)) < 0.01
    assert scores["gradient, saturating"] < 0.05 < 0.9 < scores["gradient, critic"]


@pytest.mark.slow
def test_estimates_are_compared_with_distances_step_by_step(tmp_path):
    found = effects_points.run_estimates("WGAN-GP", 0, str(tmp_path), 300)
    assert found.shown["step"] == [100, 200, 300]
    # Far from the data the critic's estimate and the distance fall together.
    assert np.corrcoef(found.shown["estimate"], found.shown["distance"])[0, 1] > 0.9
    assert found.scores["W1, last"] == found.shown["distance"][-1]
    picture = effects_points.draw_estimates({"WGAN-GP": found})
    assert picture.dtype == np.uint8 and picture.std() > 0


@pytest.mark.slow
def test_each_density_is_learned_with_each_number_of_latents(tmp_path, monkeypatch):
    monkeypatch.setattr(effects_points, "DENSITIES", ("moons", "spiral"))
    one = sharding.make_mesh(jax.devices()[:1])  # its batch of 10 is no multiple of eight devices
    monkeypatch.setattr(sharding, "make_mesh", lambda: one)
    found = effects_points.run_latents("8 latents", 0, str(tmp_path), 2)
    assert set(found.scores) == {"W1, moons", "W1, spiral"} and all(w > 0 for w in found.scores.values())
    assert effects_points.draw_latents({"8 latents": found}).shape[2] == 3


@pytest.mark.slow
def test_d_is_looked_at_with_its_few_digits_and_with_held_out_ones(tmp_path):
    found = effects_data.run_augmentation("gamma = 0.1: ADA", 0, str(tmp_path / "run"), 400)
    with np.load(tmp_path / "digits.npz") as digits:
        assert digits["train_images"].shape == (100, 8, 8, 3) and len(digits["test_images"]) > 300
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    looks = [look for look in map(json.loads, lines) if "d_auc/held_out" in look]
    of = {"these": "d_accuracy/train", "held out": "d_accuracy/held_out", "told apart": "d_auc/held_out"}
    for name, record in (of | {"step": "step", "p": "augment/p"}).items():
        assert found.shown[name].tolist() == [look[record] for look in looks]
    assert found.shown["step"].tolist() == [200, 400]
    assert all(found.scores[f"D: {name}"] == found.shown[name].mean() for name in of)
    assert found.scores["p"] == found.shown["p"].mean() > 0 and found.scores["held-out FID"] > 0
    own = effects_data.run_augmentation(effects_data.THEMSELVES, 0, str(tmp_path / "run"), None)
    assert set(own.scores) == {"held-out FID"} and 0 < own.scores["held-out FID"] < found.scores["held-out FID"]
    picture = effects_data.draw_augmentation({"gamma = 0.1: ADA": found, effects_data.THEMSELVES: own})
    assert picture.dtype == np.uint8 and picture.std() > 0


@pytest.mark.parametrize("row", effects_data.ROWS)
def test_rows_of_augmentation_differ_in_r1_and_the_changes_alone(row, tmp_path):
    effects_data.few_digits(0, tmp_path / "digits.npz")
    c, first = (effects_data.config(each, tmp_path / "digits.npz") for each in (row, next(iter(effects_data.ROWS))))
    configs.validate(c)
    gamma, name = effects_data.ROWS[row]
    assert c.gan.r1_gamma == gamma
    assert c.gan.augment == {"none": "", "ADA": "bgc", "color, translation": "color,translation"}[name]
    first.gan.update({key: c.gan[key] for key in ("r1_gamma", "augment", "augment_target")})
    assert c.to_dict() == first.to_dict()


@pytest.mark.slow
def test_modes_are_counted_of_a_gan_and_of_held_out_images(tmp_path):
    found = effects_modes.run_modes("relativistic, R1 and R2", 0, str(tmp_path), 2)
    real, other = (effects_modes.run_modes(effects_modes.REAL, seed, "", None) for seed in (0, 1))
    assert real.scores["modes"] == 1000 and 0.01 < real.scores["mode_kl"] != other.scores["mode_kl"] < 0.03
    assert found.scores["modes"] < 900 and found.scores["mode_kl"] > 1
    assert effects_modes.EFFECT.draw({"GAN": found, "real": real}).shape[2] == 3


@pytest.mark.parametrize("row", effects_modes.LOSSES)
def test_losses_of_the_modes_differ_in_nothing_else(row):
    config = effects_modes.config(row)
    configs.validate(config)
    gan, plain = gans.build(config), gans.build(effects_modes.config("GAN"))
    assert gan.generator.module == plain.generator.module
    assert gan.discriminator.module == plain.discriminator.module and not gan.discriminator.mixes


def test_a_table_has_deviations_and_differences_by_seed():
    effect = Effect("", ("a", "b"), None, None, (("a", "b"),))
    found = {"a": [Run({"x": 3.0, "y": np.nan}, {}), Run({"x": 5.0, "y": 1.0}, {})]}
    found["b"] = [Run({"x": 2.0, "y": 1.0}, {}), Run({"x": 4.0, "y": 1.0}, {})]
    assert effects.table(effect, found) == [
        ["", "x", "y"],
        ["a", "4 ± 1.4", "–"],
        ["b", "3 ± 1.4", "1 ± 0"],
        ["a less b, by seed", "1 ± 0", "–"],
    ]


@pytest.mark.parametrize(
    "values, cell",
    [
        ([1000.0], "1000"),
        ([999.0, 1001.0], "1000 ± 1.4"),
        ([0.12345], "0.123"),
        ([55_800.0], "5.58e+04"),
        ([np.nan, 1.0], "–"),
    ],
)
def test_a_thousand_is_written_as_one(values, cell):
    assert effects.spread(values) == cell


@pytest.mark.slow
def test_every_kind_of_features_is_judged_by_others(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # what is trained so little is not kept for others
    monkeypatch.setattr(classifier, "STEPS", 20)
    one = sharding.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(sharding, "make_mesh", lambda *_: one)
    rows = effects_projected.ROWS
    found = {row: effects_projected.run(row, 0, str(tmp_path / str(i)), 2) for i, row in enumerate(rows)}
    for run in found.values():
        assert run.scores["FID"] > 0 and run.scores["variety"] > 0
    assert effects_projected.PROJECTED.draw(found).shape[2] == 3


def test_the_table_over_each_picture_of_the_readme_is_of_that_effect():
    text = (ROOT / "experiments" / "README.md").read_text()
    before, *parts = re.split(r"pictures/effect_(\w+)\.png", text)
    for name, following in zip(parts[::2], parts[1::2]):
        *_, table = re.findall(r"(?:^\|.*\n)+", before, re.M)
        _, _, *rows = (line.split(" | ")[0].removeprefix("| ") for line in table.splitlines())
        effect = effects.EFFECTS[name]
        assert rows == [*effect.rows, *(f"{one} less {other}, by seed" for one, other in effect.pairs)], name
        before = following
    assert len(parts) > 20


@pytest.mark.parametrize("option", ["--seeds=0", "--steps=-1"])
def test_a_number_of_seeds_or_steps_is_at_least_1(option, tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        effects.main(["distance", f"--out={tmp_path}", option])
