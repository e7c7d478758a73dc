"""Serving a page to the browser of this machine, until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from cache.errors import InputError
from pipeline.review.app import make_app
from pipeline.review.guard import HOST
from pipeline.review.pictures import Pictures
from pipeline.review.session import Session


def serve(
    session: Session,
    pictures: Pictures,
    *,
    title: str,
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Serve the page of a review until the process is interrupted or told to terminate.

    Args:
        session: the decisions.
        pictures: of the same findings.
        title: names the audit.
        port: of the loopback address; 0 = any that is free.
        announce: is called with the page's address, which has the token in it.

    Raises:
        InputError: the port cannot be had.
    """
    listener = _listening(port)
    at, token = listener.getsockname()[1], secrets.token_urlsafe(32)
    config = uvicorn.Config(
        make_app(session, pictures, title=title, token=token, port=at),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    announce(f"http://{HOST}:{at}/?token={token}")
    # The server raises a signal again when it has ended; both shall only end the page.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
        listener.close()


def open_browser(url: str) -> None:
    """Show a page in the person's browser, if there is a screen to show it on."""
    is_screenless = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not is_screenless:  # a text browser would take the terminal
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _listening(port: int) -> socket.socket:
    """Open a port of the loopback address; raises InputError where it is taken or not allowed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"--port {port}: {reason}; choose another, or leave it out for a free one"
        ) from error
    return listener
