"""The parts of the training loop in `idol.training.train`."""
