"""Conversion of clips to training batches: shards on disk, selection, augmentation, cached latents."""
