import { parsed } from "./stream";

test("events are read, comments are not", () => {
  expect(parsed('id: 7\nevent: log\ndata: {"a": 1}')).toEqual({ id: "7", kind: "log", data: { a: 1 } });
  expect(parsed(": still here")).toBeNull();
});
