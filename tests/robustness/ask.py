"""Ways to use LucidVI, each with cells and arguments drawn by a generator, and a verdict."""

import inspect
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from tests.model.mosaic.cells import KINDS, as_mudata, simulated
from tests.robustness.inputs import Odd, any_value, columns, odd_cells, plain, rows, shown
from tests.robustness.unchanged import print_of

import lucidvi
from lucidvi import simulate
from lucidvi._positions import cell_positions
from lucidvi.atlas import Reference
from lucidvi.errors import LucidVIError
from lucidvi.model import MOSAICVI, SCVI

TRAIN = {"accelerator": "cpu", "enable_progress_bar": False}
#: Warnings of anndata and scvi-tools that say something to a user.
CLEAR = (
    "names are not unique",
    "has fewer than 3 cells",
    "Transforming to str index",
    "cells moved from",
)
FINE = ("refused", "right", "finite")
SOURCE = str(Path(lucidvi.__file__).parent)


@dataclass(frozen=True)
class Verdict:
    """What was asked, and what came of it."""

    route: str
    what: str
    outcome: str
    told: str = ""


class NotRight(Exception):
    """An answer that is another one than it should be."""


class Asked:
    """Models that are asked; none of them is changed."""

    def __init__(self) -> None:
        #: Whether the last cells were set up before an error came, and so have columns more.
        self.set_up = False
        self.odd = plain()
        scvi.settings.seed = 0
        self.model = self.trained(self.odd.make())
        self.reference = Reference.from_model(self.trained(plain(40).make()), "label")
        parts, _ = simulated(24)
        parts = {key: part[:, :8].copy() for key, part in parts.items()}
        parts["prot"] = parts["prot"][6:].copy()
        self.mudata = as_mudata(parts)
        mdata = self.mudata.copy()
        MOSAICVI.setup_mudata(mdata, KINDS, batch_key="batch")
        self.mosaic = MOSAICVI(mdata, n_latent=2, n_hidden=4)
        self.mosaic.train(2, batch_size=12, **TRAIN)

    @staticmethod
    def trained(adata: AnnData) -> SCVI:
        """Return a model of some cells."""
        SCVI.setup_anndata(adata, batch_key="batch")
        model = SCVI(adata, n_latent=2, n_hidden=4)
        model.train(2, batch_size=12, **TRAIN)
        return model


def seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)


def numbers_in(value: Any) -> list[np.ndarray]:
    """Return all numbers of an answer."""
    if isinstance(value, AnnData):
        found = [value.X, *value.layers.values(), *value.obsm.values()]
        return [number for part in found for number in numbers_in(part)]
    if isinstance(value, pd.DataFrame):
        return [value.select_dtypes("number").to_numpy(float)]
    if isinstance(value, pd.Series):
        return numbers_in(value.to_frame())
    if sparse.issparse(value):
        return [value.data]
    if isinstance(value, torch.Tensor):
        return [value.numpy()]
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers_in(part)]
    if isinstance(value, list | tuple):
        return [number for part in value for number in numbers_in(part)]
    if isinstance(value, np.ndarray | float | np.generic) and np.asarray(value).dtype.kind in "fc":
        return [np.asarray(value)]
    if hasattr(value, "loc") and hasattr(value, "scale"):
        return numbers_in((value.loc, value.scale))
    return []


def with_odd_arguments(
    rng: np.random.Generator, function: Callable, start: dict[str, Any], least: int = 1
) -> tuple[dict[str, Any], str]:
    """Return arguments of which some are odd, and which."""
    parameters = inspect.signature(function).parameters
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name
        not in (
            "self",
            "model",
            "query",
            "adata",
            "mdata",
            "registry",
            "dataloader",
            "data_loader_kwargs",
            "accelerator",
        )
    ]
    n = min(int(rng.integers(least, 3)), len(names))
    chosen = rng.choice(names, n, replace=False) if n else []
    odd = {str(name): any_value(rng, name, parameters[name].default)[0] for name in chosen}
    if rng.random() < 0.02:
        odd["no_such_argument"] = 1
    return {**start, **odd}, ", ".join(f"{name}={shown(value)}" for name, value in odd.items())


# -- routes -----------------------------------------------------------------------------------


