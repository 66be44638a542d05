"""Values as the paper prints them: other data, other weights, never comparable to this project's."""

from __future__ import annotations

TABLE_2_BUCKET = "50-60"
TABLE_2_METRICS = ("psnr", "ssim", "l1", "lpips")
# Means in the order of TABLE_2_METRICS, written as printed.
TABLE_2 = {
    "baseline": ("21.6907", "0.7569", "0.0417", "0.1594"),
    "sail": ("21.7218", "0.7764", "0.0383", "0.1072"),
    "acda": ("21.9833", "0.7784", "0.0377", "0.1086"),
    "ours": ("22.0327", "0.7804", "0.0373", "0.1039"),
}
