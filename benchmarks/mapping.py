"""A batch left out and mapped: LucidVI, scVI with scArches' surgery, and PCA.

``python benchmarks/mapping.py`` rewrites ``benchmarks/mapping.md``. Results are kept in
``benchmarks/.cache/mapping``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from _atlas import LEFT_OUT, divided, label_scores, left_out
from _integration import LUCID, train
from _measure import CACHE, cpu_model, digest, page, report, spread, table
from anndata import AnnData
from scipy import sparse

FOLDER = CACHE / "mapping"
#: scArches' settings of a reference that queries are to be mapped onto, and of surgery.
ARCHES = {
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "encode_covariates": True,
    "dropout_rate": 0.2,
    "n_layers": 2,
}
SURGERY = {"max_epochs": 200, "plan_kwargs": {"weight_decay": 0.0}}
N_NEIGHBOURS, N_COMPONENTS, N_REPEATS = 15, 50, 3
#: Shares of the genes that are missing.
MISSING = (0.0, 0.1, 0.3, 0.5)
WAYS = {"lucid": "LucidVI", "surgery": "scVI + scArches", "pca": "PCA"}


def measure(dataset: str, value: str, epochs: int | None) -> dict[str, Any]:
    """Make references of all but some cells, and map these.

    Parameters
    ----------
    dataset
        One of :data:`LEFT_OUT`.
    value
        Of the cells that are left out.
    epochs
        Of every training; None for the defaults.
    """
    chosen, known, query = divided(dataset, value)
    result: dict[str, Any] = {"n_known": known.n_obs, "n_query": query.n_obs}
    training = {} if epochs is None else {"max_epochs": epochs}
    result["lucid"] = by_reference(known, query, chosen, training)
    result["surgery"] = by_surgery(
        known, query, chosen, training, arches_folder(dataset, value, epochs)
    )
    result["pca"] = by_pca(known, query, chosen.labels_key)
    return result


def arches_folder(dataset: str, value: str, epochs: int | None) -> Path:
    """Where scVI's reference is kept, which takes longest and does not depend on our sources."""
    return FOLDER / f"scvi-{version('scvi-tools')}-{dataset}-{value}-{epochs or 'default'}"


def by_reference(
    known: AnnData, query: AnnData, chosen: Any, training: dict[str, Any]
) -> dict[str, Any]:
    """Map by LucidVI's defaults, and with genes missing."""
    from lucidvi.atlas import Reference

    key = chosen.labels_key
    start = time.process_time()
    model = train(known.copy(), chosen.batch_key, 0, LUCID, training)
    seconds = time.process_time() - start
    reference = Reference.from_model(model, key)
    before = [reference.data.posteriors.loc.copy(), reference.data.posteriors.scale.copy()]
    times = []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        mapped = reference.map(query)
        times.append(time.perf_counter() - start)
    result = {"training": seconds, "mapping": times, **label_scores(mapped, key)}
    truth = query.obs[key].astype(str).to_numpy()
    for share in MISSING:
        kept = np.random.default_rng(0).random(query.n_vars) >= share
        zeros = query.copy()
        zeros.X = sparse.csr_matrix(query.X.multiply(kept[None, :]).tocsr())
        cells = np.asarray(zeros.X.sum(axis=1)).ravel() > 0
        masked = reference.map(query[cells][:, kept]).obs["lucidvi_label"].astype(str)
        filled = reference.map(zeros[cells]).obs["lucidvi_label"].astype(str)
        result[f"masked {share}"] = float((masked == truth[cells]).mean())
        result[f"filled {share}"] = float((filled == truth[cells]).mean())
    after = [reference.data.posteriors.loc, reference.data.posteriors.scale]
    result["unchanged"] = all(map(np.array_equal, before, after))
    return result


