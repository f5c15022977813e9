"""What every web application wants: an id for each request."""

from __future__ import annotations

from bandmaster.contrib.web.request_id import RequestIdLayer, WebSettings, new_request_id, request_id

__all__ = ["RequestIdLayer", "WebSettings", "new_request_id", "request_id"]
