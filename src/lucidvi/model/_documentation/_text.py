"""A docstring as data: summary, parameters, what is returned, an example."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc

WIDTH = 88
#: Stands for a space at which a line does not end.
NO_BREAK = "\0"

#: Parameters that say which cells a method reads.
CELLS = {
    "adata": (
        "Cells to ask about, an AnnData with the model's genes, in any order, and the columns of "
        "its setup. By default those that the model holds."
    ),
    "indices": (
        "Which of the cells: positions, a boolean mask of all of them, a slice, or names. By "
        "default all, in their order."
    ),
    "batch_size": (
        "Cells in a minibatch, which decides about memory and speed. By default "
        "``scvi.settings.batch_size``, which is 128."
    ),
    "dataloader": (
        "Minibatches to read in place of ``adata``, as dictionaries of tensors, for a model that "
        "was made with a datamodule."
    ),
    "data_loader_kwargs": (
        "Further arguments of :class:`scvi.dataloaders.AnnDataLoader`, such as ``num_workers``."
    ),
}
#: Parameters that several methods have.
SHARED = CELLS | {
    "transform_batch": (
        "Batch to decode the cells as, by name; of several, the results are averaged where the "
        "method returns means. By default each cell's own batch."
    ),
    "gene_list": (
        "Genes to return, by name or as a boolean mask of the model's genes. By default all."
    ),
    "silent": (
        "Leave out the bar of scvi-tools, which runs over batches or groups. What takes longer "
        "than two seconds has a bar unless ``lucidvi.settings.progress_bars`` is False."
    ),
    "posterior": (
        'Whose posterior to answer by: ``"encoder"``, or ``"refined"``, each cell\'s own, see '
        ":meth:`refine_posterior`, which takes longer. By default the encoder's."
    ),
    "kwargs": "Further arguments of the module's ``loss``, such as ``kl_weight``.",
}


@dataclass(frozen=True)
class Text:
    """What is said of a method.

    Parameters
    ----------
    summary
        One sentence and, after an empty line, what else there is to know.
    parameters
        Descriptions by name, in the order of the signature. A name alone takes the shared one.
    returns
        What is returned, with shape and space (log or linear).
    example
        Code with its output, as a doctest.
    reference
        Where the method is from.
    """

    summary: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    returns: str = ""
    example: str = ""
    reference: str = ""

    def render(
        self,
        paragraphs: Sequence[str],
        sections: Mapping[str, str],
        names: Collection[str] | None = None,
    ) -> str:
        """Return the docstring.

        Parameters
        ----------
        paragraphs
            Come after the summary.
        sections
            Come after what is returned, by title.
        names
            Parameters that there are; by default all.
        """
        described = [
            parameter(name, text or SHARED[name.strip("*")])
            for name, text in self.parameters.items()
            if names is None or name.strip("*") in names
        ]
        bodies = {
            "Parameters": "\n".join(described),
            "Returns": filled(self.returns),
            **sections,
            "Examples": cleandoc(self.example),
            "References": filled(self.reference),
        }
        written = [
            f"{title}\n{'-' * len(title)}\n{body}" for title, body in bodies.items() if body
        ]
        return "\n\n".join([cleandoc(self.summary), *paragraphs, *written]) + "\n"


@dataclass(frozen=True)
class Addition:
    """What a docstring of LucidVI's own does not say: an example and, if need be, the result."""

    example: str
    returns: str = ""


def parameter(name: str, text: str) -> str:
    """Return the entry of a parameter in a numpy docstring."""
    name = f"**{name}" if name == "kwargs" else name
    return f"{name}\n{filled(text, indent=4)}"


def filled(text: str, indent: int = 0) -> str:
    """Return a text in lines that part no literal, which Sphinx would not take for one."""
    whole = re.sub(r"``.*?``", lambda match: match[0].replace(" ", NO_BREAK), text)
    margin = " " * indent
    lines = textwrap.fill(
        " ".join(whole.split()), WIDTH, initial_indent=margin, subsequent_indent=margin
    )
    return lines.replace(NO_BREAK, " ")
