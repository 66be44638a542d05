"""The trained model at work: a diffusers pipeline, exported folders, pictures of any size, the app."""
