"""Serve the page: `idol.app`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from idol.errors import UserError
from idol.provenance import provenance_of
from idol.webapp.layout import Page, launch_options, open_page
from idol.webapp.upload_limits import Limits

HOST, PORT = "127.0.0.1", 7860


def app(
    weights: str = "mini",
    *,
    host: str = HOST,
    port: int = PORT,
    device: str | None = None,
    browser: bool = False,
    limits: Limits | None = None,
    certificate: str | Path | None = None,
    private_key: str | Path | None = None,
    block: bool = True,
    ready: Callable[[str], None] = lambda address: None,
) -> str:
    """Serve the page until the process is told to stop.

    Args:
        weights: "mini", a folder, or a hub id.
        host: Address to listen on; 127.0.0.1 is this machine alone.
        port: Port to listen on; 0 takes a free one.
        device: "cpu", "cuda", ...; a GPU if there is one, if None.
        browser: Open the page in the browser.
        limits: Limits of uploads and requests; `Limits()` if None.
        certificate: PEM file of the certificate chain that signs the files; one of this machine's if None.
        private_key: PEM file of the certificate's key.
        block: Return when Ctrl-C or SIGTERM ends the page. If False, return at once; the page is served as
            long as the process lives.
        ready: Called with the address once the page is served.

    Returns:
        The page's address.

    Raises:
        UserError: If gradio is not installed, or the weights, the port or the address cannot be used.
    """
    if not 0 <= port <= 65535:
        raise UserError("port", str(port), "give a number from 0 to 65535")
    limits, provenance = limits or Limits(), provenance_of(True, certificate, private_key)
    if block:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    page = open_page(weights, device=device, limits=limits, provenance=provenance)
    address = _launch(page.blocks, host, port, browser, limits)
    ready(address)
    if block:
        _wait(page)
    return address


def _wait(page: Page) -> None:
    """Wait for Ctrl-C; gradio's own way prints on stdout, which is for machines."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close()  # here, not at exit: Python ends its threads first, and a job's would go on to its end


def _launch(blocks: Any, host: str, port: int, browser: bool, limits: Limits) -> str:
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port or _free_port(host),
            inbrowser=browser,
            share=False,
            show_error=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=["api"],
            run_history=False,
            max_file_size=round(limits.video_megabytes * 1e6),
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            **launch_options(),
        )
    except OSError as error:
        raise UserError("port", f"{host}:{port} cannot be used ({error})", "choose another `port`") from error
    return str(address)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])
