"""FILES -> RUN FOLDER: a photo, a background and a motion in, a video and its depth out (`idol.generate`)."""
