"""Whether trainings with other seeds would say the same."""
