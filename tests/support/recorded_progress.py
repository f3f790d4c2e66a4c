"""Progress as tests look at it: everything that a run reported, in order."""

from idol.progress import ProgressCallback


class RecordedProgress(ProgressCallback):
    """Keeps what it receives: `stages` and `notes` (texts), `steps` ((done, total) pairs)."""

    def __init__(self):
        self.stages, self.notes, self.steps = [], [], []

    def stage(self, name):
        self.stages.append(name)

    def note(self, text):
        self.notes.append(text)

    def step(self, done, total):
        self.steps.append((done, total))
