"""Motion capture read, augmented and retargeted to the body."""
