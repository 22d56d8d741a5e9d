"""Forms in which the same cells may come: a strategy, and how to make them."""

import tempfile
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from hypothesis import strategies as st
from scipy import sparse

N_CELLS, N_GENES, N_BATCHES = 30, 12, 3
#: Cells of another kind among which those of a view lie.
N_OTHERS = 6
STRING = pd.StringDtype("python", na_value=np.nan)  # what pandas makes of text from 3 on

DTYPES = (
    *("float16", "float32", "float64", "longdouble", ">f2", ">f4", ">f8"),
    *("bool", "int8", "int16", "int32", "int64", ">i2", ">i4", ">i8"),
    *("uint8", "uint16", "uint32", "uint64", ">u2", ">u8"),
)


def compressed(x, kind, change=None):
    """Return a sparse matrix of any type, of which scipy makes none from dense values."""
    whole = getattr(sparse, kind)(x.astype(np.float64))
    indices, indptr, data = whole.indices, whole.indptr, whole.data.astype(x.dtype)
    if change is not None:
        indices, indptr, data = change(indices, indptr, data, x.shape[1])
    matrix = getattr(sparse, kind)((1, 1), dtype=np.float32)
    matrix.resize(x.shape)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    return matrix


def in_any_order(indices, indptr, data, n_genes):
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in pairwise(indptr)])
    return indices[order], indptr, data[order]


def with_zeros(indices, indptr, data, n_genes):
    """Store every value, zeros too."""
    dense = np.zeros((len(indptr) - 1, n_genes), data.dtype)
    for row, (start, stop) in enumerate(pairwise(indptr)):
        dense[row, indices[start:stop]] = data[start:stop]
    starts = np.arange(len(dense) + 1, dtype=indptr.dtype) * n_genes
    return np.tile(np.arange(n_genes, dtype=indices.dtype), len(dense)), starts, dense.ravel()


def in_two_parts(indices, indptr, data, n_genes):
    """Store each value as one, and the rest once more."""
    if data.dtype == bool:
        return indices, indptr, data
    ones = np.ones(len(data), data.dtype)
    parts = np.ravel(np.column_stack([ones, data - ones])).astype(data.dtype)
    return np.repeat(indices, 2), indptr * 2, parts


def in_long_integers(indices, indptr, data, n_genes):
    return indices.astype(np.int64), indptr.astype(np.int64), data


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FORMATS = {
    "dense": np.ascontiguousarray,
    "dense by columns": np.asfortranarray,
    "dense, strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "dense, read-only": read_only,
    "masked": lambda x: np.ma.masked_array(x, x.astype(float) > 2),
    "csr_matrix": lambda x: compressed(x, "csr_matrix"),
    "csr_array": lambda x: compressed(x, "csr_array"),
    "csc_matrix": lambda x: compressed(x, "csc_matrix"),
    "csc_array": lambda x: compressed(x, "csc_array"),
    "csr, any order": lambda x: compressed(x, "csr_matrix", in_any_order),
    "csr, stored zeros": lambda x: compressed(x, "csr_matrix", with_zeros),
    "csr, repeated": lambda x: compressed(x, "csr_matrix", in_two_parts),
    "csr, int64 indices": lambda x: compressed(x, "csr_array", in_long_integers),
}

