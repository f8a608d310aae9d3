import { curl, quoted, yaml } from "./copy_as";

test("a body cannot leave its quotes", () => {
  expect(quoted("it's; rm -rf /")).toBe(`it'\\''s; rm -rf /`);
  expect(curl({ method: "POST", path: "/v1/jobs", body: { name: "'" } }, "http://h")).toContain(`"name": "'\\''"`);
});

test("YAML quotes what would be read as something else", () => {
  expect(yaml({ a: "yes", b: "1", c: ["x", { d: "e: f" }], g: null, h: [] }).trim()).toBe('a: "yes"\nb: "1"\nc:\n  - x\n  - d: "e: f"\ng: null\nh: []'.replace("b:", "b:"));
});
