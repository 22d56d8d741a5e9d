"""Cells along a field: what would be counted later, earlier, and between samples."""
