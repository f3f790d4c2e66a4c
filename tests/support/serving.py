"""The page in a process of its own."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

from support.cli_runs import heeds_ctrl_c


@contextmanager
def served(temporary):
    """`idol app --json`: its process and the page's address. Its temporary files go into `temporary`."""
    command = [sys.executable, "-m", "idol", "app", "--port", "0", "--device", "cpu", "--json"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heeds_ctrl_c
    )
    try:
        told = json.loads(server.stdout.readline())
        assert told.pop("ok") is True and list(told) == ["url"]
        yield server, told["url"].rstrip("/")
    finally:
        server.kill()
