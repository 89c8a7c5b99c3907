"""The grids: the paper's numbers, the same deltas at every scale, rows that build."""

import jax
import pytest

from biggan_jax import cli, models
from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from experiments import ablations, batch_scaling, grid, table1, table2
from launch import jobs

GRIDS = {"table1": table1, "table2": table2, "batch_scaling": batch_scaling, "ablations": ablations}
CASES = [(name, scale) for name in GRIDS for scale in grid.SCALES]
BETWEEN = ("cifar10", "fashion_mnist")  # as the digits' but for the data


@pytest.mark.parametrize(
    "name, scale", [pytest.param(*case, marks=[pytest.mark.slow] * (case[1] in BETWEEN)) for case in CASES]
)
def test_rows_are_valid_different_and_addressed_by_name(name, scale):
    rows = GRIDS[name].get_grid(f"scale={scale}")
    for row, config in rows.items():
        configs.validate(config)
        assert configs.from_json(configs.to_json(config)).to_dict() == config.to_dict()
        alone = cli.load_config(f"experiments/{name}.py:row={row},scale={scale}")
        assert alone.to_dict() == config.to_dict()
        assert config.run.evaluate_every and config.num_steps >= config.run.evaluate_every
    assert len({jobs.config_id(config) for config in rows.values()}) == len(rows)


def test_a_grid_is_a_pure_function():
    first = table1.get_grid("scale=digits")
    first["8"].batch_size = 1
    assert table1.get_grid("scale=digits")["8"].batch_size == 64


@pytest.mark.slow
def test_every_net_of_every_grid_builds():
    built = set()
    for name, scale in CASES:
        for row, c in GRIDS[name].get_grid(f"scale={scale}").items():
            key = c.model.to_json() + str((c.image_size, c.num_classes, c.bn_group_size))
            if key in built:
                continue
            built.add(key)
            generator, discriminator = models.build(c)
            batch = c.bn_group_size or 2
            z = jax.ShapeDtypeStruct((batch, generator.z_dim), "float32")
            labels = jax.ShapeDtypeStruct((batch,), "int32")

            def forward(z, labels):
                images, _ = generator.init_with_output(jax.random.key(0), z, labels, train=True)
                return images, discriminator.init_with_output(jax.random.key(0), images, labels, train=True)[0]

            images, logits = jax.eval_shape(forward, z, labels)
            assert images.shape == (batch, c.image_size, c.image_size, 3), (name, scale, row)
            assert logits.shape[0] == batch
    assert len(built) > 30


def has(config, key: str) -> bool:
    """Whether a part of the nets is there; nets that cannot have it have no such key."""
    return config.model.get(key, False)


def test_table1_has_the_papers_hyperparameters():
    """Rows in the order batch, channels, z, shared, skip-z, orthogonal, D steps, G rate, D rate, steps."""
    found = {
        row: (c.batch_size, c.model.channels, c.model.z_dim, has(c, "shared_embedding"), has(c, "skip_z"),
              c.orthogonal_reg, c.num_d_steps, c.optimizer.g_lr, c.optimizer.d_lr, c.num_steps)
        for row, c in table1.get_grid().items()
    }  # fmt: skip
    assert found == {
        "1": (256, 64, 128, False, False, 0.0, 1, 1e-4, 4e-4, 1_000_000),
        "2": (512, 64, 128, False, False, 0.0, 2, 5e-5, 2e-4, 1_000_000),
        "3": (1024, 64, 128, False, False, 0.0, 2, 5e-5, 2e-4, 1_000_000),
        "4": (2048, 64, 128, False, False, 0.0, 2, 5e-5, 2e-4, 732_000),
        "5": (2048, 96, 128, False, False, 0.0, 2, 5e-5, 2e-4, 295_000),
        "6": (2048, 96, 128, True, False, 0.0, 2, 5e-5, 2e-4, 185_000),
        "7": (2048, 96, 120, True, True, 0.0, 2, 5e-5, 2e-4, 152_000),
        "8": (2048, 96, 120, True, True, 1e-4, 2, 5e-5, 2e-4, 165_000),
        "9": (2048, 64, 120, True, True, 1e-4, 2, 5e-5, 2e-4, 371_000),
    }
    assert {c.image_size for c in table1.get_grid().values()} == {128}
    assert grid.paper(table1, "", "9") == {
        "thousand_steps": 371, "thousand_steps_deviation": 7, "fid": 10.48, "fid_deviation": 0.1,
        "inception_score": 86.9, "inception_score_deviation": 0.61, "params": "71.3M",
    }  # fmt: skip
    assert {row: len(seeds) for row, seeds in table1.get_seeds().items()} == dict(zip("123456789", [1] * 4 + [8] * 5))


