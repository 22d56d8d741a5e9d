"""Cells under a condition that their label was not seen under, and how such predictions do."""
