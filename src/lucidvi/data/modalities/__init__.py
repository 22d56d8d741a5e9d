"""What is registered of several modalities: their counts, and what was measured in which cells."""
