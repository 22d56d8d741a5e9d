"""Cells and arguments of every kind that a user may give, good and bad, drawn by a generator."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from tests.model.forms import DTYPES, FORMATS, STRING

Random = np.random.Generator


@dataclass(frozen=True)
class Odd:
    """Cells that something is odd about.

    Parameters
    ----------
    counts
        Their counts, shape ``(n_cells, n_genes)``.
    obs
        Columns of the cells.
    cells, genes
        Their names.
    dtype, format
        Type and format of the matrix.
    layer
        Layer that the counts are in; None for X.
    what
        What is odd.
    unusable, doubtful
        Whether they have to be refused whatever the counts are, and whether they may be.
    """

    counts: np.ndarray
    obs: dict[str, Any]
    cells: Any
    genes: Any
    dtype: str = "float32"
    format: str = "csr_matrix"
    layer: str | None = None
    what: tuple[str, ...] = ()
    unusable: bool = False
    doubtful: bool = False

    @property
    def bad(self) -> bool:
        """Whether they have to be refused."""
        return self.unusable or len(set(self.genes)) < len(self.genes) or not self.holds_counts

    @property
    def holds_counts(self) -> bool:
        """Whether there are cells, and each has counts that are counts."""
        if not self.counts.size or self.counts.dtype == object:
            return False
        with np.errstate(all="ignore"):
            counts = self.counts.astype(self.dtype).astype(np.longdouble)
        whole = np.isfinite(counts) & (counts >= 0) & (counts == np.rint(counts))
        return bool((whole & (counts < 3e38)).all() and (counts.sum(axis=1) > 0).all())

    def make(self) -> AnnData:
        """Return the AnnData."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of anndata, about names that are no texts
            values = self.counts
            if values.dtype != object:
                with np.errstate(all="ignore"):
                    values = FORMATS[self.format](values.astype(self.dtype))
            obs = pd.DataFrame(self.obs, index=pd.Index(self.cells))
            var = pd.DataFrame(index=pd.Index(self.genes))
            if self.layer is None:
                return AnnData(values, obs, var)
            empty = np.zeros(self.counts.shape, np.float32)
            return AnnData(empty, obs, var, layers={self.layer: values})


