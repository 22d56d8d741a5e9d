"""What may be done in a training besides the steps of the optimizer: one practice a file."""
