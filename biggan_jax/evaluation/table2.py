"""Table 2 of Brock et al. 2018: four points on the FID-IS curve that a truncation sweep draws.

"No truncation"; "minimum FID"; "validation IS", the threshold at which samples score the Inception Score of
real validation images; "maximum IS".
"""

import dataclasses
import json
from typing import NamedTuple

from biggan_jax.evaluation.protocol import Protocol, score_name

COLUMNS = ("no truncation", "minimum FID", "validation IS", "maximum IS")
DEFAULT_TRUNCATIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, None)

# FID / IS in the order of COLUMNS, by (config.model.name, config.image_size): Brock et al. 2018
# (arXiv:1809.11096), Table 2.
PAPER = {
    ("biggan", 128): ("8.7±.6 / 98.8±3", "7.7±.2 / 126.5±0", "9.6±.4 / 166.3±1", "25±2 / 206±2"),
    ("biggan", 256): ("8.7±.1 / 142.3±2", "7.7±.1 / 178.0±5", "9.3±.3 / 233.1±1", "25±5 / 291±4"),
    ("biggan", 512): ("8.1 / 144.2", "7.6 / 170.3", "11.8 / 241.4", "27.0 / 275"),
    ("biggan_deep", 128): ("5.7±.3 / 124.5±2", "6.3±.3 / 148.1±4", "7.4±.6 / 166.5±1", "25±2 / 253±11"),
    ("biggan_deep", 256): ("6.9±.2 / 171.4±2", "7.0±.1 / 202.6±2", "8.1±.1 / 232.5±2", "27±8 / 317±6"),
    ("biggan_deep", 512): ("7.5 / 152.8", "7.7 / 181.4", "11.5 / 241.5", "39.7 / 298"),
}


class Point(NamedTuple):
    truncation: float | None
    fid: float
    inception_score: float


def columns(points: list[Point], validation_score: float | None) -> dict[str, Point | None]:
    """The point of each of COLUMNS; None where the sweep has none.

    The threshold of "validation IS" lies between two swept ones: all three values are interpolated linearly
    between the two neighbours, seen from the highest threshold down, whose scores enclose `validation_score`.
    No truncation counts as the highest but has no number to interpolate with, so there the neighbour nearer
    in IS is taken.
    """
    points = sorted(points, key=lambda p: float("inf") if p.truncation is None else p.truncation, reverse=True)
    return {
        "no truncation": next((p for p in points if p.truncation is None), None),
        "minimum FID": min(points, key=lambda p: p.fid),
        "validation IS": None if validation_score is None else _at_score(points, validation_score),
        "maximum IS": max(points, key=lambda p: p.inception_score),
    }


def _at_score(points, score):
    for high, low in zip(points[:-1], points[1:]):
        if min(high.inception_score, low.inception_score) <= score <= max(high.inception_score, low.inception_score):
            if high.truncation is None:
                return min((high, low), key=lambda p: abs(p.inception_score - score))
            span = low.inception_score - high.inception_score
            weight = (score - high.inception_score) / span if span else 0.0
            return Point(*((1 - weight) * a + weight * b for a, b in zip(high, low)))
    return None


def to_json(step: int, points: list[Point], validation_score: float | None, protocol: Protocol) -> str:
    """The numbers behind the table: the swept `points` of the checkpoint of `step`, the Inception Score of held-out
    real images, and the `protocol` that all points share.
    """
    value = {
        "step": step,
        "validation_score": validation_score,
        "points": [{"truncation": p.truncation, "FID": p.fid, "IS": p.inception_score} for p in points],
        "score_names": {score: score_name(score, protocol.features) for score in ("FID", "IS")},
        "protocol": dataclasses.asdict(protocol.untruncated()),
    }
    return json.dumps(value, indent=2)


def markdown(
    found: dict[str, Point | None], validation: str, fid: str, score: str, protocol: str, paper: tuple[str, ...] | None
) -> str:
    """The table with a row of the points `found` and, where there is one, the paper's.

    validation: which real images set the third column's score. fid, score: what the two scores are called.
    """
    cells = ["–" if found[column] is None else _cell(found[column]) for column in COLUMNS]
    rows = [["", *COLUMNS], ["---"] * 5, ["this run", *cells]]
    if paper:
        rows.append(["paper (Inception, ImageNet)", *paper])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (
        f"# Table 2\n\n{fid} / {score} (threshold). Third column: {validation}; interpolated linearly between the two "
        f"nearest thresholds.\n\n{table}\n\n{protocol}. Statistics of BatchNorm recomputed for each threshold.\n"
    )


def _cell(point):
    threshold = "none" if point.truncation is None else f"{point.truncation:.3g}"
    return f"{point.fid:.4g} / {point.inception_score:.2f} ({threshold})"