#: How a batch 0, 1 or 2 is written.
BATCHES = {
    "text": lambda codes: codes.astype(str).astype(object),
    "text category": lambda codes: pd.Categorical(codes.astype(str)),
    "text, unused category": lambda codes: pd.Categorical(
        codes.astype(str), categories=["2", "9", "1", "0"]
    ),
    "string": lambda codes: pd.array(codes.astype(str), dtype="string"),
    "str": lambda codes: pd.array(codes.astype(str), dtype=STRING),
    "int64": lambda codes: codes,
    "int8": lambda codes: codes.astype(np.int8),
    "Int64": lambda codes: pd.array(codes, dtype="Int64"),
    "float64": lambda codes: codes.astype(float),
    "integer category": lambda codes: pd.Categorical(codes),
    "float category": lambda codes: pd.Categorical(codes.astype(float)),
}
#: Those that are text; others are numbers.
TEXT = ("text", "text category", "text, unused category", "string", "str")
VIEWS = {
    "positions": lambda own: own[::-1][::-1].copy(),
    "mask": lambda own: np.isin(np.arange(N_CELLS + N_OTHERS), own),
}
STORAGES = ("memory", "dask", "file", "lazy", "zarr")
GENES = ("same", "reversed", "mixed", "more")
CELL_NAMES = ("unique", "repeated", "one name")
SELECTIONS = {
    "all": None,
    "positions": np.array([17, 3, 21]),
    "list": [4, 1, 2],
    "negative": np.array([-1, 3, -30]),
    "repeated": np.array([5, 5, 2, 28, 2]),
    "int32": np.array([4, 29, 0], dtype=np.int32),
    "mask": np.arange(N_CELLS) % 3 == 1,
    "list of bools": [k % 4 == 0 for k in range(N_CELLS)],
    "slice": slice(3, 25, 4),
    "backwards": slice(None, None, -1),
    "names": ["cell7", "cell2"],
    "beyond": np.array([0, N_CELLS]),
    "short mask": np.ones(N_CELLS - 1, bool),
    "none": np.array([], dtype=int),
}
#: Selections that there are no cells for.
NO_CELLS = ("beyond", "short mask", "none")


@dataclass(frozen=True)
class Form:
    """One form of the cells, and which of them are asked about."""

    dtype: str
    format: str
    storage: str
    chunks: tuple[int, int]
    view: str | None
    layer: str | None
    batch: str
    crossed: bool
    genes: str
    cell_names: str
    string_names: bool
    selection: str
    route: str

    @property
    def model_batch(self):
        """How the model's own cells have their batches: as text or as numbers."""
        return ("text category", "integer category")[(self.batch not in TEXT) != self.crossed]

    @property
    def reasons(self):
        """Why it may be refused; whatever is not has to give the plain answer."""
        return [
            reason
            for reason, holds in {
                "masked": self.format == "masked",
                "no such cells": self.selection in NO_CELLS,
                "names repeat": self.selection == "names" and self.cell_names != "unique",
                "a view to train on": self.view is not None and self.route != "query",
            }.items()
            if holds
        ]


forms = st.builds(
    Form,
    dtype=st.sampled_from(DTYPES),
    format=st.sampled_from(tuple(FORMATS)),
    storage=st.sampled_from(STORAGES),
    chunks=st.sampled_from([(7, 5), (N_CELLS, N_GENES), (1, 40), (40, 1), (11, 40)]),
    view=st.sampled_from([None, None, None, *VIEWS]),
    layer=st.sampled_from([None, None, "counts"]),
    batch=st.sampled_from(tuple(BATCHES)),
    crossed=st.sampled_from([False, False, False, True]),
    genes=st.sampled_from(GENES),
    cell_names=st.sampled_from(CELL_NAMES),
    string_names=st.booleans(),
    selection=st.sampled_from(tuple(SELECTIONS)) | st.sampled_from(("all", "repeated", "mask")),
    route=st.sampled_from([*("query",) * 4, "load", "load", "setup", "setup", "train"]),
)


class NotMade(Exception):
    """Anndata, or scipy, has no such form."""


