"""Noise schedules, the latent space in which diffusion happens, and the losses (Eqs. 2 to 8)."""
