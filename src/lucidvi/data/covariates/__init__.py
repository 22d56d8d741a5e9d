"""Columns of cells as codes, and values of a query matched with those of a model."""
