"""What can be advised: one function a cure, from a model's making to code that can be pasted."""

from __future__ import annotations

from lucidvi.audit.cures._terms import Terms
from lucidvi.distributions import BY_BATCH, dispersed
from lucidvi.results import Cure

#: Highest dropout rate, and by how much it rises.
DROPOUT_MAX, DROPOUT_STEP = 0.5, 0.1

# -- the latent space -------------------------------------------------------------------------


def fewer_dimensions(terms: Terms, *, n_latent: int) -> str:
    """Train with fewer latent dimensions, of which all may be used."""
    n_latent = min(n_latent, terms.making.argument("n_latent", 10) - 1)
    return terms.remake(
        "Fewer dimensions say as much and are easier to read.",
        init={"n_latent": max(1, n_latent)},
    )


def collapsed(terms: Terms) -> str:
    """Let the latent space be used."""
    plan = dict(terms.making.train.get("plan_kwargs", {}))
    if not terms.making.is_lucid:
        weight = plan.get("max_kl_weight", 1.0) / 2
        return terms.remake(
            "The decoder ignores the latent space: hold the weight of the KL term down, so that",
            "using it costs less. Check that adata holds counts of more than one kind of cell.",
            train={"plan_kwargs": plan | {"max_kl_weight": weight}},
        )
    bits = max(0.5, 2 * plan.get("free_bits", 0.0))
    warmup = max(0.5, min(0.9, plan.get("kl_warmup", 0.0) + 0.2))
    kept = {name: value for name, value in plan.items() if name not in NOT_WITH_FREE_BITS}
    return terms.remake(
        "The decoder ignores the latent space: let the KL term's weight rise more slowly, and",
        "each dimension say a little for nothing. Check that adata holds counts of more than",
        "one kind of cell.",
        train={"plan_kwargs": kept | {"kl_warmup": warmup, "free_bits": bits}},
    )


#: Arguments of a training plan that say otherwise.
NOT_WITH_FREE_BITS = ("objective", "refine_steps", "n_epochs_kl_warmup", "n_steps_kl_warmup")


def read_together(terms: Terms) -> str:
    """Use what no rotation of the latent space changes."""
    return Cure(
        "import scanpy as sc\n\n"
        "# Read directions that move like amounts together, not one by one: use what no rotation\n"
        "# changes, such as neighbours, clusters and distances.\n"
        "adata.obsm['X_scVI'] = model.get_latent_representation(adata)\n"
        "sc.pp.neighbors(adata, use_rep='X_scVI')"
    )


def canonical_axes(terms: Terms) -> str:
    """Turn latent states, or the model itself where it can, to axes that are well defined."""
    if terms.making.can_turn:
        return Cure(
            "# Turn the latent space to the axes that are well defined, those along which\n"
            "# expression varies most first; the ELBO does not change.\n"
            "model.canonicalize()\n"
            "adata.obsm['X_scVI'] = model.get_latent_representation(adata)"
        )
    return Cure(
        "from lucidvi import audit\n\n"
        "# Turn latent states to the directions that are well defined, those that move most "
        "first.\n"
        "report = audit.run(model, adata, checks=['identifiability'])\n"
        "directions = report['identifiability'].directions\n"
        "adata.obsm['X_scVI'] = model.get_latent_representation(adata) @ directions"
    )


def encoder_is_off(terms: Terms) -> str:
    """Find each cell's own posterior or, of a model that cannot, let the encoder catch up."""
    if terms.making.can_refine:
        cells = "adata.to_memory()" if terms.making.is_backed else "adata"
        return Cure(
            "# Find each cell's own posterior, with the decoder fixed; what follows uses it.\n"
            "refined = model.refine_posterior(adata)\n"
            f"model.adata = refined.to_adata({cells})"
        )
    return longer(terms, why="Train for longer, so that the encoder catches up.")


# -- the fit ----------------------------------------------------------------------------------


def longer(
    terms: Terms,
    *,
    why: str = "No other likelihood would fit better: train for longer. If that does not help, "
    "give\n# encoder and decoder more weights.",
) -> str:
    """Train the model further."""
    cure = Cure(f"# {why}\nmodel.train(max_epochs={terms.making.epochs})")
    cure.trains_further = True
    return cure


