"""CLUTR (Azad et al. 2023, arXiv 2210.10243): an autoencoder over levels, and a teacher in its latent space."""

from groove.curricula.clutr.autoencoder import DIMENSIONS, Latent, decoder, settings_of, shape, train
from groove.curricula.clutr.policy import clutr

__all__ = ["DIMENSIONS", "Latent", "clutr", "decoder", "settings_of", "shape", "train"]
