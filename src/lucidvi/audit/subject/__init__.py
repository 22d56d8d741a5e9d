"""A model and its cells as the checks see them: samples, latent states, predictions, priors."""