def setup(rng: np.random.Generator, asked: Asked) -> Callable:
    """Set up odd cells, and compare what the model reads with the same cells in plain form."""
    odd = odd_cells(rng)
    adata = odd.make()
    arguments = {"batch_key": "batch", "layer": odd.layer}
    what = f"cells: {', '.join(odd.what)}"
    with_arguments = rng.random() < 0.4
    if with_arguments:
        arguments, told = with_odd_arguments(rng, SCVI.setup_anndata, arguments)
        what += f"; {told}"
    else:
        if rng.random() < 0.3:
            arguments["continuous_covariate_keys"] = ["age"]
        if rng.random() < 0.3:
            arguments["size_factor_key"] = "size"

    def run() -> str:
        SCVI.setup_anndata(adata, **arguments)
        asked.set_up = True
        model = SCVI(adata, n_latent=2, n_hidden=4)
        if not with_arguments and odd.bad:
            raise NotRight("bad cells were taken")
        if rng.random() < 0.15:
            model.train(1, batch_size=12, **TRAIN)
        model.module.eval()
        model.is_trained_ = True
        latent = model.get_latent_representation()
        if not np.isfinite(latent).all():
            raise NotRight("latent states are not finite")
        if with_arguments:
            return "finite"
        compare_with_plain(odd, adata, model, arguments, latent)
        return "right"

    return what, adata, run, odd.bad or odd.doubtful or with_arguments or has_odd_numbers(odd)


def has_odd_numbers(odd: Odd) -> bool:
    return any(name.startswith(("age", "size", "batch")) for name in odd.what)


def compare_with_plain(odd: Odd, adata: AnnData, model: SCVI, arguments: dict, latent) -> None:
    codes = adata.obs["_scvi_batch"].to_numpy()
    pairs = {(code, str(value)) for code, value in zip(codes, odd.obs["batch"], strict=True)}
    if len(pairs) != len(set(codes)) or len(pairs) != len({value for _, value in pairs}):
        raise NotRight("batches are not told apart")
    n_batch = model.summary_stats.n_batch
    obs = {
        "batch": pd.Categorical.from_codes(codes, [f"{i:03}" for i in range(n_batch)]),
        "age": np.asarray(odd.obs["age"]),
        "size": np.asarray(odd.obs["size"]),
    }
    n_cells, n_genes = odd.counts.shape
    own = AnnData(
        sparse.csr_matrix(odd.counts.astype(np.float32)),
        pd.DataFrame(obs, index=[f"c{i}" for i in range(n_cells)]),
        pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]),
    )
    SCVI.setup_anndata(own, **{**arguments, "layer": None})
    other = SCVI(own, n_latent=2, n_hidden=4)
    other.module.load_state_dict(model.module.state_dict())
    other.module.eval()
    other.is_trained_ = True
    want = other.get_latent_representation()
    if not np.allclose(latent, want, rtol=1e-4, atol=1e-4):
        raise NotRight(f"latent states differ by {np.abs(latent - want).max():.3g}")


METHODS: dict[str, dict[str, Any]] = {
    "get_latent_representation": {},
    "get_elbo": {"return_mean": False},
    "get_reconstruction_error": {},
    "get_marginal_ll": {"n_mc_samples": 20, "return_mean": False},
    "get_normalized_expression": {"n_samples": 2},
    "get_likelihood_parameters": {},
    "posterior_predictive_sample": {},
    "differential_expression": {"groupby": "batch", "group1": "a", "silent": True},
    "get_feature_correlation_matrix": {"n_samples": 2},
    "refine_posterior": {},
    "get_latent_library_size": {"give_mean": False},
    "get_aggregated_posterior": {},
    "get_inference_gap": {},
    "differential_abundance": {"sample_key": "batch"},
}
#: Answers that are the same in each form of the cells.
EXACT = ("get_latent_representation", "get_elbo", "get_latent_library_size")


def odd_query(rng: np.random.Generator, start: Odd) -> Odd:
    """Return cells for a model of ``start``: odd, with other genes or other batches."""
    odd = start
    for _ in range(int(rng.integers(0, 3))):
        name = str(rng.choice([*QUERIES, "cells"]))
        if name == "cells":
            odd = odd_cells(rng, 1, odd)
            renamed = set(odd.what) & {"few genes", "names of genes"}
            odd = replace(odd, doubtful=odd.doubtful or bool(renamed) or has_odd_numbers(odd))
        else:
            odd = replace(QUERIES[name](rng, odd), what=(*odd.what, name))
    return replace(odd, doubtful=True) if odd.layer is not None else odd


def without_column(rng, odd):
    obs = {key: column for key, column in odd.obs.items() if key != "batch"}
    return replace(odd, obs=obs, unusable=True)


def more_genes(rng, odd):
    if odd.counts.dtype == object:
        return odd
    counts = np.c_[odd.counts[:, :3], np.ones(len(odd.counts)), odd.counts[:, 3:]]
    return replace(odd, counts=counts, genes=[*odd.genes[:3], "another", *odd.genes[3:]])


