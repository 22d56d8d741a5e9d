"""Is this what a model can read? What is wrong, where, and what to paste instead."""
