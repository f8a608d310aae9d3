"""How quick the web page is: paints, shifts, blocked time and bytes of each page, and a log of a million lines.

    .venv/bin/python benchmarks/ui.py http://127.0.0.1:8000 [rounds]

Needs a running server that asks nobody to sign in, with a connection that has run (``syncline demo --serve``), and
Chromium. Prints Markdown. Times are the browser's own and mean little on a machine that does other work; *busy* is
processor time of the page's thread, which does not wait for others.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from typing import Any

import httpx
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

LINES = 1_000_000

#: Collected from before the page's first byte; long tasks are those of over 50 ms, of which the rest counts as blocked.
_WATCH = """
window.told = {lcp: 0, cls: 0, blocked: 0};
new PerformanceObserver(l => { for (const e of l.getEntries()) told.lcp = e.startTime })
  .observe({type: 'largest-contentful-paint', buffered: true});
new PerformanceObserver(l => { for (const e of l.getEntries()) if (!e.hadRecentInput) told.cls += e.value })
  .observe({type: 'layout-shift', buffered: true});
new PerformanceObserver(l => { for (const e of l.getEntries()) told.blocked += e.duration - 50 })
  .observe({type: 'longtask', buffered: true});
"""

#: The page is given a log that no server could make in the time: a thousand lines in each piece of the stream.
_LOG = """
const real = window.fetch;
const line = i => ({at: '2026-01-01T00:00:00+00:00', level: i % 1000 ? 'INFO' : 'WARN',
  message: 'line ' + i + ' of many', attempt: 1, stream: 'public.orders'});
window.fetch = async (input, init) => {
  const url = new URL(input.url ?? input, location.href);
  if (url.pathname.endsWith('/logs'))
    return Response.json({lines: Array.from({length: 100000}, (_, i) => line(LINES - 100000 + i))});
  if (!url.pathname.endsWith('/logs/stream')) return real(input, init);
  let i = 0;
  const body = new ReadableStream({pull(to) {
    if (i >= LINES) { to.enqueue('event: end\\ndata: {"status": "succeeded"}\\n\\n'); to.close(); return }
    let text = '';
    for (const end = i + 1000; i < end; i++)
      text += 'id: 1-' + i + '\\nevent: log\\ndata: ' + JSON.stringify(line(i)) + '\\n\\n';
    to.enqueue(text);
  }}).pipeThrough(new TextEncoderStream());
  return new Response(body, {headers: {'Content-Type': 'text/event-stream'}});
};
""".replace("LINES", str(LINES))


def main() -> None:
    base, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print("| page | first paint | largest paint | shift | blocked | busy | requests | kB on the wire |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for name, path in places(base).items():
            found = [look(browser, base + path) for _ in range(rounds)]
            middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
            print(
                f"| {name} | {middle['fcp']:.0f} ms | {middle['lcp']:.0f} ms | {middle['cls']:.3f} "
                f"| {middle['blocked']:.0f} ms | {middle['busy']:.0f} ms | {middle['requests']:.0f} "
                f"| {middle['kilobytes']:.0f} |"
            )
        print()
        print(log(browser, base))
        browser.close()


def places(base: str) -> dict[str, str]:
    glances = httpx.get(f"{base}/api/syncline/v1/overview", timeout=30).json()["connections"]
    shown = next(each for each in glances if each["recent"])
    connection = f"/connections/{shown['connectionId']}"
    return {
        "Home": "/",
        "Connection": connection,
        "Streams": f"{connection}/streams",
        "Job": f"/jobs/{shown['recent'][0]['jobId']}",
        "Set up": "/setup",
        "CDC health": "/cdc",
        "Alerts": "/alerts",
    }


def look(browser: Browser, address: str) -> dict[str, float]:
    """One visit with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(_WATCH)
    watch = watched(page)
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_timeout(1500)
    told: dict[str, Any] = page.evaluate(
        """() => { const of = kind => performance.getEntriesByType(kind);
        const all = [...of('navigation'), ...of('resource')];
        return {...told, fcp: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
          requests: all.length, kilobytes: all.reduce((sum, e) => sum + e.transferSize, 0) / 1000} }"""
    )
    told["busy"] = busy(watch)
    context.close()
    return told


def busy(session: CDPSession) -> float:
    """Milliseconds of processor time that the page's thread has had since ``watched``."""
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(told["TaskDuration"]) * 1000


def watched(page: Page) -> CDPSession:
    """From now on the page's processor time is counted, whatever else the machine does."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return session


def log(browser: Browser, base: str) -> str:
    """Load a million lines, scroll through them, filter them."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(_LOG)
    watch = watched(page)
    page.goto(base + places(base)["Job"])
    page.get_by_role("button", name="Load the older ones too").click(timeout=120_000)
    began = busy(watch)
    page.get_by_text(f"{LINES:,} lines").wait_for(timeout=600_000)
    loaded = busy(watch) - began
    frame = page.get_by_role("log")
    heap = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize / 1e6 : 0")
    began = busy(watch)
    for step in range(100):
        frame.evaluate("(e, at) => { e.scrollTop = at * (e.scrollHeight - e.clientHeight) }", step / 99)
        page.wait_for_timeout(16)
    scrolled = (busy(watch) - began) / 100
    last = page.get_by_text(f"line {LINES - 1} of many", exact=True).is_visible()
    began = busy(watch)
    page.get_by_label("Filter the log").fill("line 777777")
    page.get_by_text(f"1 of {LINES:,} lines").wait_for(timeout=120_000)
    filtered = busy(watch) - began
    in_document = page.locator(".log-line").count()
    page.close()
    return (
        f"A log of {LINES:,} lines: {loaded / 1000:.1f} s busy until it is there, {heap:.0f} MB of heap, "
        f"{scrolled:.1f} ms busy for each of 100 jumps through it (its last line is {'' if last else 'NOT '}reached), "
        f"{filtered:.0f} ms to filter it; {in_document} lines in the document then."
    )


if __name__ == "__main__":
    main()
