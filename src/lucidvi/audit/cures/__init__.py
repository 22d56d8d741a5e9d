"""What to do about a problem, as code in the terms of the model that has it."""
