"""What ``import lucidvi`` gives."""

from importlib import import_module

import pytest

import lucidvi


def test_parts_need_no_import_of_their_own():
    for name in ("atlas", "audit", "model", "pl"):
        assert name in dir(lucidvi)
        assert getattr(lucidvi, name) is import_module(f"lucidvi.{name}")
    with pytest.raises(AttributeError, match=r"'lucidvi' has no attribute 'atlass'"):
        lucidvi.atlass  # noqa: B018
