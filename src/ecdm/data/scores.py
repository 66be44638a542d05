"""The form of the score files, which evaluation writes and the report reads."""

from __future__ import annotations

COLUMNS = ("dataset", "variant", "seed", "image_id", "bucket", "metric", "pasted", "value")
# Of every other metric more is better.
LOWER_IS_BETTER = ("l1", "lpips", "lpips_random", "l1_hole")
