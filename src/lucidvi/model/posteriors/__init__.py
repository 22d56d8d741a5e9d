"""Posteriors of the cells: how good they are, the best ones, and the axes they are told in."""
