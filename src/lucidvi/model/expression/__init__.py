"""Expression of genes, and what differs between groups of cells."""
