/** Quality gates: what they said last and before, rows that they hold back, and how they are written. */
import { Alert, Badge, Button, Group, JsonInput, NumberInput, Select, Stack, Table, Text } from "@mantine/core";
import { IconRefresh } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { data, own, patiently, Problem } from "../../api/client";
import type { components } from "../../api/own";
import type { Detail } from "../../api/queries";
import { said } from "../../parts/act";
import { Confirm } from "../../parts/confirm";
import { CopyAs, curl, yaml } from "../../parts/copy_as";
import { Ago, Count } from "../../parts/moment";
import { Broken, Empty, Loading } from "../../parts/states";
import { local, plural } from "../../parts/words";
import { useSession } from "../../session";

type Verdicts = components["schemas"]["StreamQualityRead"];
type Held = components["schemas"]["StreamHeldRead"];
type Result = components["schemas"]["GateResultRead"];
type Gates = components["schemas"]["GatesBody"];

export default function Quality({ detail }: { detail: Detail }) {
  const { connectionId } = detail.connection;
  const { may } = useSession();
  const path = { connectionId };
  const verdicts = useQuery({ queryKey: ["connection", connectionId, "quality"], queryFn: () => data(own.GET("/connections/{connectionId}/quality", { params: { path } })) });
  const gates = useQuery({ queryKey: ["connection", connectionId, "gates"], queryFn: () => data(own.GET("/connections/{connectionId}/gates", { params: { path } })) });
  if (!verdicts.data || !gates.data) {
    const error = verdicts.error ?? gates.error;
    return error ? <Broken error={error} /> : <Loading />;
  }
  const back = verdicts.data.streams.some((stream) => !stream.published);
  return (
    <Stack gap="lg">
      {back && may("runner") && <HeldBack connectionId={connectionId} />}
      {verdicts.data.streams.length === 0 ? (
        <div className="sheet"><Empty title="Nothing was judged yet">A gate is a rule that rows keep before they become visible. What the gates say of each run appears here.</Empty></div>
      ) : (
        verdicts.data.streams.map((stream) => <Verdict key={stream.stream} stream={stream} />)
      )}
      <Written key={JSON.stringify(gates.data)} detail={detail} stored={gates.data} />
    </Stack>
  );
}

const STATES: Record<string, [word: string, color: string]> = {
  passed: ["Kept", "teal"],
  empty: ["Nothing to judge", "gray"],
  quarantined: ["Rows set aside", "orange"],
  warned: ["Warned", "orange"],
  blocked: ["Blocked", "red"],
};

function Verdict({ stream }: { stream: Verdicts }) {
  const shown = stream.history.slice(-40);
  return (
    <section className="sheet" aria-label={stream.stream.slice(0, 100)}>
      <Group p="md" pb={6} justify="space-between">
        <Text fw={650} className="break">{stream.stream}</Text>
        <Text size="sm" className="quiet">judged <Ago at={stream.judgedAt} />, <Link to={`/jobs/${stream.jobId}`}>job {stream.jobId}</Link>, {plural(stream.rows, "row")}</Text>
      </Group>
      <Group gap={3} px="md" pb="sm" align="flex-end" role="list" aria-label={`The last ${plural(shown.length, "verdict")}, oldest first`}>
        {shown.map((each, i) => {
          const words = `${each.published ? "published" : "held back"}${each.broken ? `, ${plural(each.broken, "gate")} broken` : ""}, ${each.rows.toLocaleString("en")} rows, ${local(each.at)}`;
          const color = !each.published ? "red" : each.broken ? "orange" : "teal";
          return (
            <span key={i} role="listitem">
              <Link to={`/jobs/${each.jobId}`} title={words} aria-label={words} style={{ display: "block", width: 9, height: 12 + 14 * Math.min(1, each.broken / 3), borderRadius: 2, background: `var(--mantine-color-${color}-6)` }} />
            </span>
          );
        })}
      </Group>
      <Results results={stream.results} />
    </section>
  );
}

