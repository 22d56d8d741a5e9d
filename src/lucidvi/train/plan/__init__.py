"""The Lightning plan: a step, its schedules and optimizers, and what is logged."""
