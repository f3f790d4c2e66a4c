"""The web page: a photo, a background and a motion in; a video, its depth and a 3-D view out.

`build` makes the page, `idol.app` serves it. Needs the extra `app` (gradio).
"""

from idol.webapp.layout import build, launch_options
from idol.webapp.upload_limits import Limits

__all__ = ["Limits", "build", "launch_options"]
