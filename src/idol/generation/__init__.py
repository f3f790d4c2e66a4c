"""A photo, a background and a motion to a run folder: `idol.generate` and `idol.demo`."""
