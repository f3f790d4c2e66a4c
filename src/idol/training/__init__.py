"""The parts of the training loop in `idol.train`."""
