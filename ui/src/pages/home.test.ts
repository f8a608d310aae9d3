import type { Glance } from "../api/queries";
import { endsToMend, filtered, needsPerson } from "./home";

const glance = (more: Partial<Glance>): Glance => ({ connectionId: "1", workspaceId: "w", name: "n", status: "active", health: "fresh", source: { id: "s", name: "Shop", type: "postgres" }, destination: { id: "d", name: "Lake", type: "s3" }, followsLog: false, scheduleKind: "manual", recent: [], ...more });

test("the worst comes first, and every word must fit somewhere", () => {
  const all = [glance({ name: "a" }), glance({ name: "b", health: "failing" }), glance({ name: "c", health: "late", source: { id: "s", name: "Crm", type: "files" } })];
  expect(filtered(all, "", "").map((each) => each.name)).toEqual(["b", "c", "a"]);
  expect(filtered(all, "lake crm", "").map((each) => each.name)).toEqual(["c"]);
  expect(filtered(all, "", "failing").map((each) => each.name)).toEqual(["b"]);
});

test("what passes by itself needs nobody; what was switched off by itself does", () => {
  expect([glance({ health: "retrying" }), glance({ health: "late" }), glance({ health: "paused", status: "inactive" }), glance({ health: "paused", status: "inactive", statusReason: "the schema changed" })].map(needsPerson)).toEqual([false, true, false, true]);
});

test("a failure leads to the end that it names", () => {
  const error = { kind: "auth", message: "no", hint: "", where: { connector: "postgres" }, retryable: false };
  expect(endsToMend(glance({ health: "failing", error })).map((each) => each.to)).toEqual(["/sources/s"]);
  expect(endsToMend(glance({ health: "failing", error: { ...error, where: { connector: "destination s3" } } })).map((each) => each.to)).toEqual(["/destinations/d"]);
  expect(endsToMend(glance({ health: "failing", error: { ...error, retryable: true } }))).toEqual([]);
});
