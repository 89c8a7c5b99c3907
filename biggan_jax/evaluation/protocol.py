"""How a score was made. No score is written without it, and scores of different protocols are not comparable."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Protocol:
    features: str  # "Inception", or the classifier's name
    weights_sha256: str
    resizer: str
    samples: int  # generated images
    source: str  # "EMA generator", or the file or folder that images came from
    batch_norm: str  # "standing statistics, 100 x 64"
    truncation: float | None
    truncation_mode: str | None  # one of latents.TRUNCATIONS; None without truncation
    seed: int  # of latents and labels; labels are uniform
    reference: str  # real images: name of data set and split
    reference_fingerprint: str
    reference_samples: int
    neighbour_samples: int  # generated images in KID, precision, recall, density and coverage
    neighbour_reference_samples: int  # real images in the same
    inception_score_splits: int = 10
    precision_k: int = 3
    density_k: int = 5

    def describe(self) -> str:
        """Everything but the truncation, as one line."""
        return (
            f"{self.features} {self.weights_sha256[:8]}, resize: {self.resizer}; {self.samples:,} samples of "
            f"{self.source}, {self.batch_norm}, seed {self.seed}; reference {self.reference}, "
            f"{self.reference_samples:,} images ({self.reference_fingerprint}); Inception Score over "
            f"{self.inception_score_splits} splits; KID, precision, recall (k={self.precision_k}), density, coverage "
            f"(k={self.density_k}) of {self.neighbour_samples:,} samples and {self.neighbour_reference_samples:,} real "
            "images"
        )

    def untruncated(self) -> "Protocol":
        """The same without its truncation: what all points of one sweep share."""
        return dataclasses.replace(self, truncation=None, truncation_mode=None)


def truncation_name(truncation: float | None) -> str:
    return "none" if truncation is None else f"{truncation:g}"
