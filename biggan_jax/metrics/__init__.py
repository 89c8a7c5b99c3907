"""Sample-quality metrics: the FID Inception network, its scores, and the statistics they are computed from."""