def plain(n_cells: int = 24, n_genes: int = 10, seed: int = 0) -> Odd:
    """Return cells that nothing is odd about."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(1.0, 3.0, (n_cells, n_genes))).astype(float)
    counts[:, 0] += 1
    batch = np.array(["a", "b", "c"])[np.arange(n_cells) % 3]
    return Odd(
        counts,
        {
            "batch": batch.astype(object),
            "label": np.array(["B", "T"])[np.arange(n_cells) // 2 % 2].astype(object),
            "age": np.linspace(-1, 1, n_cells),
            "size": np.linspace(0.5, 2, n_cells),
        },
        [f"cell{i}" for i in range(n_cells)],
        [f"gene{i}" for i in range(n_genes)],
    )


def with_value(value: float):
    def change(rng: Random, odd: Odd) -> Odd:
        if not odd.counts.size or odd.counts.dtype == object:
            return odd
        counts = odd.counts.copy()
        counts[rng.integers(counts.shape[0]), rng.integers(counts.shape[1])] = value
        return replace(odd, counts=counts, dtype="float64")

    return change


def with_column(make: Callable[[Random, int], Any], *, doubtful=False, key="batch"):
    def change(rng: Random, odd: Odd) -> Odd:
        column = make(rng, len(odd.cells))
        return replace(
            odd,
            obs={**odd.obs, key: column},
            doubtful=odd.doubtful or doubtful,
        )

    return change


def rows(odd: Odd, chosen: Any) -> Odd:
    return replace(
        odd,
        counts=odd.counts[chosen],
        obs={key: column[chosen] for key, column in odd.obs.items()},
        cells=list(np.array(odd.cells, dtype=object)[chosen]),
    )


def columns(odd: Odd, chosen: Any) -> Odd:
    genes = list(np.array(odd.genes, dtype=object)[chosen])
    return replace(odd, counts=odd.counts[:, chosen], genes=genes)


def few_cells(rng, odd):
    n = int(rng.integers(0, 4))
    odd = rows(odd, np.arange(n))
    return replace(odd, doubtful=True)


def few_genes(rng, odd):
    n = int(rng.integers(0, 3))
    return replace(columns(odd, np.arange(n)), doubtful=True)


def empty_cell(rng, odd):
    if not odd.counts.size or odd.counts.dtype == object:
        return odd
    counts = odd.counts.copy()
    counts[rng.integers(len(counts))] = 0
    return replace(odd, counts=counts)


def empty_gene(rng, odd):
    if odd.counts.shape[1] < 3:
        return odd
    counts = odd.counts.copy()
    counts[:, -1] = 0
    return replace(odd, counts=counts)


def as_objects(rng, odd):
    """Objects are refused, even where all of them are numbers."""
    counts = odd.counts.astype(object)
    kind = rng.integers(3)
    if counts.size and kind:
        counts[0, 0] = ["3", None][kind - 1]
    return replace(odd, counts=counts, doubtful=True)


def as_texts(rng, odd):
    return replace(odd, counts=odd.counts.astype(str).astype(object))


def repeated_genes(rng, odd):
    if len(odd.genes) < 2:
        return odd
    return replace(odd, genes=[odd.genes[1], *odd.genes[1:]])


NAMES: dict[str, Callable[[int], Any]] = {
    "repeated": lambda n: [f"c{i // 2}" for i in range(n)],
    "one name": lambda n: ["c"] * n,
    "numbers": lambda n: list(range(n)),
    "floats": lambda n: [i / 2 for i in range(n)],
    "strings": lambda n: pd.Index([f"c{i}" for i in range(n)], dtype=STRING),
    "empty": lambda n: ["", *(f"c{i}" for i in range(1, n))][:n],
    "unicode": lambda n: [f"ü{i}/\u202e\n" for i in range(n)],
    "categories": lambda n: pd.CategoricalIndex([f"c{i}" for i in range(n)]),
}


def cell_names(rng, odd):
    kind = rng.choice(list(NAMES))
    return replace(odd, cells=NAMES[kind](len(odd.cells)), what=(*odd.what, str(kind)))


def gene_names(rng, odd):
    kind = rng.choice([name for name in NAMES if name not in ("repeated", "one name")])
    names = NAMES[kind](len(odd.genes))
    return replace(odd, genes=names, what=(*odd.what, str(kind)))


def any_type(rng, odd):
    if odd.counts.dtype == object:
        return odd
    dtype = str(rng.choice(DTYPES))
    counts = np.minimum(odd.counts, 1) if dtype == "bool" else odd.counts
    whole = (
        (np.abs(counts) < 2.0**31).all()
        and (counts >= 0).all()
        and (counts == counts.round()).all()
    )
    if not whole and np.dtype(dtype).kind != "f":
        return odd
    return replace(odd, counts=counts, dtype=dtype)


def any_format(rng, odd):
    kind = str(rng.choice(list(FORMATS)))
    if odd.counts.dtype == object or not odd.counts.size:
        return odd
    return replace(
        odd, format=kind, unusable=odd.unusable or kind == "masked", what=(*odd.what, kind)
    )


def in_layer(rng, odd):
    return replace(odd, layer="counts")


def codes(rng, n, k=3):
    return np.arange(n) % k


CELLS: dict[str, Callable[[Random, Odd], Odd]] = {
    "nothing": lambda rng, odd: odd,
    "NaN": with_value(np.nan),
    "infinite": with_value(np.inf),
    "minus infinite": with_value(-np.inf),
    "negative": with_value(-1),
    "fraction": with_value(0.5),
    "nearly whole": with_value(2.0000001),
    "too large": with_value(1e300),
    "large": with_value(2.0**30),
    "minus zero": with_value(-0.0),
    "few cells": few_cells,
    "few genes": few_genes,
    "an empty cell": empty_cell,
    "an empty gene": empty_gene,
    "objects": as_objects,
    "texts": as_texts,
    "genes of one name": repeated_genes,
    "names of cells": cell_names,
    "names of genes": gene_names,
    "type": any_type,
    "format": any_format,
    "layer": in_layer,
    "batch: category": with_column(lambda rng, n: pd.Categorical(codes(rng, n).astype(str))),
    "batch: ordered": with_column(
        lambda rng, n: pd.Categorical(
            codes(rng, n).astype(str), categories=["2", "9", "1", "0"], ordered=True
        )
    ),
    "batch: one": with_column(lambda rng, n: np.array(["a"] * n, dtype=object)),
    "batch: each its own": with_column(
        lambda rng, n: np.array([f"b{i}" for i in range(n)], dtype=object), doubtful=True
    ),
    "batch: integers": with_column(codes),
    "batch: floats": with_column(lambda rng, n: codes(rng, n) / 2),
    "batch: truth": with_column(lambda rng, n: codes(rng, n) == 1),
    "batch: nullable": with_column(lambda rng, n: pd.array(codes(rng, n), dtype="Int64")),
    "batch: string": with_column(lambda rng, n: pd.array(codes(rng, n).astype(str), dtype=STRING)),
    "batch: dates": with_column(
        lambda rng, n: pd.to_datetime("2020-01-01") + pd.to_timedelta(codes(rng, n), unit="D"),
        doubtful=True,
    ),
    "batch: intervals": with_column(
        lambda rng, n: pd.cut(codes(rng, n), [-1, 0, 1, 2]), doubtful=True
    ),
    "batch: mixed": with_column(
        lambda rng, n: np.array([i % 3 if i % 2 else f"b{i % 3}" for i in range(n)], dtype=object),
        doubtful=True,
    ),
    "batch: missing": with_column(
        lambda rng, n: np.array(["a", None, *["b"] * n][:n], dtype=object), doubtful=True
    ),
    "batch: NaN": with_column(lambda rng, n: np.array([np.nan, *[1.0] * n][:n]), doubtful=True),
    "batch: all missing": with_column(
        lambda rng, n: np.array([None] * n, dtype=object), doubtful=True
    ),
    "batch: lists": with_column(
        lambda rng, n: pd.Series([[1]] * n, dtype=object).to_numpy(), doubtful=True
    ),
    "batch: empty text": with_column(
        lambda rng, n: np.array(["", "a", " a"] * n, dtype=object)[:n]
    ),
    "age: text": with_column(lambda rng, n: np.array(["1"] * n, dtype=object), key="age"),
    "age: NaN": with_column(lambda rng, n: np.full(n, np.nan), key="age"),
    "age: large": with_column(lambda rng, n: np.full(n, 1e300), key="age"),
    "size: zero": with_column(lambda rng, n: np.zeros(n), key="size"),
    "size: negative": with_column(lambda rng, n: np.full(n, -1.0), key="size"),
    "size: large": with_column(lambda rng, n: np.full(n, 1e300), key="size"),
    "size: small": with_column(lambda rng, n: np.full(n, 1e-300), key="size"),
}


def odd_cells(rng: Random, most: int = 3, start: Odd | None = None) -> Odd:
    """Draw cells about which up to some things are odd."""
    odd = plain(seed=int(rng.integers(1000))) if start is None else start
    for _ in range(int(rng.integers(0, most + 1))):
        name = str(rng.choice(list(CELLS)))
        odd = CELLS[name](rng, odd)
        odd = replace(odd, what=(*odd.what, name))
    return odd


# -- arguments --------------------------------------------------------------------------------


class Unknown:
    """Something of no known type."""

    def __repr__(self) -> str:
        return "Unknown()"


#: What may stand for any argument.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, 5, -1, -3, 0.5, 1.0, 2.5, -0.5, 0.0),
    *(float("nan"), float("inf"), -float("inf"), 1e300, 10**30, np.int8(2), np.float32(0.5)),
    *(np.bool_(True), np.str_("a"), "", "x", "a", "b", "gene1", "cell1", "batch", "label", "nb"),
    *("all", "encoder", "refined", "importance", "latent", "age > 0", b"a", 1j),
    *([], [0], [0, 1], [1, 1], [-1], [99], [0.5], [True, False], [None], ["a"], ["a", "b"]),
    *(["gene1"], ["gene1", "gene2"], ["gene1", "gene1"], ["nope"], ["cell1", "cell3"], [[0, 1]]),
    *((), (0, 1), {}, {"a": 1}, {"gene1": 0}, {0}, {"a"}, range(3), slice(2, 5), slice(0, 0)),
    *(np.array(1), np.arange(3), np.array([-1, -2]), np.zeros(0), np.zeros((2, 2))),
    *(np.array([0.0, 1.0]), np.array([np.nan, 1]), np.ones(24, bool), np.zeros(24, bool)),
    *(np.arange(24) % 2 == 0, np.array(["gene1", "gene3"]), np.arange(3, dtype=np.uint8)),
    *(np.array([1, "a", None], dtype=object), np.linspace(1, 2, 24), np.full(24, -1.0)),
    *(pd.Series([0, 1]), pd.Series(["gene1"]), pd.Index(["cell2"]), pd.Categorical(["a", "b"])),
    *(pd.DataFrame({"a": [1]}), sparse.csr_matrix(np.eye(2)), Unknown(), Unknown, len),
    *(pd.NA, pd.Timestamp("2020-01-01"), np.datetime64("2020-01-01"), "é", "a" * 500),
)


#: What is plausible for some arguments.
PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "indices": (
        *([0, 3], np.arange(5), [-1, 2], slice(2, 9, 3), np.arange(24) % 3 == 0, ["cell1"]),
        *([3, 3, 1], np.array([2], np.int8), range(4), pd.Index(["cell5", "cell2"])),
    ),
    "batch_size": (1, 2, 7, 100, np.int64(5)),
    "gene_list": (["gene1"], ["gene3", "gene1"], np.arange(10) < 2, "gene4"),
    "genes": (["gene1"], ["gene3", "gene1"], {"gene1": 0}),
    "transform_batch": ("a", ["a", "b"], [None], "all"),
    "batch": ("a", "b", None),
    "n_samples": (1, 2, np.int64(3)),
    "n_mc_samples": (1, 20, 35),
    "mc_samples": (1, 50),
    "library_size": (1, 1e4, "latent"),
    "batch_key": ("batch", None),
    "labels_key": ("label", None),
    "continuous_covariate_keys": (["age"], ["age", "size"]),
    "categorical_covariate_keys": (["label"], None),
    "max_epochs": (1, 2),
    "train_size": (0.5, 0.9, 1.0),
    "n_latent": (1, 2, 7),
    "n_hidden": (1, 3, np.int64(8)),
    "n_layers": (1, 2),
    "dropout_rate": (0.0, 0.5),
    "n_cells": (1, 7),
    "depth": (100, 50.5),
    "lr": (1e-3, 1e-2),
    "seed": (0, 5),
}
TRUTH = (True, False)


def any_value(rng: Random, name: str = "", default: Any = None) -> tuple[Any, bool]:
    """Draw a value of any type, or one that is plausible for an argument; say which."""
    plausible = PLAUSIBLE.get(name, TRUTH if isinstance(default, bool) else ())
    if plausible and rng.random() < 0.6:
        return plausible[rng.integers(len(plausible))], True
    return VALUES[rng.integers(len(VALUES))], False


def shown(value: Any) -> str:
    """Return a value in a few characters."""
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"
