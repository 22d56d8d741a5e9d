"""Models of LucidVI from those of scvi-tools, and back."""
