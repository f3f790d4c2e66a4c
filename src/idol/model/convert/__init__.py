"""Published weights (Stable Diffusion, DisCo) to our networks."""
