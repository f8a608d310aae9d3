/** How a connection is: what runs now, how fresh it is, and its runs. */
import { Button, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, type ReactNode } from "react";
import { Link, useNavigate } from "react-router";
import { isActive, runs as runsQuery, type Detail, type Glance, type JobDetail } from "../../api/queries";
import { JobTable } from "../../parts/job_table";
import { Ago, Count, Span, useNow } from "../../parts/moment";
import { scheduleText } from "../../parts/schedule_words";
import { Broken, Empty, FailureBox, Loading } from "../../parts/states";
import { StreamTable } from "../../parts/stream_table";
import { span } from "../../parts/words";
import { May } from "../../session";
import { Together } from "./together";

const RunsChart = lazy(() => import("../../parts/runs_chart").then((part) => ({ default: part.RunsChart })));

export function Runs({ detail, glance, together }: { detail: Detail; glance?: Glance; together: Glance[] }) {
  const navigate = useNavigate();
  const { connectionId } = detail.connection;
  const found = useQuery(runsQuery(connectionId));
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const runs = found.data;
  const active = runs.find((run) => isActive(run.status));
  const ended = runs.find((run) => !isActive(run.status));
  return (
    <Stack gap="lg">
      <Facts detail={detail} glance={glance} runs={runs} />
      {glance?.statusReason && <Text className="sheet break" p="md">{glance.statusReason}</Text>}
      {glance && <Together here={glance} all={together} />}
      {active && <Now job={active} />}
      {!active && ended?.status === "failed" && ended.error && (
        <FailureBox
          failure={ended.error}
          action={
            <Button component={Link} to={`/jobs/${ended.jobId}`} size="xs" variant="default">
              Job {ended.jobId} and its log
            </Button>
          }
        />
      )}
      {runs.length === 0 ? (
        <div className="sheet">
          <Empty title="It never ran">
            <May right="runner">Press “Sync now”, or wait for its schedule.</May>
          </Empty>
        </div>
      ) : (
        <>
          <div className="sheet" style={{ padding: 16 }}>
            <Text component="h2" fw={650} mb="xs">
              Runs <Text span size="sm" className="quiet" fw={400}>bars: duration, line: rows</Text>
            </Text>
            <Suspense fallback={<div style={{ height: 190 }} />}>
              <RunsChart runs={runs} pick={(jobId) => void navigate(`/jobs/${jobId}`)} />
            </Suspense>
          </div>
          <div className="sheet">
            <JobTable jobs={runs} />
          </div>
        </>
      )}
    </Stack>
  );
}

function Facts({ detail, glance, runs }: { detail: Detail; glance?: Glance; runs: JobDetail[] }) {
  const now = useNow(5000);
  const good = runs.filter((run) => run.status === "succeeded");
  const times = good.map((run) => run.seconds ?? 0).sort((a, b) => a - b);
  const facts: [string, ReactNode, ReactNode][] = [
    [
      "Data as of",
      glance?.dataFrom ? <Ago key="a" at={glance.dataFrom} now={now} /> : glance?.scheduleKind === "continuous" && glance.activeJobId != null ? "follows the log" : "no data yet",
      glance?.expectedSeconds ? `promised: not older than ${span(glance.expectedSeconds)}` : "no schedule promises anything",
    ],
    ["Schedule", scheduleText(detail.schedule), detail.nextRuns[0] && detail.connection.status === "active" ? <>next <Ago at={detail.nextRuns[0]} now={now} /></> : detail.connection.status !== "active" ? "paused" : ""],
    ["Rows, last run", good[0] ? <Count key="r" value={good[0].rows} /> : "–", good.length > 1 ? <>{good.length} good runs shown</> : ""],
    ["Usually takes", times.length ? <Span key="t" seconds={times[Math.floor(times.length / 2)]!} /> : "–", times.length ? "the middle of the last runs" : ""],
  ];
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} className="sheet" p="md" component="dl" style={{ margin: 0 }}>
      {facts.map(([name, value, more]) => (
        <div key={name} style={{ minWidth: 0 }}>
          <dt className="quiet" style={{ fontSize: 12.5 }}>{name}</dt>
          <dd style={{ margin: 0 }}>
            <div style={{ fontSize: 17, fontWeight: 600 }} className="break">{value}</div>
            <div className="quiet" style={{ fontSize: 12.5 }}>{more}</div>
          </dd>
        </div>
      ))}
    </SimpleGrid>
  );
}

function Now({ job }: { job: JobDetail }) {
  const attempt = job.attempts.at(-1);
  return (
    <div className="sheet">
      <Text component="h2" fw={650} p="md" pb={0}>
        Now: <Link to={`/jobs/${job.jobId}`}>job {job.jobId}</Link>
        {job.attempts.length > 1 && `, attempt ${job.attempts.length}`}
      </Text>
      {attempt ? <StreamTable attempt={attempt} /> : <Text p="md" className="quiet">It waits for a free slot.</Text>}
    </div>
  );
}
