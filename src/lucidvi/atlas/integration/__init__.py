"""Scores of a latent space, beside those of other methods."""
