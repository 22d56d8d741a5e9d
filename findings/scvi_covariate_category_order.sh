#!/usr/bin/env bash
# Query cells whose categorical covariate lists its categories in another order.
#
# Guess: `categorical_covariate_keys` of a query are read by value, as `batch_key` is.
# Behaviour: they are read by the position in the query's own list of categories. A query whose
#   covariate is a pandas Categorical with the same categories in another order than the
#   reference's gets other categories' codes, so every value that depends on the covariate is
#   that of another category, without a message. `batch_key` is not affected.
# Why: the reference's categories become an unordered CategoricalDtype, which pandas takes for equal
#   to the query's whatever the order, so `astype` leaves the column, and its codes, as they are.
# Versions: scvi-tools 1.4.2 and 1.5.1 (pinned here: 1.4.2), pandas 2.3 and 3.1.
# Source: scvi/data/_utils.py, _make_column_categorical, called by CategoricalJointObsField.
# Seen:
#   batch_key: values a b c are read as a b c
#   categorical_covariate_keys: values a b c are read as b c a
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -qq "torch==2.13.0" "scvi-tools==1.4.2"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import sys

import anndata
import numpy as np
import pandas as pd
import scvi

scvi.settings.verbosity = 40
CATEGORIES = ["a", "b", "c"]


def cells(order):
    values = pd.Categorical(np.resize(CATEGORIES, 30), categories=order)
    counts = np.random.default_rng(0).poisson(3, (30, 8)).astype("float32")
    return anndata.AnnData(counts, obs=pd.DataFrame({"site": values}, index=[f"c{i}" for i in range(30)]))


def read_as(key, **setup):
    reference = cells(CATEGORIES)
    scvi.model.SCVI.setup_anndata(reference, **setup)
    model = scvi.model.SCVI(reference)
    query = cells(["c", "a", "b"])
    assert list(query.obs["site"][:3]) == CATEGORIES
    model._validate_anndata(query)
    codes = np.ravel(model.get_anndata_manager(query).get_from_registry(key))[:3]
    return [CATEGORIES[code] for code in codes]


batch = read_as("batch", batch_key="site")
covariate = read_as("extra_categorical_covs", categorical_covariate_keys=["site"])
print("batch_key: values a b c are read as", *batch)
print("categorical_covariate_keys: values a b c are read as", *covariate)
sys.exit(batch != CATEGORIES or covariate != ["b", "c", "a"])
PYTHON
