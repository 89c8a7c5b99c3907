"""Protocols of scores. No score is written without one, and scores of different ones are not comparable."""

import dataclasses

# Generated, where nobody says how many.
NUM_SAMPLES = 50_000  # images; the published number
NEIGHBOUR_SAMPLES = 10_000  # of either set; 80 MB of Inception features, and a minute of distances on two cores
NUM_POINTS = 10_000
PARZEN_SAMPLES = 10_000  # the published number (adversarial/parzen_ll.py of the GAN paper)


@dataclasses.dataclass(frozen=True)
class Protocol:
    features: str  # "Inception", or the classifier's name
    weights_sha256: str
    resizer: str
    samples: int  # generated images
    source: str  # "EMA generator", "generator", or the file or folder that images came from
    batch_norm: str  # "standing statistics, 100 x 64", or "no BatchNorm"
    truncation: float | None
    truncation_mode: str | None  # one of config.gans.TRUNCATION_MODES; None without truncation
    seed: int  # of latents and labels; labels are uniform
    reference: str  # real images: name of data set and split
    reference_fingerprint: str
    reference_samples: int
    neighbour_samples: int  # generated images in KID, precision, recall, density and coverage
    neighbour_reference_samples: int  # real images in the same
    inception_score_splits: int = 10
    precision_k: int = 3
    density_k: int = 5
    mode_samples: int = 0  # generated images whose modes are counted; 0: the data have none that can be told
    mode_classifier: str = ""  # which tells them
    real: str = ""  # data set and split of as many real images as samples, which have a row of their own; empty: none

    def describe(self) -> str:
        """One line that says everything but the truncation."""
        modes = (
            f"; modes of {self.mode_samples:,} samples by {self.mode_classifier}; mode_kl from the samples' shares to "
            "those of the training data, in nats"
        )
        real = f"; the row real is of as many images of {self.real}"
        return (
            f"{self.features} {self.weights_sha256[:8]}, resize: {self.resizer}; {self.samples:,} samples of "
            f"{self.source}, {self.batch_norm}, seed {self.seed}; reference {self.reference}, "
            f"{self.reference_samples:,} images ({self.reference_fingerprint}); Inception Score over "
            f"{self.inception_score_splits} splits; KID, precision, recall (k={self.precision_k}), density, coverage "
            f"(k={self.density_k}) of {self.neighbour_samples:,} samples and {self.neighbour_reference_samples:,} real "
            "images"
            f"{modes * bool(self.mode_samples)}{real * bool(self.real)}"
        )

    def untruncated(self) -> "Protocol":
        """This protocol without its truncation, which all points of one sweep share."""
        return dataclasses.replace(self, truncation=None, truncation_mode=None)


def source_of(config) -> str:
    """The generator that a run's samples are of: its average, where that is more than a copy. Grey ones are scored as
    coloured ones are, by networks of three channels.
    """
    source = "EMA generator" if config.get("ema_decay") or config.gan.get("ema_kimg") else "generator"
    return source + (", one channel repeated to three" if config.model.get("image_channels") == 1 else "")


def score_name(score: str, features: str) -> str:
    """`score` as it is reported: "FID" is always Inception's, a classifier's is called "digits-classifier FID"."""
    return score if features == "Inception" else f"{features} {score}"


def truncation_name(truncation: float | None) -> str:
    return "none" if truncation is None else f"{truncation:g}"
