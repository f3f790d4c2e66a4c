"""Clips to batches: shards on disk, windows of frames, augmentation, cached latents."""
