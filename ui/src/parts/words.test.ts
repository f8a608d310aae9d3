import { ago, bytes, count, span } from "./words";

test("small numbers are exact, large ones rounded and never 1000 of a unit", () => {
  expect([0, 999, 9999, 10_000, 541_000, 999_499, 999_500, 12_345_678].map(count)).toEqual(["0", "999", "9,999", "10.0 k", "541 k", "999 k", "1.0 M", "12.3 M"]);
});

test("bytes are told in powers of ten", () => {
  expect([999, 1000, 64_490_516, 999_999_999_999].map(bytes)).toEqual(["999 B", "1.0 kB", "64.5 MB", "1.0 TB"]);
});

test("spans have two units at most, next to each other", () => {
  expect([0.25, 3.21, 59.6, 3600, 3661, 90_000, 86_460].map(span)).toEqual(["250 ms", "3.2 s", "1 min", "1 h", "1 h 1 min", "1 d 1 h", "1 d"]);
});

test("the past and the future are told apart", () => {
  const now = Date.parse("2026-01-01T12:00:00Z");
  expect(ago("2026-01-01T11:00:00Z", now)).toBe("1 h ago");
  expect(ago("2026-01-01T12:30:00Z", now)).toBe("in 30 min");
  expect(ago("2026-01-01T11:59:58Z", now)).toBe("just now");
});
