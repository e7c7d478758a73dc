"""Agreement of softmax losses with pytorch-metric-learning, where its definitions are ours."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.losses import normalized_softmax, proxy_nca, proxy_nca_pp, soft_triple
from pipeline.program.batch import Batch

SEEDS = range(4)


@pytest.fixture(scope="module")
def library() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        import pytorch_metric_learning.losses
        import pytorch_metric_learning.regularizers
    return pytorch_metric_learning


def assert_same(ours: Tensor, theirs: Tensor, by: Tensor, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)
    torch.testing.assert_close(
        torch.autograd.grad(ours, by), torch.autograd.grad(theirs, by), rtol=rtol, atol=rtol
    )


def raw_rows(seed: int) -> tuple[Tensor, Batch]:
    """Vectors (16, 3) of any length that need a gradient, and the batch of their directions."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(16, 3, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.randint(6, (16,), generator=generator)
    ones = torch.ones(16, dtype=torch.float64)
    return vectors, Batch(functional.normalize(vectors, dim=1), labels, torch.arange(16), ones)


@pytest.mark.parametrize("seed", SEEDS)
def test_normalised_softmax_has_the_librarys_value_and_gradient(library, seed):
    vectors, batch = raw_rows(seed)
    theirs = library.losses.NormalizedSoftmaxLoss(6, 3, temperature=0.05).double()
    value = normalized_softmax.loss({"proxies": theirs.W.T}, batch)
    assert_same(value, theirs(vectors, batch.labels), vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_proxy_nca_has_the_librarys_value_and_gradient(library, seed):
    """Where no probability underflows: theirs leaves such rows out."""
    theirs = library.losses.ProxyNCALoss(6, 3, softmax_scale=9).double()
    for module, options in ((proxy_nca, {"scale": 9.0}), (proxy_nca_pp, {})):
        vectors, batch = raw_rows(seed)
        value = module.loss({"proxies": theirs.proxies}, batch, **options)
        assert_same(value, theirs(vectors, batch.labels), vectors)


@pytest.mark.parametrize("seed", SEEDS)
def test_soft_triple_has_the_librarys_value_and_gradients(library, seed):
    """Their regulariser has another small constant in its root, hence the tolerance for it."""
    regulariser = library.regularizers.SparseCentersRegularizer(6, 4)
    plain = library.losses.SoftTripleLoss(6, 3, centers_per_class=4).double()
    with_both = library.losses.SoftTripleLoss(
        6, 3, centers_per_class=4, weight_regularizer=regulariser, weight_reg_weight=0.2
    ).double()
    for theirs, tau, rtol in ((plain, 0.0, 1e-9), (with_both, 0.2, 1e-4)):
        vectors, batch = raw_rows(seed)
        centres = theirs.fc.T.reshape(6, 4, 3)
        value = soft_triple.loss({"centres": centres}, batch, tau=tau)
        expected = theirs(vectors, batch.labels)
        torch.testing.assert_close(value, expected, rtol=rtol, atol=rtol)
        grads = [torch.autograd.grad(v, [vectors, theirs.fc]) for v in (value, expected)]
        torch.testing.assert_close(*grads, rtol=rtol, atol=rtol)
