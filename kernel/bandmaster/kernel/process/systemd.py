"""Notify systemd of readiness and stop, as sd_notify(3) describes."""

from __future__ import annotations

import socket


def notify(address: str, state: str) -> bool:
    """Send a state to systemd's socket, and return whether that succeeded. An empty address means no socket."""
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        try:
            # An @ stands for the zero byte of an abstract socket's name.
            client.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            return False
    return True
