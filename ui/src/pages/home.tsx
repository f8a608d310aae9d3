/** Is my data fresh, what failed and why, what do I do now: every connection at a glance. */
import { ActionIcon, Badge, Button, Chip, CloseButton, Group, SimpleGrid, Stack, Text, TextInput, Tooltip } from "@mantine/core";
import { IconArrowRight, IconPlayerPlay, IconPlayerStop, IconPlus, IconSearch } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useDeferredValue, useMemo, useRef, type ReactNode } from "react";
import { Link, useSearchParams } from "react-router";
import { data, pub } from "../api/client";
import { heard, overview, type Glance } from "../api/queries";
import { said } from "../parts/act";
import { RowsLine, RunBars } from "../parts/bars";
import { Head } from "../parts/head";
import { Ago, useNow } from "../parts/moment";
import { Broken, Empty, FailureBox, Loading } from "../parts/states";
import { HEALTHS, look, Status } from "../parts/status";
import { plural, span } from "../parts/words";
import { May, useSession } from "../session";

export function Home() {
  const found = useQuery({ ...overview, refetchInterval: 15_000 });
  const { workspaceId } = useSession();
  const glances = useMemo(() => found.data?.connections.filter((each) => each.workspaceId === workspaceId), [found.data, workspaceId]);
  if (!glances) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading rows={9} />;
  if (glances.length === 0) return <Welcome />;
  return <Overview glances={glances} />;
}

function Welcome() {
  return (
    <>
      <Head title="Home" />
      <div className="sheet">
        <Empty
          title="Nothing is replicated yet"
          action={
            <May right="editor" instead={<Text>Ask an editor of this workspace to set one up.</Text>}>
              <Button component={Link} to="/setup" size="md" leftSection={<IconPlus size={18} />}>
                Set up the first connection
              </Button>
            </May>
          }
        >
          A connection copies from a source to a destination, by a schedule or as changes happen. Three minutes are enough: name
          your database, choose tables, name where they should go.
        </Empty>
      </div>
    </>
  );
}

function Overview({ glances }: { glances: Glance[] }) {
  const now = useNow(5000);
  const [query, setQuery] = useSearchParams();
  const text = query.get("q") ?? "";
  const health = query.get("health") ?? "";
  const wanted = useDeferredValue(text);
  const set = (key: string, value: string) =>
    setQuery((before) => {
      const after = new URLSearchParams(before);
      if (value) after.set(key, value);
      else after.delete(key);
      return after;
    }, { replace: true });

  const counts = useMemo(() => {
    const found: Record<string, number> = {};
    for (const glance of glances) found[glance.health] = (found[glance.health] ?? 0) + 1;
    return found;
  }, [glances]);
  const shown = useMemo(() => filtered(glances, wanted, health), [glances, wanted, health]);
  const urgent = glances.filter((glance) => needsPerson(glance));

  return (
    <>
      <Head title="Home" sub={summary(counts, glances.length)}>
        <May right="editor">
          <Button component={Link} to="/setup" leftSection={<IconPlus size={16} />}>
            Set up a connection
          </Button>
        </May>
      </Head>
      {urgent.length > 0 && <Urgent glances={urgent} />}
      <Group mb="sm" gap="sm" align="center">
        <TextInput
          aria-label="Filter connections"
          placeholder="Filter by name, source, destination, tag"
          leftSection={<IconSearch size={16} />}
          rightSection={text && <CloseButton size="sm" aria-label="Clear the filter" onClick={() => set("q", "")} />}
          value={text}
          onChange={(e) => set("q", e.currentTarget.value)}
          style={{ flex: "1 1 260px", maxWidth: 420 }}
        />
        <Chip.Group value={health} onChange={(value) => set("health", value === health ? "" : (value as string))}>
          <Group gap={6}>
            {HEALTHS.filter((each) => counts[each]).map((each) => (
              <Chip key={each} value={each} size="sm" variant="outline" onClick={() => health === each && set("health", "")}>
                {look(each).word} {counts[each]}
              </Chip>
            ))}
          </Group>
        </Chip.Group>
      </Group>
      <div className="sheet">
        <List glances={shown} now={now} />
      </div>
    </>
  );
}

/** Which of them, and the worst first. */
export function filtered(glances: Glance[], text: string, health: string): Glance[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const order = new Map<string, number>(HEALTHS.map((each, i) => [each, i]));
  return glances
    .filter((glance) => !health || glance.health === health)
    .filter((glance) => {
      if (words.length === 0) return true;
      const tags = (glance.tags ?? []).map((tag) => tag.name).join(" ");
      const all = `${glance.name} ${glance.source.name} ${glance.source.type} ${glance.destination.name} ${glance.destination.type} ${tags}`.toLowerCase();
      return words.every((word) => all.includes(word));
    })
    .sort((a, b) => order.get(a.health)! - order.get(b.health)! || a.name.localeCompare(b.name));
}

