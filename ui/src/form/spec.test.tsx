import { MantineProvider } from "@mantine/core";
import { fireEvent, render, screen } from "@testing-library/react";
import { createRef, useState } from "react";
import { formOf, labelOf, placed } from "./spec";
import { SpecForm, type SpecFormHandle, type Values } from "./spec_form";

const SPEC = {
  type: "object",
  required: ["host"],
  $defs: { Log: { type: "object", title: "ChangeCapture", properties: { method: { const: "CDC" }, slot: { anyOf: [{ type: "string" }, { type: "null" }], default: null } } }, Plain: { type: "object", properties: { method: { enum: ["Standard", "Xmin"], description: "Standard: by a cursor. Xmin: by xmin." } } } },
  properties: {
    host: { type: "string", title: "Host" },
    port: { anyOf: [{ type: "integer", maximum: 65535 }, { type: "null" }], default: 5432, title: "Port" },
    password: { type: "string", airbyte_secret: true, title: "Password" },
    ssl_mode: { type: "string", title: "Ssl Mode", default: "prefer" },
    jdbc_url_params: { type: "string", description: "Not used: there is no JDBC here." },
    replication_method: { anyOf: [{ $ref: "#/$defs/Plain" }, { $ref: "#/$defs/Log" }] },
  },
};

test("a specification becomes a form without what nobody needs", () => {
  const { schema, ui } = formOf(SPEC);
  expect(Object.keys(schema.properties!)).toEqual(["host", "port", "password", "ssl_mode", "replication_method"]);
  expect(schema.properties!.port).toMatchObject({ type: "integer", maximum: 65535 });
  expect(ui.port).toMatchObject({ "ui:options": { placeholder: "5432" } });
  expect(ui.ssl_mode["ui:options"]).toMatchObject({ advanced: true });
  const variants = (schema.properties!.replication_method as { oneOf: { title: string }[] }).oneOf;
  expect(variants.map((each) => each.title)).toEqual(["Standard", "Xmin", "CDC"]);
});

test("labels are written as people write them", () => {
  expect([labelOf("ssl_mode", "Ssl Mode"), labelOf("s3_bucket_name", "S3 Bucket Name"), labelOf("x", "My own title")]).toEqual(["SSL mode", "S3 bucket name", "My own title"]);
});

test("the server's words find their field, through a variant's name too", () => {
  const { schema } = formOf(SPEC);
  expect(placed("'port': Input should be less. see: syncline connectors spec", schema)).toEqual({ path: ["port"], message: "Input should be less" });
  expect(placed("'replication_method.CDC.slot': too long", schema)?.path).toEqual(["replication_method", "slot"]);
  expect(placed("connection refused", schema)).toBeNull();
});

function Held({ handle, said, told }: { handle: React.RefObject<SpecFormHandle | null>; said?: string; told: (value: Values) => void }) {
  const [value, setValue] = useState<Values>({ password: "**********" });
  return (
    <MantineProvider>
      <SpecForm ref={handle} spec={SPEC} value={value} said={said} change={(next) => { setValue(next); told(next); }} />
    </MantineProvider>
  );
}

test("a form marks what is missing, keeps stored secrets, and sends what was typed", async () => {
  const handle = createRef<SpecFormHandle>();
  let last: Values = {};
  render(<Held handle={handle} told={(value) => (last = value)} />);
  expect(handle.current!.check()).toBe(false);
  expect(await screen.findByText("This is needed.")).toBeTruthy();
  expect((screen.getByLabelText("Password") as HTMLInputElement).value).toBe("");
  fireEvent.change(screen.getByLabelText("Host", { exact: false }), { target: { value: "db.example.com" } });
  expect(last).toMatchObject({ host: "db.example.com", password: "**********" });
  expect(handle.current!.check()).toBe(true);
});

test("what the server said is shown at the field", async () => {
  render(<Held handle={createRef<SpecFormHandle>()} said="'host': no such name" told={() => undefined} />);
  expect(await screen.findByText("no such name")).toBeTruthy();
});
