/** One job: what was tried, what came of it, why it failed and what to do, and its log. */
import { Anchor, Button, Group, SimpleGrid, Stack, Tabs, Text } from "@mantine/core";
import { IconPlayerStop, IconRotateClockwise } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, type ReactNode } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { data, own, patiently, pub } from "../api/client";
import { detail, heard, isActive, job as jobQuery, overview, runs as runsQuery, type Failure, type JobDetail } from "../api/queries";
import { said } from "../parts/act";
import { CopyAs, curl } from "../parts/copy_as";
import { Head } from "../parts/head";
import { cause } from "../parts/job_table";
import { Ago, At, Bytes, Count, Span, useNow } from "../parts/moment";
import { Broken, FailureBox, Loading } from "../parts/states";
import { look, Status } from "../parts/status";
import { StreamTable } from "../parts/stream_table";
import { May, useSession } from "../session";
import { endsToMend } from "./home";

const LogView = lazy(() => import("../parts/log_view"));

export default function JobPage() {
  const { id = "" } = useParams();
  const found = useQuery(jobQuery(id));
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  return <Shown key={id} job={found.data} />;
}

function Shown({ job }: { job: JobDetail }) {
  const connection = useQuery(detail(job.connectionId));
  const name = connection.data?.connection.name ?? "a deleted connection";
  const active = isActive(job.status);
  const { auth } = useSession();
  return (
    <>
      <Head
        title={`${job.type === "sync" ? "Job" : `${job.type[0]!.toUpperCase()}${job.type.slice(1)} job`} ${job.jobId}`}
        sub={
          <>
            of{" "}
            <Anchor component={Link} to={`/connections/${job.connectionId}`} inherit className="break">
              {name}
            </Anchor>
            , {cause(job.cause)}
            {job.caller && job.cause === "api" ? ` by ${job.caller}` : ""}
          </>
        }
      >
        <Status status={job.status} size="lg" />
        <Actions job={job} active={active} />
        <CopyAs
          forms={{
            CLI: `syncline jobs show ${job.jobId}\nsyncline logs ${active ? "-f " : ""}${job.jobId}`,
            curl: `${curl({ method: "GET", path: `/api/syncline/v1/jobs/${job.jobId}` }, undefined, auth)}\n\n${curl({ method: "GET", path: `/api/syncline/v1/jobs/${job.jobId}/logs/text` }, undefined, auth)}`,
          }}
        />
      </Head>
      <Facts job={job} />
      {job.error && job.status !== "succeeded" && (
        <div style={{ marginBottom: 20 }}>
          <FailureBox failure={job.error} action={connection.data && <Mend failure={job.error} job={job} />} />
        </div>
      )}
      {job.status === "incomplete" && job.notBefore && <Waiting at={job.notBefore} />}
      <Attempts job={job} />
      <Text component="h2" fw={650} mt="xl" mb="xs">
        Log
      </Text>
      <Suspense fallback={<Loading />}>
        <LogView jobId={job.jobId} active={active} attempts={job.attempts.length} />
      </Suspense>
    </>
  );
}

function Waiting({ at }: { at: string }) {
  const now = useNow(1000);
  return (
    <Text mb="md">
      The next attempt begins <Ago at={at} now={now} />.
    </Text>
  );
}

function Actions({ job, active }: { job: JobDetail; active: boolean }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const { connectionId, jobId } = job;
  const stop = () =>
    said(() => data(pub.DELETE("/jobs/{jobId}", { params: { path: { jobId: String(jobId) } } })), `Job ${jobId} is stopped`).then(() => heard(client, connectionId, jobId));
  const again = async () => {
    await said(async () => {
      const made = await data(pub.POST("/jobs", { body: { connectionId, jobType: "sync" } }));
      await navigate(`/jobs/${made.jobId}`);
    });
    heard(client, connectionId);
  };
  return (
    <May right="runner">
      {active ? (
        <Button color="red" variant="light" leftSection={<IconPlayerStop size={16} />} onClick={stop} disabled={job.cancelRequestedAt != null}>
          {job.cancelRequestedAt ? "Stopping" : "Stop"}
        </Button>
      ) : (
        <Button variant="default" leftSection={<IconRotateClockwise size={16} />} onClick={again}>
          Sync again
        </Button>
      )}
    </May>
  );
}

