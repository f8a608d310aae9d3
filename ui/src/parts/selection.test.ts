import { configured, consequences, keyOf, lacking, offeredBy, wantedBy, type Wanted } from "./selection";

const catalog = {
  streams: [
    {
      stream: { name: "orders", namespace: "public", jsonSchema: { properties: { id: { type: ["null", "integer"] }, at: { type: "string", format: "date-time" } } }, supportedSyncModes: ["full_refresh", "incremental"], defaultCursorField: ["at"], sourceDefinedPrimaryKey: [["id"]] },
      config: { syncMode: "incremental", destinationSyncMode: "append_dedup", cursorField: ["at"], primaryKey: [["id"]], selected: true },
    },
    { stream: { name: "notes", jsonSchema: { properties: {} } }, config: { syncMode: "full_refresh", destinationSyncMode: "overwrite", selected: false } },
  ],
} as unknown as Parameters<typeof offeredBy>[0];

test("what is read is written the same", () => {
  const offered = offeredBy(catalog);
  expect(offered[0]).toMatchObject({ key: ["id"], cursor: "at", fields: [{ name: "id", type: "integer" }, { name: "at", type: "date-time" }] });
  expect(configured(offered, wantedBy(catalog))).toEqual([{ name: "orders", namespace: "public", syncMode: "incremental_deduped_history", cursorField: ["at"] }]);
});

test("what this page does not show is kept", () => {
  const kept = [{ name: "orders", namespace: "public", mappers: [{ type: "hashing" }] }];
  expect(configured(offeredBy(catalog), wantedBy(catalog), kept)[0]).toMatchObject({ mappers: [{ type: "hashing" }] });
});

test("names in other namespaces are others, whatever they hold", () => {
  expect(keyOf({ name: "b", namespace: "a" })).not.toBe(keyOf({ name: "a.b" }));
  expect(keyOf({ name: '","', namespace: null })).not.toBe(keyOf({ name: "", namespace: "," }));
});

test("a key of one's own is sent, the source's is not", () => {
  const offered = offeredBy(catalog);
  const wanted = new Map([[keyOf(offered[0]!), { mode: "incremental_deduped_history", cursor: "at", key: ["id", "at"], columns: ["id", "at"] } satisfies Wanted]]);
  expect(configured(offered, wanted)[0]).toMatchObject({ primaryKey: [["id"], ["at"]], selectedFields: [{ fieldPath: ["id"] }, { fieldPath: ["at"] }] });
});

test("what is missing and what a change means is said", () => {
  const offered = offeredBy(catalog);
  const before = wantedBy(catalog);
  const after = new Map([[keyOf(offered[0]!), { mode: "incremental_deduped_history", cursor: null, key: [], columns: null }]]);
  expect(lacking(offered, after)).toEqual(["orders needs a cursor column", "orders needs a key"]);
  expect(consequences(offered, before, new Map())).toEqual([{ stream: "orders", says: "is left out from now on. What was written stays at the destination." }]);
  expect(consequences(offered, before, before)).toEqual([]);
});
