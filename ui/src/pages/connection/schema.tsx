/** The source's shape as it was last seen, and what of it the connection takes. */
import { Group, Stack, Text, TextInput } from "@mantine/core";
import { IconKey, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { catalogOf, type Detail } from "../../api/queries";
import { keyOf, offeredBy, wantedBy } from "../../parts/selection";
import { Broken, Empty, Loading } from "../../parts/states";

const UPDATES: Record<string, string> = {
  ignore: "New columns and streams at the source are left out until somebody takes them.",
  disable_connection: "A changed shape at the source pauses the connection until somebody looks.",
  propagate_columns: "New columns at the source are taken by themselves.",
  propagate_fully: "New columns and new streams at the source are taken by themselves.",
};

export default function Schema({ detail }: { detail: Detail }) {
  const catalog = useQuery(catalogOf(detail.connection.connectionId));
  const [text, setText] = useState("");
  const offered = useMemo(() => offeredBy(catalog.data?.syncCatalog), [catalog.data]);
  const wanted = useMemo(() => wantedBy(catalog.data?.syncCatalog), [catalog.data]);
  if (!catalog.data) return catalog.error ? <Broken error={catalog.error} again={() => void catalog.refetch()} /> : <Loading />;
  const taken = offered.filter((stream) => wanted.has(keyOf(stream)));
  const word = text.toLowerCase();
  const shown = taken.filter((stream) => stream.name.toLowerCase().includes(word) || stream.fields.some((field) => field.name.toLowerCase().includes(word))).slice(0, 200);
  return (
    <Stack>
      <Text size="sm" className="quiet">
        {UPDATES[detail.connection.nonBreakingSchemaUpdatesBehavior]} Removed columns stay at the destination and are empty from then on.
      </Text>
      <TextInput aria-label="Filter streams and columns" placeholder="Filter streams and columns" leftSection={<IconSearch size={15} />} maw={360} value={text} onChange={(e) => setText(e.currentTarget.value)} />
      {shown.length === 0 && <Empty title="Nothing to show">{taken.length === 0 ? "The source was not looked at yet: do so under Streams." : "Nothing fits the filter."}</Empty>}
      <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(min(100%, 320px), 1fr))", gap: 14, alignItems: "start" }}>
        {shown.map((stream) => {
          const columns = wanted.get(keyOf(stream))?.columns;
          return (
            <section key={keyOf(stream)} className="sheet" aria-label={stream.name.slice(0, 100)}>
              <div style={{ padding: "10px 14px", borderBottom: "1px solid var(--line)" }}>
                <div className="clip" style={{ fontWeight: 650 }} title={stream.name.slice(0, 300)}>{stream.name}</div>
                <div className="quiet clip" style={{ fontSize: 12 }}>{stream.namespace}</div>
              </div>
              <ul style={{ listStyle: "none", margin: 0, padding: "6px 14px 10px", maxHeight: 360, overflow: "auto" }} tabIndex={0}>
                {stream.fields.map((field) => {
                  const out = columns != null && !columns.includes(field.name);
                  return (
                    <li key={field.name}>
                      <Group gap={8} wrap="nowrap" py={3}>
                        <span className="clip" style={{ flex: 1, textDecoration: out ? "line-through" : undefined }} title={field.name.slice(0, 300)}>{field.name}</span>
                        {stream.key.includes(field.name) && <IconKey size={14} aria-label="part of the key" />}
                        {out && <span className="quiet" style={{ fontSize: 12 }}>not taken</span>}
                        <span className="quiet mono">{field.type}</span>
                      </Group>
                    </li>
                  );
                })}
              </ul>
            </section>
          );
        })}
      </div>
    </Stack>
  );
}
