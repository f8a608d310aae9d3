/** All jobs of all connections, newest first. */
import { Button, Group, Select } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { useSearchParams } from "react-router";
import { data, own } from "../api/client";
import { isActive, overview } from "../api/queries";
import { Head } from "../parts/head";
import { JobTable } from "../parts/job_table";
import { Broken, Empty, Loading } from "../parts/states";
import { look } from "../parts/status";
import { useSession } from "../session";

const STATUSES = ["pending", "running", "incomplete", "succeeded", "failed", "cancelled"] as const;

export default function Jobs() {
  const [query, setQuery] = useSearchParams();
  const { workspaceId } = useSession();
  const status = STATUSES.find((each) => each === query.get("status"));
  const glances = useQuery(overview);
  const names = useMemo(() => new Map(glances.data?.connections.map((each) => [each.connectionId, each.name])), [glances.data]);
  const found = useInfiniteQuery({
    queryKey: ["runs", workspaceId, status ?? ""],
    queryFn: ({ pageParam }) =>
      data(own.GET("/jobs", { params: { query: { limit: 50, offset: pageParam, workspaceIds: [workspaceId], ...(status ? { status: [status] } : {}) } } })),
    initialPageParam: 0,
    getNextPageParam: (last, pages) => (last.next ? pages.length * 50 : undefined),
    refetchInterval: (q) => (q.state.data?.pages[0]?.runs.some((run) => isActive(run.status)) ? 2000 : false),
  });
  const jobs = found.data?.pages.flatMap((page) => page.runs) ?? [];
  return (
    <>
      <Head title="Jobs" sub="What ran, runs and waits, in every connection.">
        <Select
          aria-label="State"
          placeholder="Every state"
          clearable
          value={status ?? null}
          data={STATUSES.map((value) => ({ value, label: look(value).word }))}
          onChange={(value) => setQuery(value ? { status: value } : {}, { replace: true })}
        />
      </Head>
      <div className="sheet">
        {found.isPending ? (
          <Loading />
        ) : found.error && !found.data ? (
          <Broken error={found.error} again={() => void found.refetch()} />
        ) : jobs.length === 0 ? (
          <Empty title="No jobs">{status ? "None is in this state." : "Nothing was ever run."}</Empty>
        ) : (
          <JobTable jobs={jobs} names={names} />
        )}
      </div>
      {found.hasNextPage && (
        <Group justify="center" mt="md">
          <Button variant="default" loading={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>
            Older ones
          </Button>
        </Group>
      )}
    </>
  );
}
