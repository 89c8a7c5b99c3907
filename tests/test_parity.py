"""What counts as a difference from BigGAN-PyTorch. The comparison itself needs that code, which is not installed here;
tests/test_biggan_pytorch.py compares with what it was recorded to compute.
"""

import sys

import numpy as np
import pytest

from biggan_jax import cli
from tests.benchmarks import parity


def test_a_difference_is_a_fraction_of_the_largest_entry_of_its_array():
    theirs = {"large": np.array([4.0, -8.0]), "small": np.array([1e-6])}
    assert parity.largest_difference({"large": np.array([4.0, -7.0]), "small": np.array([1e-6])}, theirs) == 1 / 8
    off = parity.largest_difference({"large": theirs["large"], "small": np.array([1.5e-6])}, theirs)
    np.testing.assert_allclose(off, 0.5)


def test_what_is_only_their_rounding_is_not_compared_and_what_is_missing_is():
    theirs = {"weight": np.array([1.0]), "bias in front of BatchNorm": np.array([1e-16])}
    assert parity.largest_difference({"weight": np.array([1.0])}, theirs) == 0
    with pytest.raises(KeyError, match="weight"):
        parity.largest_difference({}, theirs)


def test_every_net_that_code_has_is_compared():
    kinds = [(module, kind, fields["resolution"]) for module, kind, fields in parity.CASES.values()]
    assert len({(module, kind) for module, kind, _ in kinds}) == 4
    assert {size for _, _, size in kinds} == {32, 64, 128, 256, 512}


def test_a_folder_that_is_no_clone_is_named(capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "argv", ["parity", "--biggan_pytorch=nowhere"])
    with pytest.raises(SystemExit) as stop:
        cli.run(parity.main)
    assert stop.value.code == 2 and "expected a clone of ajbrock" in capsys.readouterr().err
