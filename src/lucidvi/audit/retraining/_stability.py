"""Whether trainings with other seeds would say the same as a model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from anndata import AnnData
from joblib import cpu_count
from scvi.model.base import BaseModelClass

from lucidvi._progress import Progress
from lucidvi.audit.cures import Cures
from lucidvi.audit.retraining._across_runs import Run, across_runs
from lucidvi.audit.retraining._retraining import Recipe, look, retrainings, training_of
from lucidvi.audit.subject import MISSING, audited_cells, check_model, draw_sample
from lucidvi.errors import DataError
from lucidvi.results import Stability

#: First seed of the retrainings by default: one that nobody's own model is likely to have, since
#: a retraining with that would be the same model and agree by itself.
FIRST_SEED = 1001
#: Fewest cells that can be compared.
N_CELLS_MIN = 10


def stability(
    model: BaseModelClass,
    adata: AnnData | None = None,
    *,
    n_seeds: int = 5,
    seeds: Sequence[int] | None = None,
    n_jobs: int | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    batch_key: str | None = None,
    labels_key: str | None = None,
    max_cells: int = 5000,
    seed: int = 0,
) -> Stability:
    """Train a model again with other seeds, and say what all trainings agree about.

    The retrainings run in processes of their own, each on one thread, so that the result does
    not depend on how many run at a time. The model, the data and the state of the random
    generators stay as they are.

    Parameters
    ----------
    model
        A trained model of LucidVI or of scvi-tools, as for :func:`run`; it is one of the runs.
        Retrainings have its class, its arguments and its setup of the data.
    adata
        Cells to train with, by default those that it holds. If backed, each process opens the
        file itself.
    n_seeds
        Number of runs, the model itself among them; at least two.
    seeds
        Seeds of the retrainings, all different, in place of ``n_seeds``. Leave out the one that
        the model was trained with.
    n_jobs
        Retrainings at a time, each with a copy of the data; by default one a processor, or one
        if the model is on a GPU, which the retrainings then use too.
    train_kwargs
        Arguments of ``model.train``. By default as many epochs as ``model.history`` shows, and
        of LucidVI's presets the one that it fits; name here what else the model was trained with.
    batch_key, labels_key
        Columns of ``obs`` with batches, by which to sample, and cell types, by which to sample
        and whose two largest are compared; by default those that the model was set up with.
        Without two types, the two largest clusters of the model are compared.
    max_cells
        Most cells to compare the runs on, sampled from all batches and labels.
    seed
        Seed of the sample of cells and of the draws in looking at a run.

    Returns
    -------
    Agreement of all pairs of runs; ``print`` it for a summary.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If the model is of another kind.
    lucidvi.errors.DataError
        If the model is not trained, there are fewer than two runs, seeds are repeated, there are
        no counts or too few cells, or the length of the training is not known.
    lucidvi.errors.MissingKeyError
        If ``batch_key`` or ``labels_key`` is no column of ``obs``.
    lucidvi.errors.TrainingError
        If a retraining fails; it names the seed.
    """
    check_model(model)
    run_seeds = check_seeds(n_seeds, seeds)
    adata = audited_cells(model, adata, max_cells, batch_key=batch_key, labels_key=labels_key)
    train = training_of(model, train_kwargs or {})
    rng = np.random.default_rng((seed, 0))
    sample = draw_sample(model, adata, batch_key, labels_key, max_cells, rng)
    n_cells = min(max_cells, adata.n_obs)
    if min(n_cells, len(sample.indices)) < N_CELLS_MIN:
        raise DataError(
            f"`adata` and `max_cells` give {n_cells} cells to compare runs on.",
            remedy=f"Give at least {N_CELLS_MIN}.",
        )
    # What a run held out differs between runs, so it does not decide what is looked at.
    sample = replace(sample, held_out=np.zeros_like(sample.held_out), split="unknown")
    with Progress("Retraining", 1 + len(run_seeds), slow_steps=True) as steps:
        steps.now("looking at the model")
        first = look(model, adata, sample, (), seed)
        names, groups = two_groups(sample.label, first)
        if groups:
            first = look(model, adata, sample, groups, seed)
        steps.advance()
        steps.now("")
        recipe = Recipe.of(model, adata, sample, groups, train, seed)
        runs: dict[int, Run] = {}
        n_jobs = n_jobs or jobs_for(model, len(run_seeds))
        for value, run in retrainings(recipe, run_seeds, n_jobs):
            runs[value] = run
            steps.advance()
        steps.now("comparing")
        ordered = [first, *(runs[value] for value in run_seeds)]
        labels = ["model", *(f"seed {value}" for value in run_seeds)]
        by_label = has_two_labels(sample.label)
        cures = Cures.of_model(model, adata, batch_key, labels_key)
        cures = cures if by_label else replace(cures, labels_key=None)
        return across_runs(ordered, labels, names, seed=seed, cures=cures)


def check_seeds(n_seeds: int, seeds: Sequence[int] | None) -> list[int]:
    """Return the seeds of the retrainings, or raise what is wrong with them."""
    if seeds is None:
        if n_seeds < 2:
            raise DataError(
                f"`n_seeds` is {n_seeds}, which leaves nothing to compare the model with.",
                remedy="Use at least 2: the model and one retraining.",
            )
        return list(range(FIRST_SEED, FIRST_SEED + n_seeds - 1))
    run_seeds = [int(value) for value in seeds]
    if not run_seeds:
        raise DataError(
            "`seeds` is empty, which leaves nothing to compare the model with.",
            remedy="Name at least one seed, such as `seeds=[1]`.",
        )
    repeated = sorted({value for value in run_seeds if run_seeds.count(value) > 1})
    if repeated:
        raise DataError(
            f"`seeds` has {repeated[0]} more than once, which would train the same model again.",
            remedy="Use `seeds` that are all different.",
        )
    return run_seeds


def jobs_for(model: BaseModelClass, n_trainings: int) -> int:
    """Retrainings at a time: one a processor, or one on a GPU."""
    return min(n_trainings, cpu_count()) if model.module.device.type == "cpu" else 1


def has_two_labels(label: np.ndarray) -> bool:
    """Whether cells have two different labels at least."""
    return len(np.unique(label[label != MISSING])) > 1


def two_groups(label: np.ndarray, run: Run) -> tuple[tuple[str, ...], tuple[np.ndarray, ...]]:
    """Names and positions of the two largest labels or, without two, clusters; or none."""
    if not has_two_labels(label):
        label = np.char.add("cluster ", run.clusters.astype(str))
    names, sizes = np.unique(label[label != MISSING], return_counts=True)
    if len(names) < 2:
        return (), ()
    largest = names[np.argsort(-sizes, kind="stable")[:2]]
    return tuple(map(str, largest)), tuple(np.flatnonzero(label == name) for name in largest)
