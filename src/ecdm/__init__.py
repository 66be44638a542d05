"""Training, ablation, tuning and comparison of text-guided image inpainting."""
