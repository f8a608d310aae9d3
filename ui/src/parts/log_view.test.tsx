import { MantineProvider } from "@mantine/core";
import { cleanup, configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { MemoryRouter, useLocation } from "react-router";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import LogView, { matching, shiftOf, type Line } from "./log_view";

const line = (message: string, level = "INFO", attempt = 1): Line => ({ at: "2026-01-01T00:00:00Z", level, message, attempt });

test("lines are found by level, words and attempt", () => {
  const lines = [line("Read orders"), line("a warning", "WARN"), line("orders again", "DEBUG", 2)];
  expect(matching(lines, "DEBUG", "")).toBe(lines);
  expect(matching(lines, "INFO", "ORDERS")).toEqual([lines[0]]);
  expect(matching(lines, "DEBUG", "", 2)).toEqual([lines[2]]);
});

test("a log that is higher than a browser's longest page begins at its first line and ends at its last", () => {
  const [places, lines, shown] = [750_000, 1_000_000, 70];
  expect(shiftOf(0, shown, places, lines)).toBe(0);
  expect(shiftOf(places - shown, shown, places, lines) + places - 1).toBe(lines - 1);
  // In between it only grows, by less than a window for a window.
  const half = shiftOf(375_000, shown, places, lines);
  expect(half).toBeGreaterThan(120_000);
  expect(shiftOf(375_000 + shown, shown, places, lines) - half).toBeLessThan(shown);
});

configure({ asyncUtilTimeout: 20_000 });

/** jsdom lays nothing out: the frame is told to be as high as twenty lines. */
beforeEach(() => {
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(400);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
});

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

function Place() {
  return <p data-testid="address">{useLocation().search}</p>;
}

function shown(active: boolean, at = "/jobs/1", attempts = 1) {
  return render(
    <MantineProvider>
      <MemoryRouter initialEntries={[at]}>
        <LogView jobId={1} active={active} attempts={attempts} />
        <Place />
      </MemoryRouter>
    </MantineProvider>,
  );
}

const answers = (make: (url: URL) => Response) =>
  vi.spyOn(globalThis, "fetch").mockImplementation(async (request) => make(new URL((request as Request).url)));

test("a log that has ended is filtered by words and level, which are in the address", async () => {
  const lines = [...Array.from({ length: 5000 }, (_, i) => line(`orders ${i}`)), line("<img src=x> is wrong", "ERROR")];
  answers(() => Response.json({ lines }));
  shown(false);
  const log = await screen.findByRole("log");
  // Only the lines in view are in the document, whatever the log's length.
  expect(await within(log).findByText("orders 0")).toBeTruthy();
  expect(log.querySelectorAll(".log-line").length).toBeLessThan(100);
  expect(screen.getByRole("status").textContent).toBe("5,001 lines");
  fireEvent.change(screen.getByLabelText("Filter the log"), { target: { value: "IMG" } });
  await waitFor(() => expect(screen.getByRole("status").textContent).toBe("1 of 5,001 lines"));
  expect(screen.getByTestId("address").textContent).toBe("?log=IMG");
  expect(log.querySelector("img")).toBeNull();
  // A line is shown whole, with what else is known of it.
  fireEvent.click(within(log).getByText("<img src=x> is wrong"));
  expect(screen.getByText(/attempt 1 · ERROR/)).toBeTruthy();
});

test("what the address asks for is shown from the start", async () => {
  answers(() => Response.json({ lines: [line("first"), line("bad", "ERROR"), line("bad again", "ERROR", 2)] }));
  shown(false, "/jobs/1?level=ERROR&attempt=2", 2);
  const log = await screen.findByRole("log");
  await within(log).findByText("bad again");
  expect([...log.querySelectorAll(".log-line")].map((each) => each.textContent)).toEqual([expect.stringContaining("bad again")]);
});

test("a job that runs is followed until its end; after a break from where it was", async () => {
  const asked: (string | null)[] = [];
  const piece = (id: number, text: string) => `id: 1-${id}\nevent: log\ndata: ${JSON.stringify(line(text))}\n\n`;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (request) => {
    asked.push((request as Request).headers.get("Last-Event-ID"));
    return new Response(asked.length === 1 ? piece(1, "one") + piece(2, "two") : `${piece(3, "three")}event: end\ndata: {}\n\n`);
  });
  shown(true);
  expect(await screen.findByText("three")).toBeTruthy();
  expect(asked).toEqual([null, "1-2"]);
  expect(screen.getByRole("status").textContent).toBe("3 lines");
});

test("a log that cannot be had says why", async () => {
  answers(() => Response.json({ message: "no such job" }, { status: 404 }));
  shown(false);
  expect(await screen.findByText(/no such job/)).toBeTruthy();
});