/** Where a failure is mended: at the end that it names, or at both where both are of that kind. */
function Mend({ failure, job }: { failure: Failure; job: JobDetail }) {
  const glance = useQuery(overview).data?.connections.find((each) => each.connectionId === job.connectionId);
  const ends = glance ? endsToMend({ ...glance, health: "failing", error: failure }) : [];
  return (
    <May right="editor">
      {ends.map((end) => (
        <Button key={end.to} component={Link} to={end.to} size="xs">
          {end.say}
        </Button>
      ))}
      {ends.length === 0 && (
        <Button component={Link} to={`/connections/${job.connectionId}/settings`} size="xs" variant="default">
          Open the connection's settings
        </Button>
      )}
    </May>
  );
}

function Facts({ job }: { job: JobDetail }) {
  const now = useNow(isActive(job.status) ? 1000 : 60_000);
  const seconds = job.startedAt && isActive(job.status) ? (now - Date.parse(job.startedAt)) / 1000 : job.seconds;
  const facts: [string, ReactNode][] = [
    ["Asked for", <At key="at" at={job.createdAt} />],
    ["Took", seconds == null ? "–" : <Span key="took" seconds={isActive(job.status) ? Math.round(seconds) : seconds} />],
    ["Rows", <Count key="rows" value={job.rows} />],
    ["Bytes read", <Bytes key="bytes" value={job.bytes} />],
    ["Attempts", String(job.attempts.length)],
  ];
  return (
    <SimpleGrid cols={{ base: 2, sm: 5 }} className="sheet" p="md" mb="lg" component="dl" style={{ marginTop: 0 }}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt className="quiet" style={{ fontSize: 12.5 }}>
            {name}
          </dt>
          <dd style={{ margin: 0, fontSize: 17, fontWeight: 600 }}>{value}</dd>
        </div>
      ))}
    </SimpleGrid>
  );
}

function Attempts({ job }: { job: JobDetail }) {
  const expected = useExpected(job);
  if (job.attempts.length === 0) return <Text className="quiet">It waits for its first attempt.</Text>;
  const newest = job.attempts.at(-1)!;
  return (
    <div className="sheet">
      <Tabs key={newest.number} defaultValue={String(newest.number)}>
        {job.attempts.length > 1 && (
          <Tabs.List px="sm">
            {job.attempts.map((attempt) => (
              <Tabs.Tab key={attempt.number} value={String(attempt.number)}>
                Attempt {attempt.number}: {look(attempt.status).word.toLowerCase()}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        )}
        {job.attempts.map((attempt) => (
          <Tabs.Panel key={attempt.number} value={String(attempt.number)}>
            <Stack gap={0}>
              <Group p="md" pb={0} gap="lg" className="quiet" style={{ fontSize: 13.5 }}>
                <span>
                  began <At at={attempt.startedAt} />
                </span>
                <span>
                  <Count value={attempt.rowsRead} unit="rows read" />, <Count value={attempt.rowsWritten} unit="written" />
                </span>
                <span className="break">on {attempt.host}</span>
                {attempt.status === "failed" && (attempt.committed ? <span>what it committed stays</span> : <span>nothing was committed</span>)}
              </Group>
              {attempt.error && attempt.error.message !== job.error?.message && (
                <div style={{ padding: 16 }}>
                  <FailureBox failure={attempt.error} />
                </div>
              )}
              <StreamTable attempt={attempt} expected={expected} />
            </Stack>
          </Tabs.Panel>
        ))}
      </Tabs>
    </div>
  );
}

/** Rows that each stream is likely to have: as the source estimates it, for a first copy; else as in the last run. */
function useExpected(job: JobDetail): Map<string, number> {
  const session = useSession();
  const active = isActive(job.status);
  const before = useQuery({ ...runsQuery(job.connectionId, 10), enabled: active });
  const connectionId = job.connectionId;
  const plan = useQuery({
    queryKey: ["expected", job.jobId],
    queryFn: ({ signal }) =>
      patiently(() => data(own.POST("/connections/{connectionId}/plan", { params: { path: { connectionId } } })), signal),
    enabled: active && session.may("runner"),
    staleTime: Infinity,
    retry: false,
  });
  return useMemo(() => {
    const found = new Map<string, number>();
    const last = before.data?.find((run) => run.status === "succeeded" && run.jobId !== job.jobId);
    for (const stream of plan.data?.streams ?? []) {
      if (stream.readsAll || stream.step === "resume") found.set(stream.name, stream.estimatedRows ?? 0);
      else {
        const run = last?.attempts.at(-1)?.streams.find((each) => each.name === stream.name);
        if (run) found.set(stream.name, run.rowsRead);
      }
    }
    return found;
  }, [before.data, plan.data, job.jobId]);
}
