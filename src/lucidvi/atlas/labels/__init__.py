"""What the cells around a cell say of it: votes on its label, and distances to all labels."""
