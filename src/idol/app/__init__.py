"""The web page: a photo, a background and a motion in; a video, its depth and a view from the side out.

`build` makes the page, `app` serves it. Needs the extra `app` (gradio).
"""

from idol.app.limits import Limits
from idol.app.page import build, look
from idol.app.server import app

__all__ = ["Limits", "app", "build", "look"]
