"""Values as the paper prints them: other data, other weights, never comparable to this project's."""

from __future__ import annotations

from dataclasses import dataclass

TABLE_2_BUCKET = "50-60"
TABLE_2_METRICS = ("psnr", "ssim", "l1", "lpips")
# Means in the order of TABLE_2_METRICS, written as printed.
TABLE_2 = {
    "baseline": ("21.6907", "0.7569", "0.0417", "0.1594"),
    "sail": ("21.7218", "0.7764", "0.0383", "0.1072"),
    "acda": ("21.9833", "0.7784", "0.0377", "0.1086"),
    "ours": ("22.0327", "0.7804", "0.0373", "0.1039"),
}

# Table 1: masks → method → PSNR, SSIM, ℓ1, LPIPS on MS-COCO, then on Open Images; b: printed bold, u: underlined, i: in
# italics.
TABLE_1_METRICS = TABLE_2_METRICS
TABLE_1_DATASETS = ("coco", "openimages")
TABLE_1 = {
    "10-20": {
        "glide": "27.4670 0.8720 0.0223 0.0523 27.9267 0.8780 0.0212 0.0530",
        "blended": "27.5872 0.8683 0.0226 0.0523 28.0664 0.7784 0.0377 0.1085",
        "sd_inpaint": "u29.2245 u0.9321 u0.0139 u0.0228 u29.7867 u0.9359 u0.0133 u0.0211",
        "controlnet_inpaint": "i28.9814 u0.9333 i0.0140 i0.0238 i29.4835 u0.9374 u0.0133 i0.0220",
        "unipaint": "21.8992 0.8701 0.0287 0.0981 22.3254 0.8807 0.0262 0.0925",
        "copaint": "28.3742 0.9244 0.0154 0.0280 28.9633 0.9336 i0.0137 0.0258",
        "ours": "b29.8000 b0.9379 b0.0132 b0.0203 b30.3400 b0.9415 b0.0126 b0.0187",
    },
    "30-40": {
        "glide": "21.1245 0.6892 0.0462 0.1590 23.3936 0.7811 0.0337 0.1100",
        "blended": "u23.6027 0.7609 0.0350 0.1218 i24.1145 0.7715 0.0334 0.1171",
        "sd_inpaint": "i23.5053 u0.8366 u0.0281 u0.0734 u24.1427 u0.8461 u0.0266 u0.0676",
        "controlnet_inpaint": "22.7211 i0.8315 i0.0303 i0.0826 23.3488 i0.8414 i0.0286 i0.0760",
        "unipaint": "16.3802 0.6877 0.0733 0.2489 16.6082 0.6931 0.0711 0.2503",
        "copaint": "22.4218 0.8208 0.0313 0.0894 22.9441 0.8287 0.0297 0.0851",
        "ours": "b23.6437 b0.8482 b0.0271 b0.0696 b24.1812 b0.8566 b0.0258 b0.0643",
    },
    "50-60": {
        "glide": "21.1304 0.6893 0.0461 0.1591 21.5083 0.6972 0.0448 0.1587",
        "blended": "i21.6013 0.6567 0.0481 0.1823 i21.9916 0.6680 0.0465 0.1763",
        "sd_inpaint": "u21.8510 u0.7649 u0.0387 u0.1107 u22.2850 u0.7743 u0.0376 u0.1040",
        "controlnet_inpaint": "21.0475 i0.7524 i0.0427 i0.1247 21.4741 i0.7633 i0.0410 i0.1165",
        "unipaint": "14.0914 0.5203 0.1182 0.3904 14.3470 0.5216 0.1153 0.3922",
        "copaint": "20.6561 0.7390 0.0435 0.1374 20.9275 0.7480 0.0425 0.1329",
        "ours": "b22.0327 b0.7804 b0.0373 b0.1039 b22.4339 b0.7889 b0.0363 b0.0976",
    },
}


@dataclass(frozen=True)
class Doubt:
    """Why values of Table 1 may be copying errors: the sign that marks them, and where they stand."""

    sign: str
    method: str
    bucket: str
    dataset: str
    metrics: tuple[str, ...]
    reason: str


TABLE_1_DOUBTS = (
    Doubt(
        "†",
        *("blended", "10-20", "openimages"),
        ("ssim", "l1", "lpips"),
        "Probably a copying error: SSIM and ℓ1 are to the digit those of w/ ACDA in the paper's Table 2, which is of "
        "another method, data set and hole share, and LPIPS is 0.0001 below that one's.",
    ),
    Doubt(
        "‡",
        *("glide", "30-40", "coco"),
        TABLE_1_METRICS,
        "Probably a copying error: nearly the same four values stand under 50–60 %, while every other method loses "
        "much from one to the other.",
    ),
)
# What the paper's own asterisk says, and what its marks do.
TABLE_1_NOTES = {
    "∗": "The paper's own mark: it calls Uni-paint effective for masks drawn by hand only.",
    "": "Marks as printed: of SSIM under 10–20 % two values are underlined and none is in italics.",
}
TABLE_1_STARRED = "unipaint"
