import { expect, test } from "vitest";
import { matching, shiftOf, type Line } from "./log_view";

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
