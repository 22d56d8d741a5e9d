"""Remedies for covariates that are no numbers, pasted: they work, or none is offered."""

import datetime

import numpy as np
import pandas as pd
import pytest

from lucidvi.errors import DataError
from lucidvi.model import SCVI

N_CELLS = 60
DAYS = np.arange(N_CELLS) % 9
DATES = pd.Timestamp("2020-01-30") + pd.to_timedelta(DAYS, unit="D")
#: Columns that mean numbers, and the numbers that they mean.
NUMBERS = {
    "dates": (DATES, DAYS),
    "dates of a time zone": (DATES.tz_localize("Europe/Berlin"), DAYS),
    "dates as text": (DATES.strftime("%Y-%m-%d"), DAYS),
    "dates of datetime": ([datetime.date(2020, 2, 1 + day) for day in DAYS.tolist()], DAYS),
    "durations": (pd.to_timedelta(DAYS, unit="D"), DAYS),
    "text": ([f"{day}.5" for day in DAYS], DAYS + 0.5),
    "categories": (pd.Categorical(DAYS), DAYS),
}
#: Columns that mean none.
NO_NUMBERS = {
    "names": ["a", "b"] * (N_CELLS // 2),
    "months": pd.PeriodIndex(DATES, freq="M"),
}


def with_column(adata, values):
    adata.obs["day"] = pd.Series(list(values), index=adata.obs_names)
    if isinstance(values, pd.Categorical):
        adata.obs["day"] = values
    return adata


@pytest.mark.parametrize(("values", "numbers"), NUMBERS.values(), ids=NUMBERS)
def test_the_remedy_makes_numbers(make_adata, values, numbers):
    adata = with_column(make_adata(N_CELLS), values)
    with pytest.raises(DataError, match="numbers are needed") as error:
        SCVI.setup_anndata(adata, continuous_covariate_keys=["day"])
    (code,) = error.value.code
    assert error.value.remedy.startswith(code)
    exec(code, {"adata": adata, "pd": pd, "np": np})
    np.testing.assert_allclose(adata.obs["day"].astype(float), numbers)
    SCVI.setup_anndata(adata, continuous_covariate_keys=["day"])
    assert SCVI(adata, n_hidden=8, n_latent=2).module is not None


@pytest.mark.parametrize("values", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_no_remedy_that_fails_is_offered(make_adata, values):
    adata = with_column(make_adata(N_CELLS), values)
    with pytest.raises(DataError, match="numbers are needed") as error:
        SCVI.setup_anndata(adata, continuous_covariate_keys=["day"])
    assert error.value.code == ()
    assert error.value.remedy == 'if it names groups, categorical_covariate_keys=["day"]'
    if isinstance(values, pd.PeriodIndex):
        with pytest.raises(DataError, match="make them text") as error:
            SCVI.setup_anndata(adata, categorical_covariate_keys=["day"])
        exec(error.value.code[0], {"adata": adata})
    SCVI.setup_anndata(adata, categorical_covariate_keys=["day"])
