"""Write docs/comparison.md: every public method of scvi-tools' SCVI, and what ours does.

Read from the code: a method that LucidVI inherits is the same code. One of its own says in a
paragraph of its docstring, which starts with ``Differs from scvi-tools:``, what it does
differently.
"""

import argparse
import inspect
import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scvi.model

    from lucidvi.model import SCVI

PAGE = Path(__file__).resolve().parent.parent / "docs" / "comparison.md"
MARK = "Differs from scvi-tools:"
HEAD = """# Comparison with scvi-tools

Every public method and property of `scvi.model.SCVI` (scvi-tools {version}) and what becomes of
it in {{class}}`lucidvi.model.SCVI`: the same code, or code of its own and how that differs. Also
where the code is the same, it runs on LucidVI's data manager, module and training plan; for
equal weights it gives the same numbers, which `tests/model` checks method by method.

This page is made from the code by `scripts/compare_with_scvi_tools.py`.
"""


def public_names(model_cls: type) -> list[str]:
    return [name for name in dir(model_cls) if not name.startswith("_")]


def defining_class(model_cls: type, name: str) -> type:
    return next(cls for cls in model_cls.__mro__ if name in vars(cls))


def parameters(model_cls: type, name: str) -> dict[str, inspect.Parameter]:
    member = getattr(model_cls, name)
    return dict(inspect.signature(member).parameters) if callable(member) else {}


def difference(member: Any) -> str:
    """Return the paragraph on differences of a docstring, as one line; empty if there is none."""
    for paragraph in (inspect.getdoc(member) or "").split("\n\n"):
        if paragraph.strip().startswith(MARK):
            text = " ".join(paragraph.split()).removeprefix(MARK).strip()
            return text[:1].upper() + text[1:]
    return ""


def original(member: Any) -> Any:
    """Return the method that one with a docstring or a bar of ours passes everything on to."""
    function = getattr(member, "__func__", member)
    return getattr(getattr(function, "documents", function), "__func__", None) or getattr(
        function, "documents", function
    )


def summary(member: Any) -> str:
    return " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())


def plain(text: str) -> str:
    """Turn the roles and literals of reStructuredText into Markdown, safe in a table."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|")


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield the columns for every public name of scvi-tools' model."""
    for name in public_names(scvi.model.SCVI):
        theirs = defining_class(scvi.model.SCVI, name)
        ours = defining_class(SCVI, name)
        kind = "" if callable(getattr(SCVI, name)) else " (property)"
        if original(vars(ours)[name]) is original(vars(theirs)[name]):
            yield f"`{name}`{kind}", f"`{theirs.__name__}`", "the same code", ""
            continue
        known, own = parameters(scvi.model.SCVI, name), parameters(SCVI, name)
        added = ", ".join(f"`{argument}`" for argument in own if argument not in known)
        code = f"own code, and {added}" if added else "own code"
        text = difference(getattr(SCVI, name)) or "not stated"
        yield f"`{name}`{kind}", f"`{theirs.__name__}`", code, plain(text)


def public_path(cls: type) -> str:
    """Return the path by which a class is imported: that of the outermost package that has it."""
    folders = cls.__module__.split(".")
    packages = (".".join(folders[:n]) for n in range(1, len(folders) + 1))
    having = (p for p in packages if getattr(import_module(p), cls.__name__, None) is cls)
    return f"{next(having)}.{cls.__name__}"


def parts() -> Iterator[tuple[str, str, str, str]]:
    """Yield the classes that the methods work with, scvi-tools' and LucidVI's."""
    for hook in ("_module_cls", "_data_splitter_cls", "_training_plan_cls", "_train_runner_cls"):
        theirs, ours = (getattr(model_cls, hook) for model_cls in (scvi.model.SCVI, SCVI))
        path = f"`{public_path(ours)}`"
        text = "" if ours is theirs else plain(summary(ours))
        yield (
            f"`{hook}`",
            f"`{theirs.__name__}`",
            "the same code" if ours is theirs else path,
            text,
        )


def table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page() -> str:
    body = list(rows())
    same = sum(code == "the same code" for _, _, code, _ in body)
    only_ours = [
        (f"`{name}`", plain(summary(getattr(SCVI, name))))
        for name in public_names(SCVI)
        if not hasattr(scvi.model.SCVI, name)
    ]
    return "\n".join(
        [
            HEAD.format(version=scvi.__version__),
            f"Of {len(body)} methods and properties, {same} are the same code.\n",
            table(("method", "scvi-tools", "LucidVI", "difference"), body),
            "## What the methods work with\n",
            table(("hook", "scvi-tools", "LucidVI", "what it is"), list(parts())),
            "## Only in LucidVI\n",
            table(("method", "what it does"), only_ours),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="file to write")
    parser.parse_args().output.write_text(page())


if __name__ == "__main__":
    main()