export function needsPerson(glance: Glance): boolean {
  return glance.health === "failing" || glance.health === "late" || (glance.status === "inactive" && Boolean(glance.statusReason));
}

function summary(counts: Record<string, number>, total: number): string {
  const said = HEALTHS.filter((each) => counts[each]).map((each) => `${counts[each]} ${look(each).word.toLowerCase()}`);
  return `${plural(total, "connection")}: ${said.join(", ")}`;
}

const MOST_URGENT = 4;

function Urgent({ glances }: { glances: Glance[] }) {
  return (
    <section aria-labelledby="urgent" style={{ marginBottom: 24 }}>
      <Group gap={8} mb="xs">
        <Text id="urgent" component="h2" fw={650}>
          Needs a person now
        </Text>
        <Badge color="red.8" variant="filled" circle={glances.length < 10}>
          {glances.length}
        </Badge>
      </Group>
      <SimpleGrid cols={{ base: 1, lg: glances.length > 1 ? 2 : 1 }} spacing="sm">
        {glances.slice(0, MOST_URGENT).map((glance) => (
          <UrgentCard key={glance.connectionId} glance={glance} />
        ))}
      </SimpleGrid>
      {glances.length > MOST_URGENT && (
        <Text size="sm" mt="xs" className="quiet">
          and {glances.length - MOST_URGENT} more, first in the list below
        </Text>
      )}
    </section>
  );
}

function UrgentCard({ glance }: { glance: Glance }) {
  const failed = glance.recent.find((run) => run.status === "failed");
  const actions: ReactNode = (
    <>
      <May right="editor">
        {endsToMend(glance).map((end) => (
          <Button key={end.to} component={Link} to={end.to} size="xs" rightSection={<IconArrowRight size={14} />}>
            {end.say}
          </Button>
        ))}
      </May>
      {failed && (
        <Button component={Link} to={`/jobs/${failed.jobId}`} size="xs" variant="default">
          Job {failed.jobId} and its log
        </Button>
      )}
    </>
  );
  return (
    <Stack className="sheet" p="md" gap="sm">
      <Group justify="space-between" wrap="nowrap">
        <Link to={`/connections/${glance.connectionId}`} className="plain clip" style={{ fontWeight: 650 }}>
          {glance.name}
        </Link>
        <Status status={glance.health} />
      </Group>
      {glance.health === "failing" && glance.error ? (
        <FailureBox failure={glance.error} action={actions} />
      ) : (
        <>
          <Text size="sm" className="break">
            {glance.statusReason ?? lateText(glance)}
          </Text>
          <Group>{actions}</Group>
        </>
      )}
    </Stack>
  );
}

function lateText(glance: Glance): string {
  const expected = glance.expectedSeconds == null ? "" : ` Its schedule promises data not older than ${span(glance.expectedSeconds)}.`;
  return `The data is older than it should be.${expected} Look whether a run hangs, or the server was down.`;
}

/** Where a failure is mended: at the settings of the end that it names, or of both where both are of its kind. */
export function endsToMend(glance: Glance): { to: string; say: string }[] {
  if (glance.health !== "failing" || !glance.error || glance.error.retryable) return [];
  const place = (glance.error.where?.connector ?? "").toLowerCase();
  const ends = [
    { role: "source", end: glance.source },
    { role: "destination", end: glance.destination },
  ];
  return ends
    .filter(({ role, end }) => place !== "" && (place.startsWith(role) || place === end.type))
    .map(({ role, end }) => ({ to: `/${role}s/${end.id}`, say: `Open ${end.name.slice(0, 40)}` }));
}

function List({ glances, now }: { glances: Glance[]; now: number }) {
  const frame = useRef<HTMLDivElement>(null);
  const rows = useWindowVirtualizer({
    count: glances.length,
    estimateSize: () => 64,
    overscan: 8,
    scrollMargin: frame.current?.offsetTop ?? 0,
    getItemKey: (i) => glances[i]!.connectionId,
  });
  if (glances.length === 0) return <Empty title="No connection fits">Change the words or the states to look for.</Empty>;
  return (
    <div role="table" aria-label="Connections" aria-rowcount={glances.length + 1}>
      <div role="row" aria-rowindex={1} className="grid-row head home-row">
        {["State", "Connection", "Freshness", "Last runs", "Rows", "Next run", "Actions"].map((name, i) => (
          <span role="columnheader" key={name} className={i === 6 ? "sr-only" : undefined}>
            {name}
          </span>
        ))}
      </div>
      <div ref={frame} role="rowgroup" style={{ height: rows.getTotalSize(), position: "relative" }}>
        {rows.getVirtualItems().map((row) => (
          <div
            key={row.key}
            ref={rows.measureElement}
            data-index={row.index}
            role="row"
            aria-rowindex={row.index + 2}
            className="grid-row body home-row"
            style={{ position: "absolute", top: 0, left: 0, right: 0, transform: `translateY(${row.start - rows.options.scrollMargin}px)` }}
          >
            <Row glance={glances[row.index]!} now={now} />
          </div>
        ))}
      </div>
    </div>
  );
}

