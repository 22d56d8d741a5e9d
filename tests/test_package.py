"""What ``import lucidvi`` gives."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import lucidvi

#: What users have no calls for: the program, and what is private.
NOT_PARTS = {"cli", "demo"}


def test_every_folder_is_there_after_the_import():
    public = {part.name for part in pkgutil.iter_modules(lucidvi.__path__)}
    public = {name for name in public if not name.startswith("_")} - NOT_PARTS
    assert public == set(lucidvi._PARTS)
    assert public | {"settings"} <= set(dir(lucidvi))
    for name in public:
        assert getattr(lucidvi, name) is import_module(f"lucidvi.{name}")


def test_importing_is_fast():
    """A part is imported when it is first asked for."""
    code = "import lucidvi, sys; assert not {'torch', 'scvi', 'tqdm', 'rich'} & set(sys.modules)"
    code += "; assert lucidvi.train.PRESETS and lucidvi.nn and lucidvi.data.pbmc68k"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parts_need_no_import_of_their_own():
    for name in ("atlas", "audit", "model", "pl"):
        assert name in dir(lucidvi)
        assert getattr(lucidvi, name) is import_module(f"lucidvi.{name}")
    with pytest.raises(AttributeError, match=r"'lucidvi' has no attribute 'atlass'"):
        lucidvi.atlass  # noqa: B018