def unseen(rng, odd):
    n = len(odd.cells)
    return replace(
        odd, obs={**odd.obs, "batch": np.array(["z"] * n, dtype=object)}, unusable=n > 0
    )


QUERIES: dict[str, Callable] = {
    "genes reversed": lambda rng, odd: columns(odd, slice(None, None, -1)),
    "fewer genes": lambda rng, odd: replace(columns(odd, slice(0, -2)), unusable=True),
    "more genes": more_genes,
    "some cells": lambda rng, odd: rows(odd, np.arange(len(odd.cells))[: int(rng.integers(1, 9))]),
    "no column": without_column,
    "unseen batch": unseen,
}


def query(rng: np.random.Generator, asked: Asked) -> Callable:
    """Ask a model about odd cells, or with odd arguments."""
    model, name = asked.model, str(rng.choice(list(METHODS)))
    odd, adata, what = asked.odd, None, name
    if rng.random() < 0.5:
        odd = odd_query(rng, asked.odd)
        adata = odd.make()
        what += f"; cells: {', '.join(odd.what)}"
    method, told = getattr(model, name), ""
    arguments = dict(METHODS[name])
    if adata is None or rng.random() < 0.3:
        arguments, told = with_odd_arguments(rng, method, arguments)
        what += f"; {told}"

    mild = {"indices"} if name == "get_elbo" else {"indices", "batch_size"}
    same = all(arguments[key] is value for key, value in METHODS[name].items())
    exact = name in EXACT and same and set(arguments) - set(METHODS[name]) <= mild

    def run() -> str:
        seeded()
        needs_cells = name == "differential_abundance" and adata is None
        given = asked.odd.make() if needs_cells else adata
        try:
            got = method(given, **arguments)
        finally:
            if given is not None and given.uns.get("_scvi_uuid"):
                model._forget(given)
        if odd.bad:
            raise NotRight("bad cells were taken")
        diagnosed = arguments.get("return_diagnostics")  # of few draws, some are not known
        if not diagnosed and not all(np.isfinite(x).all() for x in numbers_in(got)):
            raise NotRight("an answer is not finite")
        if told and exact and adata is None:
            seeded()
            rows_asked = cell_positions(arguments.get("indices"), model.adata.obs_names)
            want = np.asarray(method(indices=rows_asked, **METHODS[name]))
            if not np.allclose(np.asarray(got), want, rtol=1e-4, atol=1e-4):
                raise NotRight("an answer differs from that of these cells")
            return "right"
        if told or name not in EXACT or odd.doubtful:
            return "finite"
        keep = np.arange(24)[: len(odd.cells)]
        seeded()
        want = np.asarray(method(None, indices=keep, **arguments))
        is_same = np.allclose(np.asarray(got), want, rtol=1e-4, atol=1e-4)
        if odd.counts.shape[1] >= 10 and not is_same and not changes_values(odd):
            raise NotRight("an answer differs from that of the plain cells")
        return "right"

    return what, adata, run, bool(told) or odd.bad or odd.doubtful or "names of genes" in odd.what


def changes_values(odd: Odd) -> bool:
    changing = ("an empty gene", "type", "large", "minus zero", "batch", "few", "nearly")
    return any(name.startswith(changing) for name in odd.what)


def construct(rng: np.random.Generator, asked: Asked) -> Callable:
    """Make a model with odd arguments."""
    adata = asked.odd.make()
    further = [
        "posterior",
        "prior",
        "prior_kwargs",
        "posterior_kwargs",
        "deeply_inject_covariates",
    ]
    further += ["use_batch_norm", "use_layer_norm", "encode_covariates", "log_variational"]
    further += ["extra_encoder_kwargs", "extra_decoder_kwargs", "batch_representation"]
    arguments, what = with_odd_arguments(rng, SCVI.__init__, {"n_latent": 2, "n_hidden": 4}, 0)
    if not what or rng.random() < 0.4:
        name = str(rng.choice(further))
        arguments[name] = any_value(rng, name)[0]
        what += f"; {name}={shown(arguments[name])}"
    arguments.pop("registry", None)

    def run() -> str:
        SCVI.setup_anndata(adata, batch_key="batch")
        before = print_of(adata)
        try:
            model = SCVI(adata, **arguments)
        except LucidVIError:
            if print_of(adata) != before:
                raise NotRight("the cells were changed") from None
            raise
        model.train(1, batch_size=12, **TRAIN)
        if not np.isfinite(model.get_latent_representation()).all():
            raise NotRight("latent states are not finite")
        return "finite"

    return what, None, run, True


