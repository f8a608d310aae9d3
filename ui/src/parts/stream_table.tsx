/** The streams of an attempt: how far each is, how fast, and until when. */
import { Progress, Table, Text } from "@mantine/core";
import type { Attempt, StreamRun } from "../api/queries";
import { Bytes, Count, useNow } from "./moment";
import { Status } from "./status";
import { count, span } from "./words";

/** `expected`: rows that a stream is likely to have, where something is known of it. */
export function StreamTable({ attempt, expected }: { attempt: Attempt; expected?: Map<string, number> }) {
  const now = useNow(attempt.status === "running" ? 1000 : 60_000);
  const streams = [...attempt.streams].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  const quarantined = streams.some((stream) => stream.rowsQuarantined > 0);
  if (streams.length === 0) return <Text className="quiet" p="md">No stream was begun.</Text>;
  return (
    <Table.ScrollContainer minWidth={640}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Stream</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th ta="right">Read</Table.Th>
            <Table.Th ta="right">Written</Table.Th>
            {quarantined && <Table.Th ta="right">Set aside</Table.Th>}
            <Table.Th ta="right">Bytes</Table.Th>
            <Table.Th>Pace</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {streams.map((stream) => (
            <Table.Tr key={`${stream.namespace ?? ""}.${stream.name}`}>
              <Table.Td maw={340}>
                <div className="clip" style={{ fontWeight: 600 }} title={stream.name.slice(0, 300)}>
                  {stream.name}
                </div>
                {stream.namespace && <div className="quiet clip" style={{ fontSize: 12 }}>{stream.namespace}</div>}
                {stream.error && <Text size="xs" c="red" className="break" lineClamp={4}>{stream.error.message}</Text>}
              </Table.Td>
              <Table.Td>
                <Status status={stream.status} size="sm" />
              </Table.Td>
              <Table.Td ta="right">
                <Count value={stream.rowsRead} />
              </Table.Td>
              <Table.Td ta="right">
                <Count value={stream.rowsWritten} />
              </Table.Td>
              {quarantined && (
                <Table.Td ta="right">
                  <Count value={stream.rowsQuarantined} />
                </Table.Td>
              )}
              <Table.Td ta="right">
                <Bytes value={stream.bytesRead} />
              </Table.Td>
              <Table.Td>
                <Pace stream={stream} now={now} expected={expected?.get(stream.name)} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

const rank = (stream: StreamRun) => ({ failed: 0, stopped: 1, running: 2 })[stream.status as string] ?? 3;

function Pace({ stream, now, expected }: { stream: StreamRun; now: number; expected?: number }) {
  if (!stream.startedAt) return <span className="quiet">–</span>;
  const seconds = ((stream.endedAt ? Date.parse(stream.endedAt) : now) - Date.parse(stream.startedAt)) / 1000;
  const rate = seconds > 0.2 ? stream.rowsRead / seconds : 0;
  if (stream.status !== "running") {
    return (
      <span className="num quiet">
        {span(seconds)}
        {rate > 0 && `, ${count(Math.round(rate))} rows/s`}
      </span>
    );
  }
  // The estimate is the source's, and may be short: a bar that is full while it runs would be a lie.
  const part = expected && expected > 0 ? Math.min(0.98, stream.rowsRead / expected) : null;
  const left = part !== null && rate > 0 ? Math.max(0, expected! - stream.rowsRead) / rate : null;
  return (
    <div style={{ minWidth: 130 }}>
      {part !== null && <Progress value={part * 100} size="sm" aria-label={`${stream.name}: about ${Math.round(part * 100)} %`} />}
      <span className="num quiet" style={{ fontSize: 12 }}>
        {count(Math.round(rate))} rows/s
        {left !== null && left > 1 && `, about ${span(left)} left`}
      </span>
    </div>
  );
}
