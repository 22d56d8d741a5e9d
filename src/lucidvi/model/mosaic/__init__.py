"""What a model of several modalities answers besides what every model does."""