function Row({ glance, now }: { glance: Glance; now: number }) {
  return (
    <>
      <span role="cell">
        <Status status={glance.health} />
      </span>
      <span role="cell" style={{ minWidth: 0, gridRow: "auto" }}>
        <Link to={`/connections/${glance.connectionId}`} className="plain clip" style={{ display: "block", fontWeight: 600 }} title={glance.name.slice(0, 300)}>
          {glance.name}
        </Link>
        <span className="quiet clip" style={{ display: "block", fontSize: 12.5 }}>
          {glance.source.name} <span aria-label="to">→</span> {glance.destination.name}
          {glance.fanOut && ` · read together as ${glance.fanOut.connection.slice(0, 60)}`}
        </span>
      </span>
      <span role="cell">
        <Freshness glance={glance} now={now} live={glance.scheduleKind === "continuous" && glance.activeJobId != null} />
      </span>
      <span role="cell" className="wide">
        <RunBars runs={glance.recent} />
      </span>
      <span role="cell" className="wide">
        <RowsLine runs={glance.recent} />
      </span>
      <span role="cell" className="wide quiet" style={{ fontSize: 13 }}>
        {glance.nextRunAt ? <Ago at={glance.nextRunAt} now={now} /> : { manual: "by hand", after: "after others", continuous: "always" }[glance.scheduleKind] ?? "–"}
      </span>
      <span role="cell" className="wide" style={{ textAlign: "right" }}>
        <RunOrStop glance={glance} />
      </span>
    </>
  );
}

/** How old the data is against how old it may be: a bar that is full when the promise is used up. */
export function Freshness({ glance, now, live = false }: { glance: Pick<Glance, "dataFrom" | "expectedSeconds" | "health">; now: number; live?: boolean }) {
  if (live) return <span>follows the log</span>;
  if (!glance.dataFrom) return <span className="quiet">no data yet</span>;
  const age = (now - Date.parse(glance.dataFrom)) / 1000;
  const used = glance.expectedSeconds ? Math.min(1, age / glance.expectedSeconds) : 0;
  const color = glance.health === "late" || glance.health === "failing" ? "var(--mantine-color-orange-6)" : "var(--mantine-primary-color-filled)";
  return (
    <span style={{ display: "block" }}>
      <span className="num" style={{ fontSize: 14 }}>
        <Ago at={glance.dataFrom} now={now} />
      </span>
      {glance.expectedSeconds ? (
        <Tooltip label={`The schedule promises data not older than ${span(glance.expectedSeconds)}.`}>
          <span style={{ display: "flex", alignItems: "center", gap: 6, fontSize: 12 }} className="quiet">
            <span style={{ width: 54, height: 4, borderRadius: 2, background: "var(--line)", overflow: "hidden", display: "inline-block" }}>
              <span style={{ display: "block", height: 4, width: `${used * 100}%`, background: color }} />
            </span>
            of {span(glance.expectedSeconds)}
          </span>
        </Tooltip>
      ) : null}
    </span>
  );
}

function RunOrStop({ glance }: { glance: Glance }) {
  const client = useQueryClient();
  const { connectionId, activeJobId: active } = glance;
  const short = glance.name.slice(0, 80);
  const sync = () =>
    said(() => data(pub.POST("/jobs", { body: { connectionId, jobType: "sync" } })), `Sync of ${short} asked for`).then(() => heard(client, connectionId));
  const stop = () =>
    said(() => data(pub.DELETE("/jobs/{jobId}", { params: { path: { jobId: String(active) } } })), `Job ${active} is stopped`).then(() => heard(client, connectionId));
  return (
    <May right="runner">
      {active != null ? (
        <Tooltip label={`Stop job ${active}`}>
          <ActionIcon variant="default" onClick={stop} aria-label={`Stop job ${active} of ${short}`}>
            <IconPlayerStop size={16} />
          </ActionIcon>
        </Tooltip>
      ) : (
        <Tooltip label="Sync now">
          <ActionIcon variant="default" onClick={sync} aria-label={`Sync ${short} now`} disabled={glance.status !== "active"}>
            <IconPlayerPlay size={16} />
          </ActionIcon>
        </Tooltip>
      )}
    </May>
  );
}
