"""Checkpoints of a training, from which another process goes on as if nothing had happened."""
