"""The benchmark of data at ImageNet's scale, on a data set of its form that is small."""

import pytest

from biggan_jax import cli
from biggan_jax.data import array_record
from biggan_jax.errors import UsageError
from tests.benchmarks import imagenet_scale


def test_one_host_reads_its_part_of_an_epoch_and_little_more(tmp_path, monkeypatch):
    monkeypatch.setattr(array_record, "READ_AT_START", 0)
    imagenet_scale.make(tmp_path, records=70, shard=30)
    shards = sorted(tmp_path.glob("images-train.*"))
    first, second, third = (path.stat() for path in shards)
    assert first.st_ino == second.st_ino != third.st_ino
    array_record.verify(str(tmp_path))
    overrides = [f"--config.data.dir={tmp_path}", "--config.batch_size=16", "--config.accumulation_steps=2"]
    config = cli.override(cli.load_config("table1:row=8"), overrides)
    table = dict(imagenet_scale.measure(config, host=3, hosts=4))
    assert table["what"] == "host 3 of 4" and table["records of the data set"] == "70"
    assert table["images of an epoch"] == "16"  # two steps of 2 D updates on 16, of which a quarter
    # Each record is in a chunk of its own, whose header and description are some hundred bytes beside 49,152.
    assert 1 < float(table["bytes read for each byte of pixels"]) < 1.1


def test_shards_are_made_once_and_not_in_place_of_others(tmp_path):
    imagenet_scale.make(tmp_path, records=3, shard=2)
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    imagenet_scale.make(tmp_path, records=3, shard=2)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made
    with pytest.raises(UsageError, match="holds 3 records"):
        imagenet_scale.make(tmp_path, records=4)