def by_surgery(
    known: AnnData, query: AnnData, chosen: Any, training: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Map by scvi-tools' ``load_query_data`` and a training of the new weights."""
    from scvi.model import SCVI

    known, query = known.copy(), query.copy()
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    seconds = folder / "seconds.json"
    if not seconds.exists():
        SCVI.setup_anndata(known, batch_key=chosen.batch_key)
        start = time.process_time()
        model = SCVI(known, **ARCHES)
        model.train(**quiet, **training)
        took = time.process_time() - start
        model.save(str(folder), overwrite=True)
        seconds.write_text(json.dumps(took))
    model = SCVI.load(str(folder), known)
    z = model.get_latent_representation()
    start = time.perf_counter()
    mapped = SCVI.load_query_data(query, model)
    mapped.train(**quiet, **SURGERY | training)
    found = nearest(z, known.obs[chosen.labels_key], mapped.get_latent_representation())
    times = [time.perf_counter() - start]
    right = found == query.obs[chosen.labels_key].astype(str).to_numpy()
    return {
        "training": json.loads(seconds.read_text()),
        "mapping": times,
        "accuracy": float(right.mean()),
    }


def by_pca(known: AnnData, query: AnnData, labels_key: str) -> dict[str, Any]:
    """Map by the principal components of the reference's log-normalised counts."""
    from sklearn.decomposition import PCA

    def logs(adata: AnnData) -> np.ndarray:
        x = adata.X / np.maximum(adata.X.sum(axis=1).reshape(-1, 1), 1) * 1e4
        return np.log1p(np.asarray(x.todense() if sparse.issparse(x) else x))

    start = time.process_time()
    pca = PCA(N_COMPONENTS, random_state=0).fit(logs(known))
    z = pca.transform(logs(known))
    seconds = time.process_time() - start
    start = time.perf_counter()
    found = nearest(z, known.obs[labels_key], pca.transform(logs(query)))
    times = [time.perf_counter() - start]
    right = found == query.obs[labels_key].astype(str).to_numpy()
    return {"training": seconds, "mapping": times, "accuracy": float(right.mean())}


def nearest(known: np.ndarray, labels: Any, z: np.ndarray) -> np.ndarray:
    """Label of the most of the 15 nearest cells."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(N_NEIGHBOURS).fit(known, labels.astype(str)).predict(z)


def measured(dataset: str, value: str, epochs: int | None) -> dict[str, Any]:
    """Measure, or read what an earlier run with the same sources measured."""
    code = digest("src/lucidvi/[!cps]*/*.py")[:12]
    tried = "" if epochs is None else f"-{epochs}"
    file = FOLDER / f"{dataset}-{value}-{code}{tried}.json"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure(dataset, value, epochs)))
    return json.loads(file.read_text())


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(LEFT_OUT), choices=list(LEFT_OUT))
    parser.add_argument("--values", nargs="+", help="what is left out in turn; all by default")
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    epochs = 2 if given.quick else None
    found = {}
    for dataset in given.datasets:
        for value in left_out(dataset):
            if given.values is not None and value not in given.values:
                continue
            found[f"{dataset}, {value}"] = measured(dataset, value, epochs)
            print(f"{dataset}, {value}: {found[f'{dataset}, {value}']}", flush=True)
    report(page("mapping.md", given.quick), lines(found))


def lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of the page."""
    accuracy, seconds, belief, genes = [], [], [], []
    for name, result in found.items():
        lucid = result["lucid"]
        times = {way: result[way]["mapping"] for way in WAYS}
        ratio = times["surgery"][0] / np.array(times["lucid"])
        shown = [f"{result[way]['accuracy']:.3f}" for way in WAYS]
        accuracy.append([name, f"{result['n_known']:,}", f"{result['n_query']:,}", *shown])
        trained = [f"{result[way]['training']:.0f}" for way in ("lucid", "surgery")]
        shown = [spread(times[way], ".1f") for way in ("lucid", "surgery")]
        seconds.append([name, *shown, spread(ratio, ".1f"), *trained])
        rates = [f"{lucid[f'false_positives_{rate}']:.3f}" for rate in ("0.01", "0.05", "0.1")]
        belief.append([name, f"{lucid['ece']:.3f}", *rates])
        shown = [f"{lucid[f'masked {m}']:.3f} / {lucid[f'filled {m}']:.3f}" for m in MISSING]
        genes.append([name, *shown])
    same = all(result["lucid"]["unchanged"] for result in found.values())
    return [
        "# A batch left out and mapped",
        "",
        "The models do not see the batch (or technology). LucidVI: defaults, `Reference.map`. "
        "scVI with the settings that scArches recommends for references (layer norm, two layers, "
        "covariates encoded), `load_query_data`, 200 epochs of surgery, and the 15 nearest cells. "
        "PCA: 50 components of the reference's log-normalised counts, the 15 nearest cells. One "
        "seed; types that the reference lacks are left out of the query.",
        "",
        "## Share of the cells that get their label",
        "",
        *table(["left out", "reference", "query", *WAYS.values()], accuracy),
        "",
        "## Seconds to map",
        "",
        f"LucidVI's of {N_REPEATS} runs, median and range, in the same process as scArches' one; "
        "of the trainings, CPU seconds.",
        "",
        *table(
            ["left out", "LucidVI", "scArches", "ratio", "training LucidVI", "training scVI"],
            seconds,
        ),
        "",
        "## How far confidence and novelty are right",
        "",
        "Expected calibration error of `lucidvi_confidence`, and the share of cells, all of known "
        "types, whose `lucidvi_novelty` is at most the rate.",
        "",
        *table(["left out", "ECE", "at 0.01", "at 0.05", "at 0.1"], belief),
        "",
        "## With genes missing",
        "",
        "Share of the cells that get their label with a random part of the genes missing: left "
        "out of the likelihood / filled with zeros.",
        "",
        *table(["left out", *(f"{share:.0%} missing" for share in MISSING)], genes),
        "",
        "The reference's latent states are bitwise the same after all of this: "
        f"{'yes' if same else 'NO'}.",
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `{shlex.join(['python', *sys.argv])}`",
    ]


if __name__ == "__main__":
    main()
