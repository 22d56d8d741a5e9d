"""All findings of an audit as one object, and as one page."""

from lucidvi.audit.report._report import Report

__all__ = ["Report"]