def train(rng: np.random.Generator, asked: Asked) -> Callable:
    """Train with odd arguments."""
    adata = asked.odd.make()
    start = {"max_epochs": 1, "batch_size": 12, **TRAIN}
    arguments, what = with_odd_arguments(rng, SCVI.train, start, 0)
    if not what or rng.random() < 0.4:
        options = ("lr", "weight_decay", "kl_warmup", "objective", "optimizer", "eps", "free_bits")
        options += ("n_epochs_kl_warmup", "max_kl_weight", "min_kl_weight", "reduce_lr_on_plateau")
        name = str(rng.choice(options))
        arguments["plan_kwargs"] = {name: any_value(rng, name)[0]}
        what += f"; plan_kwargs: {name}={shown(arguments['plan_kwargs'][name])}"
    if arguments["max_epochs"] is None or type(arguments["max_epochs"]) in (int, float):
        arguments["max_epochs"] = 1

    def run() -> str:
        SCVI.setup_anndata(adata, batch_key="batch")
        model = SCVI(adata, n_latent=2, n_hidden=4)
        before = print_of(adata)
        try:
            model.train(**arguments)
        finally:
            if print_of(adata) != before:
                raise NotRight("the cells were changed")
        if not np.isfinite(model.get_latent_representation()).all():
            raise NotRight("latent states are not finite")
        return "finite"

    return what, None, run, True


def mapping(rng: np.random.Generator, asked: Asked) -> Callable:
    """Map odd cells onto a reference."""
    odd = odd_query(rng, asked.odd)
    adata, what = odd.make(), f"cells: {', '.join(odd.what)}"
    arguments = {"layer": odd.layer}
    if rng.random() < 0.5:
        arguments, told = with_odd_arguments(rng, Reference.map, arguments)
        arguments.pop("query", None)
        what += f"; {told}"

    def run() -> str:
        before = print_of(adata)
        out = asked.reference.map(adata, **arguments)
        if print_of(adata) != before:
            raise NotRight("the cells were changed")
        if not all(np.isfinite(x).all() for x in numbers_in(dict(out.obsm))):
            raise NotRight("an answer is not finite")
        return "finite"

    return what, adata, run, True


SIMULATIONS: dict[str, dict[str, Any]] = {
    "sample_cells": {"n_cells": 5},
    "resequence": {"depth_factor": 2},
    "switch_covariates": {"batch": "a"},
    "perturb": {"genes": {"gene1": 0}, "n_samples": 2},
    "predict_condition": {
        "condition_key": "batch",
        "control": "a",
        "target": "b",
        "labels_key": "label",
    },
}


def simulation(rng: np.random.Generator, asked: Asked) -> Callable:
    """Simulate with odd arguments."""
    name = str(rng.choice(list(SIMULATIONS)))
    function = getattr(simulate, name)
    arguments, what = with_odd_arguments(rng, function, SIMULATIONS[name])
    arguments.pop("model", None)
    if isinstance(arguments.get("n_cells"), int) and arguments["n_cells"] > 100:
        arguments["n_cells"] = 5

    def run() -> str:
        before = print_of(asked.model.adata)
        got = function(asked.model, **arguments)
        if print_of(asked.model.adata) != before:
            raise NotRight("the cells were changed")
        if not all(np.isfinite(x).all() for x in numbers_in(got)):
            raise NotRight("an answer is not finite")
        return "finite"

    return f"{name}; {what}", None, run, True


MOSAIC_METHODS: dict[str, dict[str, Any]] = {
    "get_latent_representation": {},
    "get_elbo": {"return_mean": False},
    "get_marginal_ll": {"n_mc_samples": 20, "return_mean": False},
    "get_normalized_expression": {},
    "get_normalized": {"modality": "prot"},
    "get_conditional_ll": {"modality": "prot", "n_mc_samples": 10},
    "get_foreground_probability": {"modality": "prot"},
    "impute": {"modality": "prot"},
    "differential_expression": {"groupby": "batch", "group1": "a", "silent": True},
    "refine_posterior": {},
    "posterior_predictive_sample": {},
}


