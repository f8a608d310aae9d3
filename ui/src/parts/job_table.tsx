/** Jobs as rows: what the timeline shows as bars. */
import { Table, Text } from "@mantine/core";
import { Link } from "react-router";
import type { JobDetail } from "../api/queries";
import { Ago, Bytes, Count, Span } from "./moment";
import { Status } from "./status";

const CAUSES: Record<string, string> = {
  api: "asked for",
  schedule: "schedule",
  catch_up: "caught up",
  continuous: "continuous",
  after: "after another",
  file: "files arrived",
  webhook: "webhook",
};

export const cause = (word: string) => CAUSES[word] ?? word;

export function JobTable({ jobs, names }: { jobs: JobDetail[]; names?: Map<string, string> }) {
  return (
    <Table.ScrollContainer minWidth={names ? 760 : 620}>
      <Table highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Job</Table.Th>
            <Table.Th>State</Table.Th>
            {names && <Table.Th>Connection</Table.Th>}
            <Table.Th>Began</Table.Th>
            <Table.Th ta="right">Took</Table.Th>
            <Table.Th ta="right">Rows</Table.Th>
            <Table.Th ta="right">Bytes</Table.Th>
            <Table.Th>Why</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {jobs.map((job) => (
            <Table.Tr key={job.jobId}>
              <Table.Td>
                <Link to={`/jobs/${job.jobId}`} style={{ fontWeight: 600 }}>
                  {job.type === "sync" ? "" : `${job.type} `}#{job.jobId}
                </Link>
              </Table.Td>
              <Table.Td>
                <Status status={job.status} size="sm" />
                {job.error && job.status === "failed" && (
                  <Text size="xs" className="quiet break" lineClamp={1} maw={340} mt={2}>
                    {job.error.message}
                  </Text>
                )}
              </Table.Td>
              {names && (
                <Table.Td maw={280}>
                  <Link to={`/connections/${job.connectionId}`} className="plain clip" style={{ display: "block" }}>
                    {names.get(job.connectionId) ?? "(deleted)"}
                  </Link>
                </Table.Td>
              )}
              <Table.Td>
                <Ago at={job.startedAt ?? job.createdAt} />
              </Table.Td>
              <Table.Td ta="right">{job.seconds == null ? "–" : <Span seconds={job.seconds} />}</Table.Td>
              <Table.Td ta="right">
                <Count value={job.rows} />
              </Table.Td>
              <Table.Td ta="right">
                <Bytes value={job.bytes} />
              </Table.Td>
              <Table.Td className="quiet">
                {cause(job.cause)}
                {job.attempts.length > 1 && `, ${job.attempts.length} tries`}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
