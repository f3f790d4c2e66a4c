"""The web page: a photo, a background and a motion in; a video, its depth and a view from the side out.

`build` makes the page, `app` serves it. Needs the extra `app` (gradio).
"""

from idol.webapp.layout import build, look
from idol.webapp.server import app
from idol.webapp.upload_limits import Limits

__all__ = ["Limits", "app", "build", "look"]
