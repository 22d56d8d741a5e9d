"""A query onto a reference: its genes, batches and cells, and what the reference says of them."""
