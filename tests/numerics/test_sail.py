"""Eq. 9 and 12 against numpy, and where their gradients go."""

import numpy as np
import pytest
import torch

from ecdm.numerics.sail import soft_loss, total_loss

SHAPES = [(2, 3, 4, 4), (2, 5, 2, 2), (2, 1, 8, 8)]


def features(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_soft_loss_weighs_features_equally() -> None:
    teacher, student = features(0), features(1)
    expected = np.mean([np.abs(a.numpy() - b.numpy()).mean() for a, b in zip(teacher, student, strict=True)])
    assert float(soft_loss(teacher, student)) == pytest.approx(float(expected), rel=1e-6)


def test_soft_loss_of_equal_features_is_zero() -> None:
    assert float(soft_loss(features(0), features(0))) == 0


def test_soft_loss_carries_its_gradient_into_every_student_feature() -> None:
    teacher, student = features(0), [feature.requires_grad_() for feature in features(1)]
    soft_loss(teacher, student).backward()
    for a, b in zip(teacher, student, strict=True):
        assert b.grad is not None
        torch.testing.assert_close(b.grad, (b.detach() - a).sign() / (len(SHAPES) * a.numel()))


def test_half_precision_features_are_compared_in_float32() -> None:
    teacher, student = [torch.zeros(1, 70000).half()], [torch.ones(1, 70000).half()]
    loss = soft_loss(teacher, student)
    assert loss.dtype == torch.float32
    assert float(loss) == 1


def test_total_loss() -> None:
    assert float(total_loss(torch.tensor(2.0), torch.tensor(3.0), 0.1)) == pytest.approx(2.3)
    assert float(total_loss(torch.tensor(2.0), torch.tensor(3.0), 0)) == 2


@pytest.mark.parametrize("lam", [-0.1, float("nan"), float("inf")])
def test_impossible_lambda_is_refused(lam: float) -> None:
    with pytest.raises(ValueError, match="lambda"):
        total_loss(torch.tensor(1.0), torch.tensor(1.0), lam)


def test_unpaired_features_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3"):
        soft_loss(features(0)[:2], features(1))
    with pytest.raises(ValueError, match="0 and 0"):
        soft_loss([], [])
    with pytest.raises(ValueError, match="feature 1"):
        soft_loss([torch.zeros(1, 2), torch.zeros(1, 2)], [torch.zeros(1, 2), torch.zeros(1, 1)])
