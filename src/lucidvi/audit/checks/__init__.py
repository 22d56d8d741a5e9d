"""The checks, one a file: from arrays, or from a subject, to a finding."""
