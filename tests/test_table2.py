"""Table 2 from a sweep, as Markdown and as JSON."""

import json

import pytest

from biggan_jax.evaluation import table2
from biggan_jax.evaluation.protocol import Protocol
from tests.evaluation_runs import PROTOCOL

SWEEP = [
    table2.Point(None, 8.0, 100.0),
    table2.Point(2.0, 7.0, 120.0),
    table2.Point(1.0, 9.0, 160.0),
    table2.Point(0.5, 25.0, 200.0),
]


def test_the_four_columns_of_table_2():
    found = table2.columns(SWEEP[::-1], 170.0)
    assert found["no truncation"] == SWEEP[0] and found["minimum FID"] == SWEEP[1] and found["maximum IS"] == SWEEP[3]
    assert found["validation IS"] == pytest.approx((0.875, 13.0, 170.0))  # a quarter of the way from 1.0 to 0.5
    assert (
        table2.columns(SWEEP, 103.0)["validation IS"] == SWEEP[0]
        and table2.columns(SWEEP, 117.0)["validation IS"] == SWEEP[1]
    )
    assert table2.columns(SWEEP, 90.0)["validation IS"] is None and table2.columns(SWEEP, None)["validation IS"] is None
    assert table2.columns(SWEEP[1:], 90.0)["no truncation"] is None


def test_the_papers_values_stand_beside_ours():
    text = table2.markdown(table2.columns(SWEEP, 170.0), "real", "FID", "IS", "protocol", table2.PAPER["biggan", 128])
    assert "| this run | 8 / 100.00 (none) | 7 / 120.00 (2) | 13 / 170.00 (0.875) | 25 / 200.00 (0.5) |" in text
    assert "| 8.7±.6 / 98.8±3 | 7.7±.2 / 126.5±0 | 9.6±.4 / 166.3±1 | 25±2 / 206±2 |" in text


def test_the_sweep_is_kept_as_numbers():
    value = json.loads(table2.to_json(7, SWEEP, None, PROTOCOL))
    assert value["step"] == 7 and value["validation_score"] is None
    assert value["points"][:2] == [{"truncation": None, "FID": 8, "IS": 100}, {"truncation": 2, "FID": 7, "IS": 120}]
    assert value["score_names"] == {"FID": "digits-classifier FID", "IS": "digits-classifier IS"}
    assert Protocol(**value["protocol"]) == PROTOCOL
