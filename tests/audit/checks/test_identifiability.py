"""Axes that are defined, and axes that are not."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ortho_group

from lucidvi.audit.checks import identifiability
from lucidvi.audit.checks._identifiability import diagonal_loss, turning_cure, typical_correlation
from lucidvi.nn import StandardNormal

N_CELLS = 120


def metrics(values, seed=0, rotation=None):
    """Fisher information of cells that differ a little, with these mean eigenvalues."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(N_CELLS, 400, len(values))) * np.sqrt(np.asarray(values) / 400)
    found = np.einsum("ngk,ngl->nkl", loadings, loadings)
    return found if rotation is None else rotation @ found @ rotation.T


def covariances(values, rotation=None):
    """Posteriors whose axes are independent, unless they are turned."""
    found = np.broadcast_to(np.diag(1 / (1 + np.asarray(values))), (N_CELLS,) + 2 * (len(values),))
    return found if rotation is None else rotation @ found @ rotation.T


def verdicts(found):
    return {criterion.name: criterion.verdict for criterion in found.criteria}


UNEQUAL = [100.0, 50.0, 25.0, 10.0]


def test_axes_that_are_defined():
    found = identifiability(metrics(UNEQUAL), covariances(UNEQUAL), 4)
    assert set(verdicts(found).values()) == {"ok"}
    assert found.distinct_axes == 4
    assert found.rotation_loss > 0.2
    assert abs(found.rotation_loss_canonical) < 0.02
    assert found.posterior_correlation == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.eigenvalues, UNEQUAL, rtol=0.1)
    np.testing.assert_allclose(np.abs(found.directions), np.eye(4), atol=0.1)


def test_turned_axes():
    rotation = ortho_group.rvs(4, random_state=1)
    found = identifiability(metrics(UNEQUAL, rotation=rotation), covariances(UNEQUAL, rotation), 4)
    assert verdicts(found) == {"axes": "ok", "rotation": "warn"}
    assert "report['identifiability'].directions" in found.cure
    assert found.rotation_loss_canonical < -0.2
    assert found.posterior_correlation > 0.1
    np.testing.assert_allclose(np.abs(found.directions), np.abs(rotation), atol=0.15)


def test_directions_that_move_the_same():
    values = [50.0, 50.0, 50.0, 50.0]
    found = identifiability(metrics(values), covariances(values), 4)
    assert verdicts(found) == {"axes": "warn", "rotation": "warn"}
    assert found.distinct_axes == 0
    assert found.rotation_loss == pytest.approx(0, abs=1e-9)


def test_only_directions_in_use_count():
    values = [100.0, 50.0, 1e-3, 1e-3, 1e-3]
    found = identifiability(metrics(values), covariances(values), 2)
    assert (found.distinct_axes, found.n_axes) == (2, 2)
    assert verdicts(found)["axes"] == "ok"
    assert identifiability(metrics(values), covariances(values), 0).distinct_axes == 0


def test_loss_of_independent_axes():
    """It is the divergence of the best normal with independent axes from the full one."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    precision = root @ root.T + np.eye(3)
    best = np.diag(1 / np.diag(precision))
    divergence = 0.5 * (
        np.trace(precision @ best) - 3 - np.log(np.linalg.det(best) * np.linalg.det(precision))
    )
    assert diagonal_loss(precision[None], np.eye(3)) == pytest.approx(divergence)
    axes = np.linalg.eigh(precision)[1]
    assert diagonal_loss(precision[None], axes) == pytest.approx(0, abs=1e-12)


def test_typical_correlation():
    one = np.array([[1.0, 0.6], [0.6, 4.0]])
    other = np.array([[1.0, -0.8], [-0.8, 1.0]])
    found = typical_correlation(np.stack([one, other]))
    np.testing.assert_allclose(found, [[1, np.sqrt(0.365)], [np.sqrt(0.365), 1]])


class Module:
    """As much of a module as says how its latent space is turned."""

    is_rotation_invariant = True
    rotation = None
    prior = StandardNormal(None)


def test_cure_of_turned_axes():
    module = Module()
    assert "model.canonicalize()" in turning_cure(module)
    module.is_rotation_invariant = False  # as of a logistic normal
    assert "directions" in turning_cure(module)
    assert "directions" in turning_cure(SimpleNamespace())  # one of scvi-tools
    module.rotation = np.eye(2)
    assert turning_cure(module) is None


def test_canonical_axes_are_not_warned_of():
    rotation = ortho_group.rvs(4, random_state=1)
    given = metrics(UNEQUAL, rotation=rotation), covariances(UNEQUAL, rotation), 4
    assert verdicts(identifiability(*given, turning=None)) == {"axes": "ok"}
