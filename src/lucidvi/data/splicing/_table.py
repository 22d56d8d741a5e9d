"""Which files can be read: one row a format."""

from lucidvi.data.splicing import _kb, _loom, _starsolo
from lucidvi.data.splicing._molecules import Format

#: Formats by the name that the argument ``format`` gives them.
FORMATS: dict[str, Format] = {
    "kb": _kb.FORMAT,
    "starsolo": _starsolo.FORMAT,
    "loom": _loom.FORMAT,
}