def odd_mudata(rng: np.random.Generator, mdata: Any) -> tuple[Any, str]:
    """Return several modalities that something may be odd about."""
    parts = {key: part.copy() for key, part in mdata.mod.items()}
    key = str(rng.choice(list(parts)))
    part, what = parts[key], "nothing"
    kind = int(rng.integers(14))
    if kind == 0:
        del parts[key]
        what = f"no {key}"
    elif kind in (1, 2, 3, 4, 5):
        value = [np.nan, np.inf, -1.0, 0.5, 1e300][kind - 1]
        part.X = part.X.toarray().astype(np.float64)
        part.X[0, 0] = value
        what = f"{value} in {key}"
    elif kind == 6:
        parts[key] = part[:0].copy()
        what = f"no cells of {key}"
    elif kind == 7:
        parts[key] = part[:, :0].copy()
        what = f"no features of {key}"
    elif kind == 8:
        part.var_names = [part.var_names[1], *part.var_names[1:]]
        what = f"features of one name in {key}"
    elif kind == 9:
        parts[key] = part[::-1].copy()
        what = f"{key} reversed"
    elif kind == 10:
        parts[key] = part[:, ::-1].copy()
        what = f"features of {key} reversed"
    elif kind == 11:
        part.X = part.X.tocsc()
        what = f"{key} in CSC"
    elif kind == 12:
        part.X = sparse.csr_matrix(part.X.shape, dtype=np.float32)
        what = f"{key} without counts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = as_mudata(parts)
    if rng.random() < 0.15:
        del made.obs["batch"]
        what += ", no batch"
    return made, what


def mosaic_setup(rng: np.random.Generator, asked: Asked) -> Callable:
    """Set up odd cells of several modalities."""
    mdata, what = odd_mudata(rng, asked.mudata)
    arguments = {"modalities": KINDS, "batch_key": "batch"}
    odd = rng.random() < 0.5
    if odd:
        arguments, told = with_odd_arguments(rng, MOSAICVI.setup_mudata, arguments)
        arguments.pop("mdata", None)
        what += f"; {told}"

    def run() -> str:
        MOSAICVI.setup_mudata(mdata, **arguments)
        model = MOSAICVI(mdata, n_latent=2, n_hidden=4)
        model.module.eval()
        model.is_trained_ = True
        if not np.isfinite(model.get_latent_representation()).all():
            raise NotRight("latent states are not finite")
        return "finite"

    return what, mdata, run, True


def mosaic_query(rng: np.random.Generator, asked: Asked) -> Callable:
    """Ask a model of several modalities."""
    name = str(rng.choice(list(MOSAIC_METHODS)))
    mdata, what = None, name
    arguments = dict(MOSAIC_METHODS[name])
    if rng.random() < 0.4:
        mdata, told = odd_mudata(rng, asked.mudata)
        what += f"; {told}"
    if mdata is None or rng.random() < 0.3:
        arguments, told = with_odd_arguments(rng, getattr(MOSAICVI, name), arguments)
        what += f"; {told}"

    def run() -> str:
        seeded()
        got = getattr(asked.mosaic, name)(adata=mdata, **arguments)
        if name == "get_latent_representation" and not all(
            np.isfinite(x).all() for x in numbers_in(got)
        ):
            raise NotRight("an answer is not finite")
        return "finite"

    return what, mdata, run, True


ROUTES = {
    "setup": (setup, 0.22),
    "query": (query, 0.26),
    "constructor": (construct, 0.08),
    "train": (train, 0.08),
    "mapping": (mapping, 0.1),
    "simulate": (simulation, 0.08),
    "several modalities: setup": (mosaic_setup, 0.08),
    "several modalities: query": (mosaic_query, 0.1),
}


def is_clear(warning: warnings.WarningMessage) -> bool:
    """Whether another package's warning says something to whoever gave the cells."""
    return any(text in str(warning.message) for text in CLEAR)


def judge_input(seed: int, asked: Asked) -> Verdict:
    """Use LucidVI as a seed says, and say what came of it."""
    rng, asked.set_up = np.random.default_rng(seed), False
    weights = [weight for _, weight in ROUTES.values()]
    route = str(rng.choice(list(ROUTES), p=weights))
    what, adata, run, may_refuse = ROUTES[route][0](rng, asked)
    before = None if adata is None else print_of(adata)
    told = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            outcome = run()
        except LucidVIError as error:
            outcome, told = "refused", str(error)
            if told.count("Remedy: ") != 1:
                outcome = "remedies: not one"
            elif not may_refuse:
                outcome = "refused without a reason"
            elif adata is not None and not asked.set_up and print_of(adata) != before:
                outcome = "the cells were changed"
        except NotRight as error:
            outcome, told = "not right", str(error)
        except Exception as error:
            outcome, told = f"error: {type(error).__name__}", str(error)
    foreign = [w for w in warned if not w.filename.startswith(SOURCE) and not is_clear(w)]
    if outcome in FINE and foreign:
        outcome, told = "warned", f"{foreign[0].category.__name__}: {foreign[0].message}"
    return Verdict(route, what, outcome, told)


logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
