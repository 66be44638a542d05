"""Counted cost: network evaluations, floating-point operations and weights, from the modules that really run.

Counted are convolutions, matrix products and attention, an addition and a multiplication as two operations; not
counted are normalisations, activations, Fourier transforms and the scheduler's arithmetic. Counts follow from
shapes alone: no time, no hardware, no values of weights or pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import Job
from ecdm.methods.base import Method, generator_for
from ecdm.methods.ours import variant
from ecdm.methods.registry import Rival
from ecdm.models.branch import Branch
from ecdm.models.foundation import NETWORKS, Components

# Makes a method for given sampling settings.
Make = Callable[[Generate], Method]


@dataclass(frozen=True)
class Sampling:
    """Of one image: steps, evaluations of UNet and branch, operations in all, per step and once."""

    steps: int
    unet_evaluations: int
    branch_evaluations: int
    flops: int
    flops_per_step: int
    flops_once: int


def cost(
    components: Components, branch: Branch, settings: Generate, size: int, images: int, step: Callable[[Batch], object]
) -> dict[str, Any]:
    """All counts of a branch at `size` pixels a side; `step` trains it on a batch, `images` make one training step."""
    trained = count_flops(lambda: step(blank_batch(size)))
    sampled = sampling_cost(lambda g: variant("counted", components, branch, g), settings, components, branch, size)
    return {
        "image_size": size,
        "weights": {"trained": parameters(branch), "frozen": frozen_parameters(components)},
        "sampling": asdict(sampled),
        "training": {"images": images, "flops_per_image": trained, "flops_per_step": images * trained},
    }


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of `work`, backward passes included."""
    # Fused attention on a CPU has no formula; as two matrix products it has.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def sampling_cost(make: Make, settings: Generate, components: Components, branch: nn.Module, size: int) -> Sampling:
    """Cost of one image of `size` pixels a side.

    Cost is affine in the number of steps, so one and two steps tell that of `settings.steps`, be they hundreds.
    """
    first, second = (_sampled(make, settings, components, branch, size, steps) for steps in (1, 2))
    per_step, steps = second[0] - first[0], settings.steps
    unet, control = ((steps - 1) * (b - a) + a for a, b in zip(first[1:], second[1:], strict=True))
    once = first[0] - per_step
    return Sampling(steps, unet, control, once + steps * per_step, per_step, once)


def facts(method: Rival, job: Job, seed: int) -> dict[str, Any]:
    """What a published method takes for one image, the job's first, counted while it is made: evaluations, operations.

    Where a method's work hangs on the image (CoPaint's backtracking), the counts are this image's.
    """
    part = job.batches(1)[0]
    with ExitStack() as stack:
        seen = {name: stack.enter_context(_samples_through(_first(net))) for name, net in method.networks.items()}
        flops = count_flops(lambda: inpaint(method, part, seed, job))
    sizes = {"native_size": method.native_size, "image_size": part.images.shape[-1]}
    evaluations = {name: sum(counts) for name, counts in seen.items()}
    return {"method": method.name, **sizes, "evaluations": evaluations, "flops": flops}


def _first(network: nn.Module) -> nn.Module:
    """The layer that every sample passes, also where encoder and decoder of a network are called one by one."""
    for name in ("conv_in", "vision_model"):
        if hasattr(network, name):
            return getattr(network, name)
    return network


def parameters(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def frozen_parameters(components: Components) -> int:
    """Weights of the networks that sampling uses beside the branch: autoencoder, text encoder, UNet."""
    used = [name for name in NETWORKS if not name.startswith("controlnet")]
    return sum(parameters(getattr(components, name)) for name in used)


def blank_batch(size: int) -> Batch:
    """One image whose left half is the hole."""
    mask = torch.zeros(1, 1, size, size)
    mask[..., : size // 2] = 1
    return Batch(torch.full((1, 3, size, size), 0.5), mask, ["a"], [0])


def _sampled(
    make: Make, settings: Generate, components: Components, branch: nn.Module, size: int, steps: int
) -> tuple[int, int, int]:
    """Operations, UNet evaluations and branch evaluations of one image at so many steps."""
    method = make(settings.model_copy(update={"steps": steps}))
    with _samples_through(components.unet.conv_in) as unet, _samples_through(branch) as control:
        flops = count_flops(lambda: method.inpaint(blank_batch(size), [generator_for(0, "cost")]))
    return flops, sum(unet), sum(control)


@contextmanager
def _samples_through(module: nn.Module) -> Iterator[list[int]]:
    """Collect the batch size of every call: an evaluation is one sample through the network."""
    seen: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        seen.append(len(next(value for value in (*inputs, *named.values()) if isinstance(value, Tensor))))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()