def draw_counts(binary=False):
    """Return the counts, shape ``(n_cells, n_genes)``, or whether there are any."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 3.0, (N_CELLS, N_GENES)))
    counts[:, 0] += 1
    return np.minimum(counts, 1) if binary else counts


def plain(counts, layer=None, batch="text category"):
    """Return cells in the plain form: float32, CSR, in memory, unique text names."""
    x = sparse.csr_matrix(counts.astype(np.float32))
    obs = pd.DataFrame(
        {"batch": BATCHES[batch](np.arange(N_CELLS) % N_BATCHES)},
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    return AnnData(x, obs, var, layers={} if layer is None else {layer: x})


def make(form, folder):
    """Return the cells in a form; files lie in ``folder``."""
    try:
        with anndata.settings.override(allow_write_nullable_strings=True):
            return _view(form, _stored(form, _in_memory(form), Path(folder)))
    except (ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise NotMade(str(error)) from error


def _in_memory(form):
    """Return the cells in memory; among others if a view of them is wanted."""
    counts = draw_counts(binary=form.dtype == "bool")
    obs = pd.DataFrame({"batch": BATCHES[form.batch](np.arange(N_CELLS) % N_BATCHES)})
    obs.index = {
        "unique": [f"cell{i}" for i in range(N_CELLS)],
        "repeated": [f"cell{i // 2}" for i in range(N_CELLS)],
        "one name": ["cell"] * N_CELLS,
    }[form.cell_names]
    genes = np.arange(N_GENES)
    if form.route not in ("setup", "train"):  # there, genes are the model's as they come
        genes = {"reversed": genes[::-1], "mixed": genes[[*range(5, N_GENES), *range(5)]]}.get(
            form.genes, genes
        )
    x, names = counts[:, genes], [f"gene{i}" for i in genes]
    if form.genes == "more" and form.route not in ("setup", "train"):
        x, names = np.c_[x[:, :4], x[:, 1:2], x[:, 4:]], [*names[:4], "another", *names[4:]]
    if form.view is not None:
        rows = np.r_[own_rows(), np.setdiff1d(np.arange(N_CELLS + N_OTHERS), own_rows())]
        back = np.argsort(rows)
        x = np.r_[x, x[:N_OTHERS] + (form.dtype != "bool")][back]
        obs = pd.concat([obs, obs.iloc[:N_OTHERS].rename(index=lambda name: f"other {name}")])
        obs = obs.iloc[back]
    var = pd.DataFrame(index=names)
    if form.string_names:
        obs.index, var.index = obs.index.astype(STRING), var.index.astype(STRING)
    matrix = FORMATS[form.format](x.astype(form.dtype))
    if form.layer is None:
        return AnnData(matrix, obs, var)
    return AnnData(np.zeros(x.shape, np.float32), obs, var, layers={form.layer: matrix})


def own_rows():
    """Positions of the cells among the others, in order."""
    return np.setdiff1d(np.arange(N_CELLS + N_OTHERS), np.arange(N_OTHERS) * 6 + 2)


NUMBER = count()


def _stored(form, adata, folder):
    """Bring the counts to where they are to be."""
    path = folder / f"{next(NUMBER)}"
    if form.storage == "dask":
        _replace(form, adata, lambda x: _dask(x, form.chunks))
    elif form.storage in ("file", "lazy"):
        path = path.with_suffix(".h5ad")
        adata.write_h5ad(path)
        if form.storage == "file":
            return anndata.read_h5ad(path, backed="r")
        return anndata.experimental.read_lazy(path)
    elif form.storage == "zarr":
        import zarr

        group = zarr.open_group(str(path) + ".zarr", mode="w")
        anndata.io.write_elem(
            group, "x", adata.X if form.layer is None else adata.layers[form.layer]
        )
        on_disk = group["x"]
        if isinstance(on_disk, zarr.Group):
            on_disk = anndata.io.sparse_dataset(on_disk)
        _replace(form, adata, lambda _: on_disk)
    return adata


def _replace(form, adata, change):
    if form.layer is None:
        adata.X = change(adata.X)
    else:
        adata.layers[form.layer] = change(adata.layers[form.layer])


def _dask(x, chunks):
    import dask.array as da

    chunks = tuple(min(size, n) for size, n in zip(chunks, x.shape, strict=True))
    if not sparse.issparse(x):
        return da.from_array(x, chunks=chunks, asarray=False)
    kind, data_type = type(x), x.dtype
    dense = da.from_array(x.astype(np.float64).toarray(), chunks=chunks)
    return dense.map_blocks(
        lambda part: compressed(part.astype(data_type), kind.__name__),
        dtype=data_type,
        meta=kind((0, 0), dtype=np.float32),
    )


def _view(form, adata):
    return adata if form.view is None else adata[VIEWS[form.view](own_rows())]


def new_folder():
    """Return a temporary folder that goes when it is closed."""
    return tempfile.TemporaryDirectory(prefix="forms")
