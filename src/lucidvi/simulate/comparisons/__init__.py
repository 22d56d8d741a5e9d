"""Genes and labels that differ between two groups of cells, with donors as replicates."""
