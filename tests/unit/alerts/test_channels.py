"""Channels: what is none is refused before it is stored; what Slack gets is what Slack documents."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from syncline.alerts.channels import check_channel, send
from syncline.alerts.message import Message
from syncline.core.errors import ErrorKind, SynclineError

MESSAGE = Message(title="erp: failure", body="The sync failed.\nNext: mend it", level="failure")


@pytest.mark.parametrize("url", ["", "nothing", "nosuch://host", "slack://", "mailto://"])
def test_what_is_no_channel_is_refused(url: str) -> None:
    with pytest.raises(SynclineError) as caught:
        check_channel(url)
    assert caught.value.kind is ErrorKind.CONFIG
    assert "apprise" in (caught.value.hint or "")


def test_nobody_there_is_an_error_without_the_secret() -> None:
    with pytest.raises(SynclineError) as caught:
        send("json://user:passw0rd@127.0.0.1:9/secret-path", MESSAGE)
    text = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert "passw0rd" not in text and "secret-path" not in text


def test_slack_gets_what_its_documentation_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An incoming webhook takes ``text`` or ``attachments`` with ``text``, ``title``, ``color`` as #rrggbb, and a
    ``fallback``; anything but these is refused by the counterpart, as Slack answers ``invalid_payload``."""
    from apprise.plugins.slack import NotifySlack

    taken: list[dict[str, Any]] = []

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            good = self.headers["Content-Type"].startswith("application/json") and _is_slack_message(payload)
            taken.append(payload)
            self.send_response(200 if good else 400)
            self.end_headers()
            self.wfile.write(b"ok" if good else b"invalid_payload")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Slack)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{server.server_port}/services")
    try:
        send("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?footer=no", MESSAGE)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    (payload,) = taken
    assert "erp: failure" in json.dumps(payload)
    assert "Next: mend it" in json.dumps(payload)


def _is_slack_message(payload: dict[str, Any]) -> bool:
    known = {"text", "attachments", "blocks", "username", "icon_url", "icon_emoji", "mrkdwn", "channel", "thread_ts"}
    fields = {"title", "text", "color", "fallback", "ts", "footer", "footer_icon", "mrkdwn_in", "pretext", "blocks"}
    attachments = payload.get("attachments", [])
    return (
        set(payload) <= known
        and bool(payload.get("text") or attachments or payload.get("blocks"))
        and all(set(each) <= fields and each.get("color", "#000000").startswith("#") for each in attachments)
    )
