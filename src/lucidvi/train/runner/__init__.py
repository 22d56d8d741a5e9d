"""A training from its start to whatever ends it: threads, messages, a model that can be used."""
