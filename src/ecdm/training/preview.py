"""A picture of how a branch inpaints fixed validation images while it is trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.data.sheets import sheet
from ecdm.methods.base import generator_for
from ecdm.methods.ours import variant
from ecdm.models.branch import Branch
from ecdm.models.foundation import Components
from ecdm.numerics.masks import masked_image
from ecdm.numerics.samplers import paste
from ecdm.training.folder import TrainFolder


def preview(
    components: Components, branch: Branch, data: TrainFolder, count: int, sampling: Generate, seed: int
) -> NDArray[np.uint8]:
    """Three rows of `count` pictures, (3h, count·w, 3) uint8: masked input, output pasted, truth."""
    fixed = data.fixed(count)
    entries = data.samples.images[: len(fixed.t)]
    batch = Batch(fixed.images, fixed.masks, [entry.captions[0] for entry in entries], [entry.id for entry in entries])
    generators = [generator_for(seed, "preview", number) for number in batch.ids]
    output = variant("preview", components, branch, sampling).inpaint(batch, generators)
    given, pasted = masked_image(batch.images, batch.masks, 0.5), paste(output, batch.images, batch.masks)
    return sheet([given, pasted, batch.images])
