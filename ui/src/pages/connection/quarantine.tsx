/** Rows that were set aside: why, what they hold; written after all, or dropped. */
import { Alert, Button, Checkbox, Group, Pagination, Stack, Table, Text } from "@mantine/core";
import { IconRefresh, IconRestore } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useSearchParams } from "react-router";
import { data, own, patiently } from "../../api/client";
import type { components } from "../../api/own";
import type { Detail } from "../../api/queries";
import { said } from "../../parts/act";
import { Confirm } from "../../parts/confirm";
import { CopyAs, curl, quoted } from "../../parts/copy_as";
import { Ago, Count } from "../../parts/moment";
import { Broken, Empty, Loading, Note } from "../../parts/states";
import { plural } from "../../parts/words";
import { useSession } from "../../session";
import { Value } from "./mappings";

type Row = components["schemas"]["QuarantinedRowRead"];
type Replayed = components["schemas"]["ReplayedRead"];
const PAGE = 25;

export default function Quarantine({ detail }: { detail: Detail }) {
  const { connectionId } = detail.connection;
  const { may } = useSession();
  const [query, setQuery] = useSearchParams();
  const stream = query.get("stream");
  const reason = query.get("reason");
  const found = useQuery({
    queryKey: ["connection", connectionId, "quarantine"],
    queryFn: ({ signal }) => patiently(() => data(own.GET("/connections/{connectionId}/quarantine", { params: { path: { connectionId } } })), signal),
    enabled: may("runner"),
    retry: false,
    staleTime: 30_000,
  });
  if (!may("runner")) return <Note>Rows are shown to runners and up.</Note>;
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading label="Asking the destination" />;
  const rows = found.data.streams.reduce((sum, each) => sum + each.rows, 0);
  const choose = (next: string | null, why: string | null) => setQuery(next ? { stream: next, ...(why ? { reason: why } : {}) } : {}, { replace: true });
  return (
    <Stack>
      <Group justify="space-between">
        <Text size="sm" className="quiet" maw={640}>
          Rows that the destination could not hold, or that broke a gate of severity “quarantine”. They lie beside the destination, with their own bytes: read = written + quarantined.
        </Text>
        <Group gap="xs">
          <Button size="xs" variant="default" leftSection={<IconRefresh size={15} />} loading={found.isFetching} onClick={() => void found.refetch()}>Look again</Button>
          <CopyAs forms={{ CLI: "syncline quarantine list PROJECT.yaml\nsyncline quarantine show PROJECT.yaml -s STREAM", curl: `curl '${window.location.origin}/api/syncline/v1/connections/${connectionId}/quarantine'` }} />
        </Group>
      </Group>
      {rows === 0 ? (
        <div className="sheet"><Empty title="Nothing lies in quarantine">Every row that was read is at the destination.</Empty></div>
      ) : (
        <div className="sheet">
          <Table.ScrollContainer minWidth={560}>
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Stream</Table.Th><Table.Th>Column</Table.Th><Table.Th>Reason</Table.Th><Table.Th ta="right">Rows</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {found.data.streams.flatMap((each) =>
                  each.reasons.map((why, i) => {
                    const here = stream === each.stream && reason === why.reason;
                    return (
                      <Table.Tr key={`${each.stream} ${i}`} bg={here ? "var(--soft)" : undefined}>
                        <Table.Td className="break" maw={220}>{each.stream}</Table.Td>
                        <Table.Td className="break mono" maw={160}>{why.column ?? "–"}</Table.Td>
                        <Table.Td maw={460}>
                          <button type="button" className="as-link break" aria-pressed={here} onClick={() => choose(here ? null : each.stream, why.reason)}>{why.reason}</button>
                        </Table.Td>
                        <Table.Td ta="right"><Count value={why.rows} /></Table.Td>
                      </Table.Tr>
                    );
                  }),
                )}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </div>
      )}
      {stream && <Rows key={`${stream} ${reason}`} connectionId={connectionId} stream={stream} reason={reason} />}
    </Stack>
  );
}

