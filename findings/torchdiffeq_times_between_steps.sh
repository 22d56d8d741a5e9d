#!/usr/bin/env bash
# Guess: `odeint(..., t, method="rk4", options={"step_size": h})` is as exact at every time of `t` as
# steps of that size are, which is of fourth order.
#
# Behaviour: only the times that steps end at are. At those between, and steps are laid from the first
# time on whatever the others are, the value is that of a straight line between the steps on either side:
# of second order. With dy/dt = y and two steps from 0 to 1, the end is off by 0.0009, and the times
# before it by 0.07; halving the steps makes the end 14 times more exact, and the worst time four times.
# The same without a step size, where each time is the end of a step, is exact at all of them.
#
# Versions: torchdiffeq 0.2.5.
# Source: torchdiffeq, torchdiffeq/_impl/solvers.py, `FixedGridODESolver.integrate` and its `interp`.
#
# Output seen:
#   step 0.5: at the end 0.00094, at times between steps 0.06589
#   step 0.25: at the end 0.00007, at times between steps 0.01871
#   steps that end at the times: 0.00000
# What to do: integrate from one time that is wanted to the next, each in steps that end there.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
  torchdiffeq==0.2.5 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import torch
from torchdiffeq import odeint

start = torch.ones(1, dtype=torch.float64)
times = torch.linspace(0, 1, 17, dtype=torch.float64)


def errors(**options):
    found = odeint(lambda t, y: y, start, times, method="rk4", options=options or None)
    return (found[:, 0] - times.exp()).abs()


worst = {}
for step in (0.5, 0.25):
    error = errors(step_size=step)
    between = error[(times / step).remainder(1) > 0]
    print(f"step {step}: at the end {error[-1]:.5f}, at times between steps {between.max():.5f}")
    worst[step] = float(error[-1]), float(between.max())
exact = errors().max()
print(f"steps that end at the times: {exact:.5f}")
assert worst[0.5][1] > 50 * worst[0.5][0]
assert 10 < worst[0.5][0] / worst[0.25][0] < 18 and 3 < worst[0.5][1] / worst[0.25][1] < 5
assert exact < 1e-6
PYTHON
