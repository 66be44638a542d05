"""`auto` takes bfloat16 only where the hardware multiplies it."""

from __future__ import annotations

import pytest
import torch

from ecdm.models.precision import resolved

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("instructions", ["amx_bf16", "avx512_bf16", "bf16"])
@pytest.mark.parametrize("there", [True, False])
def test_a_processor_with_bfloat16_instructions_uses_them(
    monkeypatch: pytest.MonkeyPatch, instructions: str, there: bool
) -> None:
    found = {"avx2": True, "avx512_f": True, instructions: there}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert resolved("auto", CPU) == ("bf16" if there else "no")


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_that_only_emulates_it_does_not(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    def supported(including_emulation: bool) -> bool:
        return there or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolved("auto", GPU) == ("bf16" if there else "no")


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert [resolved(precision, CPU) for precision in ("no", "bf16")] == ["no", "bf16"]