def likelihood(terms: Terms, *, name: str) -> str:
    """Take another likelihood altogether, with the dispersion that goes with it."""
    if name.endswith(BY_BATCH):
        return dispersion_by_batch(terms)
    changes = terms.of_likelihood(name)
    if terms.making.argument("dispersion") == "gene-batch":
        changes["init"]["dispersion"] = "gene"
    return terms.remake(f"Counts are more like draws of another likelihood, {name}.", **changes)


def needed_likelihood(terms: Terms, *, name: str, why: str) -> str:
    """Take a likelihood that has what is missing, and keep the dispersion as it is."""
    return terms.remake(why, **terms.of_likelihood(name))


def dispersion_by_batch(terms: Terms) -> str:
    """Give each batch dispersions of its own."""
    if terms.making.is_joined:
        return Cure()  # a modality has one a feature
    before, setup = terms.told_of_batch(as_batch=True)
    family = terms.making.argument("gene_likelihood")
    return terms.remake(
        "Counts vary more in some batches than in others.",
        before=before,
        setup=setup,
        init={"gene_likelihood": dispersed(family), "dispersion": "gene-batch"},
    )


def more_dimensions(terms: Terms, *, n_latent: int) -> str:
    """Train with more latent dimensions."""
    return terms.remake(
        "All latent dimensions are in use: more of them may explain what genes still share.",
        init={"n_latent": n_latent},
    )


def more_weights(terms: Terms, *, n_latent: int) -> str:
    """Give the networks more weights."""
    if terms.making.is_linear:
        return terms.remake(
            "More latent dimensions would not be used, and a linear decoder has no more to say:",
            "use one that is not linear.",
            making=terms.making.nonlinear,
        )
    kept = {} if n_latent == terms.making.argument("n_latent") else {"n_latent": n_latent}
    n_layers = terms.making.argument("n_layers", 1)
    return terms.remake(
        "More latent dimensions would not be used: give encoder and decoder more weights.",
        init=kept | {"n_layers": n_layers + 1, "n_hidden": terms.width(2)},
    )


def fewer_weights(terms: Terms, *, n_latent: int) -> str:
    """Give the networks fewer weights, and stop the training in time."""
    made = terms.making
    dropout = round(made.argument("dropout_rate", 0.1) + DROPOUT_STEP, 6)
    return terms.remake(
        "Fewer weights, and stop where held-out cells no longer gain.",
        init={
            "n_hidden": terms.width(0.5),
            "n_latent": min(n_latent, made.argument("n_latent", 10)),
            "dropout_rate": min(dropout, max(DROPOUT_MAX, made.argument("dropout_rate", 0.1))),
        },
        train={"early_stopping": True},
    )


# -- what the latent space should not hold ----------------------------------------------------


def batch_shows(terms: Terms) -> str:
    """Tell encoder and decoder the batch or, if they know it, let them take more of it away."""
    before, setup = terms.told_of_batch()
    if terms.making.is_linear:
        if setup:
            return terms.remake("Tell the decoder the batch.", before=before, setup=setup)
        return terms.remake(
            "A linear decoder only shifts each gene's expression by the batch: use one that is",
            "not linear, and tell the encoder the batch too.",
            making=terms.making.nonlinear,
            init={"n_layers": max(2, terms.making.argument("n_layers", 1))}
            | {"encode_covariates": True},
        )
    n_layers = terms.making.argument("n_layers", 1)
    if setup or not terms.making.argument("encode_covariates", False):
        return terms.remake(
            "Tell encoder and decoder the batch.",
            before=before,
            setup=setup,
            init={"n_layers": max(2, n_layers), "encode_covariates": True},
        )
    return terms.remake(
        "Encoder and decoder know the batch: give them more weights to take away what it does.",
        init={"n_layers": n_layers + 1, "n_hidden": terms.width(2)},
    )


def depth_shows(terms: Terms) -> str:
    """Let the decoder take depth from the total counts or, if it does, leave out shallow cells."""
    made = terms.making
    setup = {"size_factor_key": None} if "size_factor_key" in made.setup else {}
    init = {} if made.argument("use_observed_lib_size", True) else {"use_observed_lib_size": True}
    if setup or init:
        return terms.remake(
            "Let the decoder take sequencing depth from the cell's total counts, not from z.",
            setup=setup,
            init=init,
        )
    return terms.remake(
        "The decoder takes sequencing depth from the cell's total counts already: leave out",
        "cells with few counts, whose place is mostly the prior's.",
        imports=("import numpy as np",),
        before=(
            *terms.in_memory,
            f"adata = adata[np.ravel({terms.counts}.sum(axis=1)) >= {terms.shallow:.6g}].copy()",
        ),
    )


