"""All findings as one object and one page."""
