"""Training of the networks and of autoencoders: configs, loops, checkpoints, export."""
