"""AdamW over stacked runs against torch's own, run by run."""

from __future__ import annotations

import pytest
import torch

from pipeline.program.optimiser import AdamW

SHAPES = {"weight": (5, 3), "bias": (3,), "scale": ()}
LRS = (1e-2, 3e-4)
STEPS = 20


def gradients(dtype: torch.dtype) -> list[dict[str, torch.Tensor]]:
    """One dict of (R, ...) gradients per step; one entry never receives any."""
    steps = [random_values(seed, dtype) for seed in range(1, STEPS + 1)]
    for step in steps:
        step["bias"][:, 0] = 0
    return steps


def random_values(seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Values (R, ...), the same in every dtype but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(len(LRS), *shape, dtype=torch.float64, generator=generator).to(dtype)
        for name, shape in SHAPES.items()
    }


def theirs(run: int, weight_decay: float, rates: list[float]) -> dict[str, torch.Tensor]:
    """What torch.optim.AdamW makes of one run in float64."""
    leaves = {name: value[run].clone() for name, value in random_values(0, torch.float64).items()}
    optimiser = torch.optim.AdamW(leaves.values(), lr=1.0, weight_decay=weight_decay)
    for rate, step in zip(rates, gradients(torch.float64), strict=True):
        optimiser.param_groups[0]["lr"] = rate
        for name, leaf in leaves.items():
            leaf.grad = step[name][run]
        optimiser.step()
    return leaves


def ours(weight_decay: float, rates: list[list[float]], dtype: torch.dtype) -> AdamW:
    """Both runs together; `rates` has one list per run."""
    optimiser = AdamW(random_values(0, dtype), weight_decay=weight_decay)
    for number, step in enumerate(gradients(dtype)):
        lr = torch.tensor([run[number] for run in rates], dtype=dtype)
        optimiser.step(step, lr, torch.full((len(LRS),), number + 1.0, dtype=dtype))
    return optimiser


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_two_runs_with_their_own_rates_equal_torch_run_by_run(weight_decay):
    rates = [[lr] * STEPS for lr in LRS]
    stacked = ours(weight_decay, rates, torch.float64).parameters
    for run in range(len(LRS)):
        expected = theirs(run, weight_decay, rates[run])
        for name, value in expected.items():
            torch.testing.assert_close(stacked[name][run], value, rtol=0, atol=1e-12)


def test_rates_that_change_from_step_to_step_equal_torch():
    rates = [[lr * (1 - number / STEPS) for number in range(STEPS)] for lr in LRS]
    stacked = ours(1e-4, rates, torch.float64).parameters
    for run in range(len(LRS)):
        for name, value in theirs(run, 1e-4, rates[run]).items():
            torch.testing.assert_close(stacked[name][run], value, rtol=0, atol=1e-12)


def test_float32_stays_near_float64():
    rates = [[lr] * STEPS for lr in LRS]
    single = ours(0.1, rates, torch.float32).parameters
    double = ours(0.1, rates, torch.float64).parameters
    for name, value in single.items():
        torch.testing.assert_close(value.double(), double[name], rtol=1e-4, atol=1e-6)


def test_the_first_step_moves_by_the_learning_rate_by_hand():
    """At first mean / sqrt(square) is the gradient's sign: 2 -> 2 (1 - 0.1 * 0.5) - 0.1."""
    parameters = {"x": torch.tensor([[2.0], [2.0]], dtype=torch.float64)}
    optimiser = AdamW(parameters, weight_decay=0.5)
    step = {"x": torch.tensor([[3.0], [-3.0]], dtype=torch.float64)}
    optimiser.step(step, torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([1.0, 1.0]))
    expected = torch.tensor([[2 * 0.95 - 0.1], [2 * 0.9 + 0.2]], dtype=torch.float64)
    torch.testing.assert_close(parameters["x"], expected, rtol=0, atol=1e-5)


def test_a_run_with_rate_0_stands_still_beside_one_that_moves():
    parameters = {"x": torch.ones(2, 3)}
    optimiser = AdamW(parameters, weight_decay=0.1)
    optimiser.step({"x": torch.ones(2, 3)}, torch.tensor([0.0, 0.1]), torch.ones(2))
    assert torch.equal(parameters["x"][0], torch.ones(3))
    assert (parameters["x"][1] < 1).all()


def test_each_run_has_its_own_clock():
    """A run at its first update beside one at its fifth, which has the same moments."""
    parameters = {"x": torch.zeros(2, 1, dtype=torch.float64)}
    optimiser = AdamW(parameters, weight_decay=0.0)
    lr = torch.full((2,), 0.1, dtype=torch.float64)
    optimiser.step({"x": torch.ones(2, 1, dtype=torch.float64)}, lr, torch.tensor([1.0, 5.0]))
    later = 0.1 * (0.1 / (1 - 0.9**5)) / (0.001 / (1 - 0.999**5)) ** 0.5
    torch.testing.assert_close(
        parameters["x"][:, 0], torch.tensor([-0.1, -later]).double(), rtol=1e-4, atol=0
    )


def test_a_paused_run_keeps_its_parameters_and_moments():
    """Run 1 pauses at every second step (its rate is not a number): it ends where a run that never
    saw those steps ends, and run 0 does not notice."""
    steps = gradients(torch.float64)
    together = AdamW(random_values(0, torch.float64), weight_decay=0.1)
    clock = torch.zeros(2, dtype=torch.float64)
    for number, step in enumerate(steps):
        is_paused = torch.tensor([False, number % 2 == 1])
        lr = torch.tensor(LRS, dtype=torch.float64).masked_fill(is_paused, torch.nan)
        clock += ~is_paused
        together.step(step, lr, clock)
    for run, seen in ((0, steps), (1, steps[::2])):
        start = {
            name: value[run : run + 1] for name, value in random_values(0, torch.float64).items()
        }
        alone = AdamW(start, weight_decay=0.1)
        lr = torch.tensor([LRS[run]], dtype=torch.float64)
        for count, step in enumerate(seen, start=1):
            part = {name: value[run : run + 1] for name, value in step.items()}
            alone.step(part, lr, torch.tensor([float(count)], dtype=torch.float64))
        for name, value in alone.parameters.items():
            torch.testing.assert_close(together.parameters[name][run], value[0], rtol=0, atol=1e-12)
