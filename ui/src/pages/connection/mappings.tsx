/** What becomes of streams and columns on their way, with rows before and after, and a draft tried before it is kept. */
import { Alert, Button, Group, JsonInput, Select, Stack, Table, Text } from "@mantine/core";
import { IconEye } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { data, own, patiently } from "../../api/client";
import type { components } from "../../api/own";
import { heard, type Detail } from "../../api/queries";
import { said } from "../../parts/act";
import { CopyAs, curl, yaml } from "../../parts/copy_as";
import { Empty, Loading } from "../../parts/states";
import { plural } from "../../parts/words";
import { useSession } from "../../session";

type Mapped = components["schemas"]["MappedStreamRead"];
type Block = Record<string, unknown>;

/** Beginnings, each a block of its own; the names in them are examples to be replaced. */
const STARTS: Record<string, Block> = {
  "rename columns": { from: "public.customers", field_mappings: { full_name: "name" } },
  "leave columns out": { from: "public.customers", drop: ["internal_note"] },
  "hash a column": { from: "public.customers", steps: [{ hash: ["email"] }] },
  "mask a column": { from: "public.customers", steps: [{ mask: ["phone"], keep_last: 3 }] },
  "keep some rows": { from: "public.customers", steps: [{ filter: "country = 'DE'" }] },
  "derive a column": { from: "public.customers", steps: [{ derive: { domain: "split_part(email, '@', 2)" } }] },
  "cast a column": { from: "public.customers", steps: [{ cast: { amount: "double" } }] },
  "rename a stream": { from: "public.customers", to: "people" },
  "leave a stream out": { from: "public.customers", select: false },
};

export default function Mappings({ detail }: { detail: Detail }) {
  const { connectionId } = detail.connection;
  const { may, auth } = useSession();
  const client = useQueryClient();
  const stored = detail.options.mappings ?? [];
  const [text, setText] = useState(() => JSON.stringify(stored, null, 2));
  const edited = text.trim() !== JSON.stringify(stored, null, 2);
  const blocks = parsed(text);
  const look = useMutation({
    mutationFn: () => patiently(() => data(own.POST("/connections/{connectionId}/mappings/preview", { params: { path: { connectionId } }, body: { rows: 5, ...(edited ? { mappings: blocks ?? [] } : {}) } }))),
  });
  const save = () =>
    said(async () => {
      await data(own.PATCH("/connections/{connectionId}", { params: { path: { connectionId } }, body: { options: { mappings: blocks ?? [] } } }));
      heard(client, connectionId);
    }, "The mappings are kept; the next run follows them.");
  const edit = may("editor");
  return (
    <Stack>
      <Group justify="space-between" align="flex-end">
        <Text size="sm" className="quiet" maw={640}>
          Blocks, one after the other: which streams and columns are taken, renamed, cast, hashed, masked, encrypted, derived, filtered. What is dropped or hashed never reaches the destination.
        </Text>
        <CopyAs
          forms={{
            CLI: "syncline discover PROJECT.yaml --after-mappings",
            curl: curl({ method: "POST", path: `/api/syncline/v1/connections/${connectionId}/mappings/preview`, body: { mappings: blocks ?? [], rows: 5 } }, undefined, auth),
            YAML: yaml({ mappings: blocks ?? [] }).trimStart(),
          }}
        />
      </Group>
      {edit && (
        <Select w={260} size="xs" aria-label="Add a block" placeholder="Add a block…" value={null} disabled={blocks === null} data={Object.keys(STARTS)} onChange={(name) => name && setText(JSON.stringify([...(blocks ?? []), STARTS[name]], null, 2))} />
      )}
      <JsonInput aria-label="Mappings" readOnly={!edit} autosize minRows={5} maxRows={22} value={text} onChange={setText} error={blocks === null && "This is no list of blocks in JSON."} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 12.5 } }} />
      <Group>
        <Button leftSection={<IconEye size={16} />} variant={edited ? "filled" : "default"} disabled={!may("runner") || blocks === null} loading={look.isPending} onClick={() => look.mutate()}>
          {edited ? "See what this does" : "Show rows before and after"}
        </Button>
        {edit && (
          <Button disabled={!edited || blocks === null || !look.isSuccess} variant={look.isSuccess && edited ? "filled" : "default"} onClick={() => void save()}>
            Keep these
          </Button>
        )}
        {edited && <Button variant="subtle" onClick={() => setText(JSON.stringify(stored, null, 2))}>Discard</Button>}
        {edited && !look.isSuccess && <Text size="sm" className="quiet">First see what they do: a mapping that cannot be is found there.</Text>}
      </Group>
      {look.isPending && <Loading rows={4} label="Reading some rows" />}
      {look.error && <Alert color="red" title="It cannot be so" role="alert" className="break failure">{look.error.message}</Alert>}
      {look.data && <Previews streams={look.data.streams} />}
    </Stack>
  );
}