@pytest.mark.parametrize("scale", [s for s in grid.SCALES if s != "imagenet"])
def test_a_scaled_table1_keeps_the_deltas(scale):
    large, small = table1.get_grid(), table1.get_grid(f"scale={scale}")
    ratio = lambda rows, key: {row: rows[row][key] / rows["8"][key] for row in rows}
    assert ratio(large, "batch_size") == ratio(small, "batch_size")
    width = lambda rows: {row: c.model.channels / rows["8"].model.channels for row, c in rows.items()}
    assert width(large) == width(small)
    rate = lambda rows: {row: c.optimizer.d_lr / rows["8"].optimizer.d_lr for row, c in rows.items()}
    assert rate(large) == rate(small)
    for row in large:
        assert large[row].model.name == small[row].model.name
        for key in ("shared_embedding", "skip_z"):
            assert has(large[row], key) == has(small[row], key)
        assert large[row].num_d_steps == small[row].num_d_steps
        assert large[row].orthogonal_reg == small[row].orthogonal_reg
        assert grid.paper(table1, "", row)["fid"] == grid.paper(table1, f"scale={scale}", row)["fid"]


def test_what_was_published_is_of_the_row_and_the_scale():
    assert grid.paper(table1, "scale=digits", "8") == cli.load_paper("experiments/table1.py:scale=digits,row=8")
    assert "params" in grid.paper(table1, "", "8") and "params" not in grid.paper(table1, "scale=digits", "8")
    assert grid.paper(ablations, "", "baseline") == {}


def test_equal_epochs_see_equal_images_and_equal_steps_take_equal_updates():
    for scale in grid.SCALES:
        rows = batch_scaling.get_grid(f"scale={scale}")
        base = rows["batch-2048"]
        for row, c in rows.items():
            if row.endswith("-epochs"):
                assert c.num_steps * c.batch_size == base.num_steps * base.batch_size
            else:
                assert c.num_steps == base.num_steps
    rows = batch_scaling.get_grid()
    assert {c.batch_size for c in rows.values()} == {256, 512, 1024, 2048, 4096}
    assert {c.model.channels for c in rows.values()} == {32, 64, 96, 128}


def test_each_ablation_changes_one_thing():
    allowed = {"ortho": "orthogonal_reg", "attention": "model.attention_resolutions", "d-steps": "num_d_steps",
               "ema": "ema_decay", "bn-group": "bn_group_size", "sn-g": "model.spectral_norm_g", "z": "model.z_dim",
               "precision": "compute_dtype"}  # fmt: skip
    seen = set()
    for scale in grid.SCALES:
        rows = ablations.get_grid(f"scale={scale}")
        base = configs.flatten(rows.pop("baseline").to_dict())
        for row, c in rows.items():
            changed = {key for key, value in configs.flatten(c.to_dict()).items() if value != base[key]}
            kind = next(kind for kind in allowed if row.startswith(kind))
            # Both nets' attention; standing statistics are made of whole groups.
            also = {"attention": {"model.attention_resolutions_d"}, "bn-group": {"run.standing_stats_batch_size"}}
            assert {allowed[kind]} <= changed <= {allowed[kind]} | also.get(kind, set()), row
            seen.add(kind)
    assert seen == set(allowed)


def test_table2_has_six_nets_and_the_laptop_two():
    assert list(table2.get_grid()) == [f"{n}-{s}" for n in ("biggan", "biggan-deep") for s in (128, 256, 512)]
    small = table2.get_grid("scale=cifar10")
    assert {row: c.model.name for row, c in small.items()} == {"biggan-32": "biggan", "biggan-deep-32": "biggan_deep"}


@pytest.mark.parametrize(
    "spec, message",
    [
        ("experiments/table1.py:row=10", "rows 1 to 9"),
        ("experiments/table1.py:scale=digit", "did you mean digits"),
        ("experiments/ablations.py:row=orto-0", "did you mean ortho-0"),
        ("experiments/table2.py:width=3", "width"),
    ],
)
def test_a_wrong_row_or_scale_is_named(spec, message):
    with pytest.raises(UsageError, match=message):
        cli.load_config(spec)


def test_what_is_not_a_grid(tmp_path):
    with pytest.raises(UsageError, match="has no get_grid"):
        grid.load("experiments/digits.py")
    with pytest.raises(UsageError, match="there is no file"):
        grid.load("experiments/none.py:scale=digits")
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind")
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        grid.load(str(tmp_path / "broken.py"))
    (tmp_path / "comma.py").write_text(
        "from tests.tiny import tiny_config\ndef get_grid(variant=''):\n  return {'ch=24,z=40': tiny_config()}\n"
    )
    with pytest.raises(UsageError, match="row 'ch=24,z=40' has a comma, which divides what a variant says; rename it"):
        grid.rows_of(*grid.load(str(tmp_path / "comma.py")), "comma.py")
