"""Questions to a model: what every method that is asked about cells does first, and alike."""
