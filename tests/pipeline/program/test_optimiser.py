"""AdamW for one run and for stacked runs, against torch.optim.AdamW run by run."""

from __future__ import annotations

import pytest
import torch

from pipeline.program import optimiser, trees

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


class Stack:
    """Parameters (R, ...) with the moments of R runs."""

    def __init__(self, parameters: dict[str, torch.Tensor], weight_decay: float) -> None:
        runs = len(next(iter(parameters.values())))
        self.parameters = parameters
        self.weight_decay = torch.full((runs,), weight_decay, dtype=torch.float64)
        alone = [trees.take(parameters, run) for run in range(runs)]
        self.moments = trees.stack([optimiser.zeros(each) for each in alone])

    def step(
        self,
        gradients: dict[str, torch.Tensor],
        lr: list[float],
        is_active: list[float] | None = None,
    ) -> None:
        dtype = next(iter(self.parameters.values())).dtype
        optimiser.update_stack(
            self.parameters,
            gradients,
            self.moments,
            lr=torch.tensor(lr, dtype=dtype),
            weight_decay=self.weight_decay.to(dtype),
            is_active=torch.tensor(is_active or [1.0] * len(lr), dtype=dtype),
        )


def ours(
    weight_decay: float, rates: list[list[float]], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Both runs together; `rates` has one list per run."""
    stack = Stack(random_values(0, dtype), weight_decay)
    for number, step in enumerate(gradients(dtype)):
        stack.step(step, [run[number] for run in rates])
    return stack.parameters


RATES = {
    "constant": [[lr] * STEPS for lr in LRS],
    "falling": [[lr * (1 - number / STEPS) for number in range(STEPS)] for lr in LRS],
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_two_runs_with_their_own_rates_equal_torch_run_by_run(weight_decay, rates):
    stacked = ours(weight_decay, rates, torch.float64)
    for run in range(len(LRS)):
        expected = theirs(run, weight_decay, rates[run])
        for name, value in expected.items():
            torch.testing.assert_close(stacked[name][run], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_one_run_equals_torch(rates):
    values = trees.take(random_values(0, torch.float64), 0)
    moments = optimiser.zeros(values)
    for number, step in enumerate(gradients(torch.float64)):
        now = trees.take(step, 0)
        optimiser.update(values, now, moments, lr=rates[0][number], weight_decay=0.1)
    for name, value in theirs(0, 0.1, rates[0]).items():
        torch.testing.assert_close(values[name], value, rtol=0, atol=1e-6)


def test_a_run_without_parameters_has_nothing_to_move():
    optimiser.update({}, {}, {}, lr=0.1, weight_decay=0.0)


def test_float32_stays_near_float64():
    single = ours(0.1, RATES["constant"], torch.float32)
    double = ours(0.1, RATES["constant"], torch.float64)
    for name, value in single.items():
        torch.testing.assert_close(value.double(), double[name], rtol=1e-4, atol=1e-6)


def test_the_first_step_moves_by_the_learning_rate_by_hand():
    """At first mean / sqrt(square) is the gradient's sign: 2 -> 2 (1 - 0.1 * 0.5) - 0.1."""
    stack = Stack({"x": torch.tensor([[2.0], [2.0]], dtype=torch.float64)}, 0.5)
    stack.step({"x": torch.tensor([[3.0], [-3.0]], dtype=torch.float64)}, [0.1, 0.2])
    expected = torch.tensor([[2 * 0.95 - 0.1], [2 * 0.9 + 0.2]], dtype=torch.float64)
    torch.testing.assert_close(stack.parameters["x"], expected, rtol=0, atol=1e-5)


def test_a_run_with_rate_0_stands_still_beside_one_that_moves():
    stack = Stack({"x": torch.ones(2, 3)}, 0.1)
    stack.step({"x": torch.ones(2, 3)}, [0.0, 0.1])
    assert torch.equal(stack.parameters["x"][0], torch.ones(3))
    assert (stack.parameters["x"][1] < 1).all()


def test_a_paused_run_keeps_its_parameters_moments_and_clock():
    """Run 1 pauses at every second step: it ends where a run that never saw those steps ends, and
    run 0 does not notice."""
    steps = gradients(torch.float64)
    together = Stack(random_values(0, torch.float64), 0.1)
    for number, step in enumerate(steps):
        together.step(step, list(LRS), [1.0, 1.0 - number % 2])
    for run, seen in ((0, steps), (1, steps[::2])):
        start = random_values(0, torch.float64)
        alone = Stack({name: value[run : run + 1] for name, value in start.items()}, 0.1)
        for step in seen:
            alone.step({name: value[run : run + 1] for name, value in step.items()}, [LRS[run]])
        for name, value in alone.parameters.items():
            torch.testing.assert_close(together.parameters[name][run], value[0], rtol=0, atol=1e-12)
        assert float(together.moments["bias"]["count"][run]) == len(seen)


def test_a_pause_before_the_first_step_changes_nothing():
    stack = Stack({"x": torch.ones(2, 3)}, 0.1)
    stack.step({"x": torch.zeros(2, 3)}, [0.0, 0.0], [0.0, 0.0])
    assert torch.equal(stack.parameters["x"], torch.ones(2, 3))
