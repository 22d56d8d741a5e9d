"""Planned comparisons: experiments that are drawn from a model and tested, again and again."""