function Rows({ connectionId, stream, reason }: { connectionId: string; stream: string; reason: string | null }) {
  const { may, auth } = useSession();
  const client = useQueryClient();
  const [page, setPage] = useState(1);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [outcome, setOutcome] = useState<Replayed | null>(null);
  const [busy, setBusy] = useState(false);
  const path = { connectionId };
  const found = useQuery({
    queryKey: ["connection", connectionId, "quarantine", stream, reason, page],
    queryFn: ({ signal }) =>
      patiently(() => data(own.GET("/connections/{connectionId}/quarantine/rows", { params: { path, query: { stream, limit: PAGE, offset: (page - 1) * PAGE, ...(reason ? { reason } : {}) } } })), signal),
    retry: false,
    staleTime: 30_000,
    placeholderData: (before) => before,
  });
  const again = async () => {
    setChosen(new Set());
    await client.invalidateQueries({ queryKey: ["connection", connectionId, "quarantine"] });
  };
  const replay = async (body: { stream: string; ids?: string[]; all: boolean }) => {
    setBusy(true);
    await said(async () => {
      setOutcome(await patiently(() => data(own.POST("/connections/{connectionId}/quarantine/replay", { params: { path }, body }))));
      await again();
    });
    setBusy(false);
  };
  const drop = async (body: { stream: string; ids?: string[]; all: boolean }) => {
    await patiently(() => data(own.POST("/connections/{connectionId}/quarantine/drop", { params: { path }, body })));
    setOutcome(null);
    await again();
  };
  if (!found.data) return found.error ? <Broken error={found.error} /> : <Loading label="Reading the rows" />;
  // What became of the last ones is still told when none is left.
  const none = found.data.total === 0;
  if (none && !outcome) return null;
  const ids = [...chosen];
  const toggle = (id: string) => setChosen((before) => { const after = new Set(before); if (!after.delete(id)) after.add(id); return after; });
  return (
    <Stack>
      {outcome && (
        <Alert color={outcome.written > 0 ? "teal" : "orange"} withCloseButton closeButtonLabel="Close" onClose={() => setOutcome(null)} title={`${plural(outcome.written, "row")} written${outcome.aside ? `, ${outcome.aside} refused again` : ""}`}>
          {outcome.stays.slice(0, 10).map((each) => <Text key={each.id} size="sm" className="break"><span className="mono">{each.id}</span> stays: {each.why}</Text>)}
          {outcome.stays.length > 10 && <Text size="sm">and {outcome.stays.length - 10} more stay.</Text>}
        </Alert>
      )}
      <Group justify="space-between" display={none ? "none" : undefined}>
        <Text fw={650} className="break">{stream}: {plural(found.data.total, "row")}</Text>
        <Group gap="xs">
          <Button size="xs" leftSection={<IconRestore size={15} />} loading={busy} disabled={ids.length === 0} onClick={() => void replay({ stream, ids, all: false })}>Write {ids.length > 0 ? plural(ids.length, "row") : "the chosen"} after all</Button>
          <Button size="xs" variant="default" loading={busy} onClick={() => void replay({ stream, all: true })}>Write all of the stream</Button>
          {may("editor") && (
            <Confirm title="Drop these rows for good?" verb="Drop them" act={() => drop({ stream, ids, all: false })} trigger={(open) => <Button size="xs" color="red" variant="light" disabled={ids.length === 0} onClick={open}>Drop the chosen</Button>}>
              {plural(ids.length, "row")} of <b className="break">{stream}</b> can then not be written any more. The source keeps its own.
            </Confirm>
          )}
          <CopyAs
            forms={{
              CLI: `syncline quarantine replay PROJECT.yaml -s '${quoted(stream)}'${ids.map((id) => ` --id ${id}`).join("")}`,
              curl: curl({ method: "POST", path: `/api/syncline/v1/connections/${connectionId}/quarantine/replay`, body: ids.length ? { stream, ids } : { stream, all: true } }, undefined, auth),
            }}
          />
        </Group>
      </Group>
      {found.data.rows.map((row) => (
        <OneRow key={row.id} row={row} chosen={chosen.has(row.id)} toggle={() => toggle(row.id)} />
      ))}
      {found.data.total > PAGE && <Pagination total={Math.ceil(found.data.total / PAGE)} value={page} onChange={setPage} getControlProps={(control) => ({ "aria-label": `${control} page` })} getItemProps={(n) => ({ "aria-label": `Page ${n}` })} />}
    </Stack>
  );
}

function OneRow({ row, chosen, toggle }: { row: Row; chosen: boolean; toggle: () => void }) {
  return (
    <section className="sheet" aria-label={`Row ${row.id}`}>
      <Group p="sm" gap="sm" justify="space-between" style={{ borderBottom: "1px solid var(--line)" }}>
        <Checkbox checked={chosen} onChange={toggle} disabled={!row.id} label={<span className="mono break">{row.id || "(no id)"}</span>} />
        <Text size="sm" className="quiet break"><Ago at={row.at} /> · run {row.syncId} · {row.partition}{!row.replayable && " · its bytes were not kept"}</Text>
      </Group>
      <Text size="sm" px="md" pt="sm" className="break"><b>{row.column ?? "the row"}</b>: {row.reason}</Text>
      <dl className="cells">
        {row.record.map((cell) => (
          <div key={cell.column} className={cell.column === row.column ? "wrong" : undefined}>
            <dt className="quiet break">{cell.column}</dt>
            <dd className="mono break"><Value value={cell.value} /></dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