function parsed(text: string): Block[] | null {
  try {
    const found: unknown = JSON.parse(text || "[]");
    return Array.isArray(found) && found.every((each) => typeof each === "object" && each !== null) ? (found as Block[]) : null;
  } catch {
    return null;
  }
}

function Previews({ streams }: { streams: Mapped[] }) {
  if (streams.length === 0) return <Empty title="No stream is left">The mappings take none, or the source has none.</Empty>;
  const changed = streams.filter((each) => each.steps.length > 0);
  const plain = streams.length - changed.length;
  return (
    <Stack>
      {changed.map((each) => (
        <section key={each.source} className="sheet" aria-label={each.source.slice(0, 100)}>
          <Text p="md" pb={6} fw={650} className="break">
            {each.source} <span aria-label="becomes">→</span> {each.stream}
            {each.key.length > 0 && <Text span size="sm" className="quiet" fw={400}> key: {each.key.join(", ")}</Text>}
          </Text>
          <ol style={{ margin: "0 0 8px", paddingLeft: 36 }}>
            {each.steps.map((step, i) => <li key={i} className="mono break">{JSON.stringify(step)}</li>)}
          </ol>
          <Sample title="Before" columns={each.before} rows={each.rowsBefore} />
          <Sample title="After" columns={each.after} rows={each.rowsAfter} />
          {each.rowsBefore.length > each.rowsAfter.length && <Text size="sm" px="md" pb="sm">{plural(each.rowsBefore.length - each.rowsAfter.length, "of these rows does", "of these rows do")} not pass the filter.</Text>}
          {each.note && <Text size="sm" px="md" pb="sm" className="quiet break">{each.note}</Text>}
        </section>
      ))}
      {plain > 0 && <Text size="sm" className="quiet">{plural(plain, "stream passes", "streams pass")} as {plain === 1 ? "it is" : "they are"}.</Text>}
    </Stack>
  );
}

function Sample({ title, columns, rows }: { title: string; columns: Mapped["before"]; rows: (string | null)[][] }) {
  return (
    <Table.ScrollContainer minWidth={Math.max(320, columns.length * 110)} maxHeight={320}>
      <Table verticalSpacing={4} style={{ fontSize: 12.5 }}>
        <Table.Caption style={{ captionSide: "top", textAlign: "left", padding: "4px 16px", marginTop: 0, color: "var(--quiet)" }}>{title}</Table.Caption>
        <Table.Thead>
          <Table.Tr>{columns.map((column) => <Table.Th key={column.name} className="clip" maw={220} title={column.name.slice(0, 300)}>{column.name} <span className="quiet mono" style={{ fontWeight: 400 }}>{column.type.slice(0, 40)}</span></Table.Th>)}</Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row, i) => (
            <Table.Tr key={i}>{row.map((value, j) => <Table.Td key={j} className="clip mono" maw={220} title={value?.slice(0, 500)}><Value value={value} /></Table.Td>)}</Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

/** A cell as text: what is missing, what is empty and what is a word are told apart. */
export function Value({ value }: { value: string | null | undefined }) {
  if (value == null) return <span className="quiet">NULL</span>;
  if (value === "") return <span className="quiet">(empty)</span>;
  return <>{value.slice(0, 500)}</>;
}
