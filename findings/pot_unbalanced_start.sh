#!/usr/bin/env bash
# Guess: `ot.unbalanced.sinkhorn_unbalanced(a, b, cost, reg, reg_m)` between two samples of mass one,
# where leaving mass out is far dearer than any transport (`reg_m` of a million), is a plan of a mass
# near one; or, where the cost is too large for the entropy, an error. So with the translation
# invariant solver, which was made for large `reg_m`.
#
# Behaviour: where the exponentials of the costs underflow, as with squared distances that were not
# scaled, it stops in its first round and returns where it starts from, `a b exp(-cost / reg)`, with
# warnings of numpy's and one of numerical errors: nearly no mass, and cells that go nowhere. The default
# method does the same. With the same costs over their mean both find the plan.
#
# Versions: POT 0.9.7.post1.
# Source: POT, ot/unbalanced/_sinkhorn.py, `sinkhorn_unbalanced_translation_invariant` and
# `sinkhorn_knopp_unbalanced`.
#
# Output seen:
#   sinkhorn_translation_invariant: mass 6.8e-05, cells that go nowhere 40 of 50; scaled: mass 1.000
#   sinkhorn: mass 6.8e-05, cells that go nowhere 40 of 50; scaled: mass 1.000
# What to do: divide the cost by its mean, and compare the marginals of the plan with their potentials.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check POT==0.9.7.post1 numpy==2.4.6 scipy==1.17.1
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import numpy as np
import ot

rng = np.random.default_rng(0)
first, second = 30 * rng.normal(size=(50, 2)), 30 * rng.normal(size=(60, 2))
a, b = ot.unif(50), ot.unif(60)
cost = ot.dist(first, second)
for method in ("sinkhorn_translation_invariant", "sinkhorn"):
    solve = dict(method=method, numItermax=20_000)
    plan = ot.unbalanced.sinkhorn_unbalanced(a, b, cost, 1.0, 1e6, **solve)
    scaled = ot.unbalanced.sinkhorn_unbalanced(a, b, cost / cost.mean(), 0.05, 1e3, **solve)
    nowhere = int((plan.sum(axis=1) < 1e-12).sum())
    start = a[:, None] * b * np.exp(-cost)
    print(
        f"{method}: mass {plan.sum():.1e}, cells that go nowhere {nowhere} of 50; "
        f"scaled: mass {scaled.sum():.3f}"
    )
    np.testing.assert_allclose(plan, start, rtol=1e-6, atol=1e-300)
    assert plan.sum() < 0.01 and scaled.sum() > 0.99
PYTHON