function Results({ results }: { results: readonly Result[] }) {
  return (
    <Table.ScrollContainer minWidth={620}>
      <Table verticalSpacing={6}>
        <Table.Thead><Table.Tr><Table.Th>Gate</Table.Th><Table.Th>Verdict</Table.Th><Table.Th>Seen</Table.Th><Table.Th>Expected</Table.Th><Table.Th ta="right">Rows that break it</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {results.map((result) => {
            const [word, color] = STATES[result.status] ?? [result.status, "gray"];
            return (
              <Table.Tr key={result.gate}>
                <Table.Td className="break" maw={240}>{result.gate}<div className="quiet" style={{ fontSize: 12 }}>{result.severity}</div></Table.Td>
                <Table.Td><Badge variant="light" color={color} radius="sm" tt="none" className={`state state-${color}`}>{word}</Badge></Table.Td>
                <Table.Td className="break" maw={240}>{result.observed}</Table.Td>
                <Table.Td className="break" maw={240}>{result.expected}</Table.Td>
                <Table.Td ta="right">{result.failed < 0 ? "–" : <><Count value={result.failed} /> of <Count value={result.judged} /></>}</Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function HeldBack({ connectionId }: { connectionId: string }) {
  const { may, auth } = useSession();
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState<Held[]>([]);
  const path = { connectionId };
  const found = useQuery({
    queryKey: ["connection", connectionId, "quality", "held"],
    queryFn: ({ signal }) => patiently(() => data(own.GET("/connections/{connectionId}/quality/held", { params: { path } })), signal),
    retry: false,
    staleTime: 30_000,
  });
  const held = found.data?.streams.filter((stream) => stream.held) ?? [];
  const done = async (streams: Held[]) => {
    setProblems(streams.filter((stream) => stream.error));
    await client.invalidateQueries({ queryKey: ["connection", connectionId] });
  };
  const replay = async () => {
    setBusy(true);
    await said(async () => done((await patiently(() => data(own.POST("/connections/{connectionId}/quality/replay", { params: { path }, body: {} })))).streams));
    setBusy(false);
  };
  const publish = async (streams: string[]) => done((await patiently(() => data(own.POST("/connections/{connectionId}/quality/publish", { params: { path }, body: { streams } })))).streams);
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading rows={2} label="Asking the destination what is held back" />;
  if (held.length === 0) return null;
  return (
    <Alert color="red" className="failure" title={`${plural(held.length, "stream is", "streams are")} held back: the old data stays visible`}>
      <Stack gap="xs">
        {held.map((stream) => (
          <div key={stream.stream}>
            <Text className="break"><b>{stream.stream}</b> since <Ago at={stream.held!.since} />: {stream.held!.reason}</Text>
            {stream.held!.place && <Text size="sm" className="break">The new rows lie in <span className="mono">{stream.held!.place}</span>.</Text>}
          </div>
        ))}
        {problems.map((stream) => <Text key={stream.stream} role="alert" size="sm" className="break"><b>{stream.stream} still is:</b> {stream.error!.message}. {stream.error!.hint}</Text>)}
        <Group gap="xs">
          <Button size="xs" leftSection={<IconRefresh size={15} />} loading={busy} onClick={() => void replay()}>Judge them again</Button>
          {may("editor") && (
            <Confirm title="Publish them as they are?" verb="Publish" danger={false} act={() => publish(held.map((stream) => stream.stream))} trigger={(open) => <Button size="xs" variant="default" onClick={open}>Publish all the same</Button>}>
              Rows that break the gates become visible at the destination.
            </Confirm>
          )}
          <CopyAs forms={{ CLI: "syncline quality show PROJECT.yaml\nsyncline quality replay PROJECT.yaml", curl: curl({ method: "POST", path: `/api/syncline/v1/connections/${connectionId}/quality/replay` }, undefined, auth) }} />
        </Group>
      </Stack>
    </Alert>
  );
}

const STARTS: Record<string, Record<string, unknown>> = {
  "a value is always there": { not_null: "id" },
  "values come once": { unique: "id" },
  "values of a pattern": { regex: { column: "email", pattern: ".+@.+" }, severity: "quarantine" },
  "values of a list": { in_set: { column: "state", values: ["open", "closed"] } },
  "values in a range": { range: { column: "amount", min: 0 }, severity: "warn" },
  "so many rows at least": { min_records: 1 },
  "not many more or fewer than usual": { row_count: { change: "20%" } },
  "new enough": { freshness: { column: "updated_at", max_age: "24h" } },
  "a query of your own": { sql: "SELECT * FROM {staged} WHERE amount < 0" },
};

function Written({ detail, stored }: { detail: Detail; stored: Gates }) {
  const { connectionId, configurations } = detail.connection;
  const { may, auth } = useSession();
  const client = useQueryClient();
  const names = configurations.streams.map((stream) => (stream.namespace ? `${stream.namespace}.${stream.name}` : stream.name));
  const [stream, setStream] = useState(() => firstWith(stored));
  const [whole, setWhole] = useState<Gates>(stored);
  const part = (stream ? whole.streams?.[stream] : whole) ?? {};
  const [text, setText] = useState(() => JSON.stringify(part.gates ?? [], null, 2));
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const edit = may("editor");
  const gates = listed(text);
  const with_ = (block: { gates?: Record<string, unknown>[]; quarantine?: Gates["quarantine"] }): Gates =>
    stream ? { ...whole, streams: { ...whole.streams, [stream]: { gates: [], ...whole.streams?.[stream], ...block } } } : { ...whole, ...block };
  const write = (next: string) => {
    setText(next);
    const found = listed(next);
    if (found) setWhole(with_({ gates: found }));
  };
  const choose = (name: string) => {
    setStream(name);
    const there = name ? whole.streams?.[name]?.gates : whole.gates;
    setText(JSON.stringify(there ?? [], null, 2));
  };
  const changed = JSON.stringify(whole) !== JSON.stringify(stored);
  const save = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await data(own.PUT("/connections/{connectionId}/gates", { params: { path: { connectionId } }, body: whole }));
      await client.invalidateQueries({ queryKey: ["connection", connectionId] });
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    setBusy(false);
  };
  return (
    <section className="sheet" style={{ padding: 16 }} aria-label="The gates">
      <Stack gap="sm">
        <Group justify="space-between">
          <Text fw={650} component="h2" m={0}>The gates</Text>
          <CopyAs forms={{ YAML: yaml({ gates: whole.gates, streams: Object.entries(whole.streams ?? {}).map(([name, each]) => ({ name, ...each })) }).trimStart(), curl: curl({ method: "PUT", path: `/api/syncline/v1/connections/${connectionId}/gates`, body: whole }, undefined, auth) }} />
        </Group>
        <Group align="flex-end">
          <Select label="Of" size="xs" w={260} allowDeselect={false} value={stream} onChange={(value) => choose(value ?? "")} data={[{ value: "", label: "every stream" }, ...names.map((name) => ({ value: name, label: name.slice(0, 100) }))]} />
          {edit && <Select size="xs" w={260} aria-label="Add a gate" placeholder="Add a gate…" value={null} disabled={gates === null} data={Object.keys(STARTS)} onChange={(name) => name && write(JSON.stringify([...(gates ?? []), STARTS[name]], null, 2))} />}
        </Group>
        <JsonInput aria-label="Gates" readOnly={!edit} autosize minRows={4} maxRows={20} value={text} onChange={write} error={gates === null && "This is no list of gates in JSON."} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 12.5 } }} />
        <Group align="flex-end">
          <NumberInput size="xs" w={210} label="Rows set aside, at most" min={0} placeholder="1,000 or 0.1 %" disabled={!edit} value={part.quarantine?.maxRows ?? ""} onChange={(value) => setWhole(with_({ quarantine: { ...part.quarantine, maxRows: value === "" ? undefined : Number(value) } }))} />
          <NumberInput size="xs" w={210} label="Percent set aside, at most" min={0} max={100} disabled={!edit} value={part.quarantine?.maxPercent ?? ""} onChange={(value) => setWhole(with_({ quarantine: { ...part.quarantine, maxPercent: value === "" ? undefined : Number(value) } }))} />
        </Group>
        {problem && <Alert color="red" role="alert" title="It cannot be so" className="break failure">{problem.message}</Alert>}
        {edit && (
          <Group>
            <Button disabled={!changed || gates === null} loading={busy} onClick={() => void save()}>Keep these</Button>
            {changed && <Text size="sm" className="quiet">The next run judges by them; what is published stays.</Text>}
          </Group>
        )}
      </Stack>
    </section>
  );
}

/** Where there is something to see first: what holds for every stream, else the first stream with gates of its own. */
function firstWith(stored: Gates): string {
  if (stored.gates?.length) return "";
  return Object.entries(stored.streams ?? {}).find(([, each]) => each.gates?.length)?.[0] ?? "";
}

function listed(text: string): Record<string, unknown>[] | null {
  try {
    const found: unknown = JSON.parse(text || "[]");
    return Array.isArray(found) && found.every((each) => typeof each === "object" && each !== null && !Array.isArray(each)) ? (found as Record<string, unknown>[]) : null;
  } catch {
    return null;
  }
}