# -- several modalities -----------------------------------------------------------------------


def modalities_apart(terms: Terms) -> str:
    """Let each modality say by itself what all of them say."""
    if not terms.making.is_joined:
        return Cure()
    dropout = round(min(DROPPED_MAX, terms.making.argument("modality_dropout", 0.5) + 0.2), 6)
    alignment = max(0.1, 3 * terms.making.argument("alignment", 0.1))
    return terms.remake(
        "Encode more cells from one of their modalities, and let each say what all of them say.",
        init={"modality_dropout": max(0.5, dropout), "alignment": alignment},
    )


#: Highest probability that a cell is encoded from one of its modalities, and the share of counts
#: that should lie within the intervals.
DROPPED_MAX, COVERED = 0.9, 0.9


def imputation_off(terms: Terms, *, modality: str, wider: str, coverage: float) -> str:
    """Let counts vary as much as they do, or train as long as held-out cells gain."""
    if coverage > COVERED:
        return longer(terms, why="Intervals are too wide: train for longer.")
    if wider and terms.making.is_joined:
        return terms.remake(
            f"Counts of {modality} vary more than predicted.",
            setup={"modalities": {modality: {"likelihood": wider}}},
        )
    return terms.remake(
        "Stop where held-out cells no longer gain: what fits the training cells alone is imputed",
        "with intervals that are too narrow.",
        train={"early_stopping": True},
    )


# -- what trainings do not agree about --------------------------------------------------------


def unstable(terms: Terms) -> str:
    """Train for longer, and see whether trainings agree."""
    return terms.remake(
        "Train longer, then see whether trainings agree.",
        train={"max_epochs": 2 * terms.making.epochs},
        after=COMPARED,
    )


def unstable_dimensions(terms: Terms, *, n_latent: int) -> str:
    """Train with fewer dimensions, and see whether trainings agree."""
    return terms.remake(
        "Dimensions that are not needed are filled by chance: train with fewer.",
        init={"n_latent": n_latent},
        after=COMPARED,
    )


COMPARED = ("", "from lucidvi import audit", "", "print(audit.stability(model))")


def fewer_clusters(terms: Terms) -> str:
    """Cluster at a lower resolution."""
    return Cure(
        "import scanpy as sc\n\n"
        "# Fewer clusters are found again by more trainings: lower the resolution.\n"
        "adata.obsm['X_scVI'] = model.get_latent_representation(adata)\n"
        "sc.pp.neighbors(adata, use_rep='X_scVI')\n" + LEIDEN.format("adata", 0.5)
    )


LEIDEN = "sc.tl.leiden({}, resolution={}, flavor='igraph', n_iterations=-1)"


def certain_genes(terms: Terms, *, groups: tuple[str, ...] = ()) -> str:
    """Test the genes by the counts themselves."""
    layer, key = terms.making.setup.get("layer"), terms.labels_key
    is_count_data = terms.making.setup.get("is_count_data", True)
    lines = [
        "import scanpy as sc",
        "",
        "# Report only genes whose change the counts themselves show too.",
        f"cells = adata.{'to_memory' if terms.making.is_backed else 'copy'}()",
    ]
    if layer is not None:
        lines.append(f"cells.X = cells.layers[{layer!r}].copy()")
    if is_count_data:
        lines += ["sc.pp.normalize_total(cells)", "sc.pp.log1p(cells)"]
    if key is None or not groups:
        key = "leiden"
        lines += [
            "cells.obsm['X_scVI'] = model.get_latent_representation(adata)",
            "sc.pp.neighbors(cells, use_rep='X_scVI')",
            LEIDEN.format("cells", 1.0),
        ]
        pair = ""
    else:
        lines.append(f"cells.obs[{key!r}] = cells.obs[{key!r}].astype(str).astype('category')")
        pair = f", groups=[{groups[0]!r}], reference={groups[1]!r}"
    lines.append(f"sc.tl.rank_genes_groups(cells, {key!r}{pair}, method='wilcoxon')")
    return Cure("\n".join(lines))
