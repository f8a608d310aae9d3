/** Connections that follow a log: how far behind, how much log the source keeps for us, what waits here. */
import { Button, Group, SimpleGrid, Stack, Text } from "@mantine/core";
import { IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { end as endQuery, logLag, overview, type Glance } from "../api/queries";
import { CopyAs } from "../parts/copy_as";
import { Head } from "../parts/head";
import { Bytes, Span, useNow } from "../parts/moment";
import { Broken, Empty, Loading } from "../parts/states";
import { Status } from "../parts/status";
import { ago, bytes, span } from "../parts/words";
import { useSession } from "../session";

export default function Cdc() {
  const { workspaceId } = useSession();
  const found = useQuery(overview);
  if (!found.data) return found.error ? <Broken error={found.error} /> : <Loading />;
  const following = found.data.connections.filter((each) => each.followsLog && each.workspaceId === workspaceId);
  return (
    <>
      <Head title="CDC health" sub="Connections that follow a source's log. A slot that nobody reads keeps the source's log on its disk." />
      {following.length === 0 ? (
        <div className="sheet">
          <Empty title="No connection follows a log">A Postgres source with the replication method CDC is followed change by change, deletes included.</Empty>
        </div>
      ) : (
        <Stack>
          {following.map((glance) => (
            <Slot key={glance.connectionId} glance={glance} />
          ))}
        </Stack>
      )}
    </>
  );
}

/** Each look asks both ends: not more often than this. */
const EVERY_MS = 15_000;

function Slot({ glance }: { glance: Glance }) {
  const { may } = useSession();
  const now = useNow(1000);
  const lag = useQuery({ ...logLag(glance.connectionId), enabled: may("runner"), refetchInterval: EVERY_MS });
  const source = useQuery(endQuery("source", glance.source.id));
  const method = (source.data?.configuration.replication_method ?? {}) as { max_retained_wal?: number };
  const budget = method.max_retained_wal ?? 4_000_000_000;
  const held = Object.entries(lag.data?.held ?? {});
  const facts: [string, ReactNode, ReactNode][] = lag.data
    ? [
        ["Behind", lag.data.seconds == null ? "unknown" : lag.data.seconds === 0 ? "nothing waits" : <Span key="s" seconds={lag.data.seconds} />, lag.data.bytes == null ? "" : <><Bytes value={lag.data.bytes} /> of log to apply</>],
        ["Log kept at the source", <Bytes key="r" value={lag.data.retainedBytes} />, `at most ${bytes(budget)}`],
        ["Spool here", <Bytes key="p" value={lag.data.spoolBytes} />, "received; each piece goes when all of it is applied"],
        ["State of the slot", <span key="n" className="break">{lag.data.slot}</span>, "reserved is safe, lost is not"],
      ]
    : [];
  const used = lag.data ? Math.min(1, lag.data.retainedBytes / budget) : 0;
  return (
    <section className="sheet" style={{ padding: 16 }} aria-label={glance.name.slice(0, 100)}>
      <Group justify="space-between" mb="sm">
        <Group gap="sm" wrap="nowrap" style={{ minWidth: 0 }}>
          <Status status={glance.health} />
          <Link to={`/connections/${glance.connectionId}`} className="plain clip" style={{ fontWeight: 650 }}>
            {glance.name}
          </Link>
        </Group>
        <Group gap="xs">
          <Text size="xs" className="quiet">{lag.dataUpdatedAt ? `looked at ${ago(new Date(lag.dataUpdatedAt).toISOString(), now)}` : ""}</Text>
          <Button size="xs" variant="default" leftSection={<IconRefresh size={14} />} loading={lag.isFetching} onClick={() => void lag.refetch()} disabled={!may("runner")}>
            Look again
          </Button>
          <CopyAs forms={{ CLI: `syncline lag PROJECT.yaml -c ${glance.name.includes(" ") ? "NAME" : glance.name}`, curl: `curl '${window.location.origin}/api/syncline/v1/connections/${glance.connectionId}/lag/log'` }} />
        </Group>
      </Group>
      {!may("runner") ? (
        <Text className="quiet">Looking needs the role “runner”.</Text>
      ) : lag.error && !lag.data ? (
        <Text className="break" role="status">{lag.error.message}</Text>
      ) : !lag.data ? (
        <Loading rows={2} />
      ) : (
        <>
          <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} component="dl" style={{ margin: 0 }}>
            {facts.map(([name, value, more]) => (
              <div key={name}>
                <dt className="quiet" style={{ fontSize: 12.5 }}>{name}</dt>
                <dd style={{ margin: 0 }}>
                  <div style={{ fontSize: 17, fontWeight: 600 }}>{value}</div>
                  <div className="quiet" style={{ fontSize: 12.5 }}>{more}</div>
                </dd>
              </div>
            ))}
          </SimpleGrid>
          <div role="meter" aria-label="Log kept at the source against its limit" aria-valuenow={Math.round(used * 100)} aria-valuemin={0} aria-valuemax={100} style={{ height: 6, borderRadius: 3, background: "var(--line)", overflow: "hidden", marginTop: 12 }}>
            <div style={{ width: `${used * 100}%`, height: 6, background: used > 0.75 ? "var(--mantine-color-orange-6)" : "var(--mantine-primary-color-filled)" }} />
          </div>
          <Forecast at={lag.dataUpdatedAt} retained={lag.data.retainedBytes} budget={budget} id={glance.connectionId} />
          {held.length > 0 && (
            <div style={{ marginTop: 10 }}>
              <Text fw={650} size="sm">Streams that were stopped</Text>
              {held.map(([stream, why]) => (
                <Text key={stream} size="sm" className="break"><b>{stream}</b>: {why}</Text>
              ))}
            </div>
          )}
        </>
      )}
    </section>
  );
}

const seen = new Map<string, { at: number; retained: number }[]>();

/** When the budget would be used up if the log went on growing as since this page was opened. */
function Forecast({ id, at, retained, budget }: { id: string; at: number; retained: number; budget: number }) {
  const known = seen.get(id) ?? [];
  if (known.at(-1)?.at !== at) known.push({ at, retained });
  seen.set(id, known.slice(-40));
  const first = known[0];
  if (!first || at - first.at < 10_000) return null;
  const pace = (retained - first.retained) / ((at - first.at) / 1000);
  if (pace <= 1) return <Text size="sm" className="quiet" mt={6}>The log at the source does not grow.</Text>;
  return <Text size="sm" mt={6}>It grows by {bytes(Math.round(pace))}/s since {ago(new Date(first.at).toISOString())}; the limit would be reached in {span((budget - retained) / pace)}.</Text>;
}
