"""Real input in: a photo, a background and a motion become what the pipeline takes."""
