/** Connections that read one source together, each into a destination of its own: how far each of them is. */
import { Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { overview, type Glance } from "../../api/queries";
import { Ago, useNow } from "../../parts/moment";
import { Status } from "../../parts/status";
import { Freshness } from "../home";

/** All that read with this one, itself included, in the order of their making; none where it reads alone. */
export function useTogether(glance?: Glance): Glance[] {
  const all = useQuery(overview).data?.connections ?? [];
  const name = glance?.fanOut?.connection;
  return name ? all.filter((each) => each.fanOut?.connection === name && each.workspaceId === glance?.workspaceId) : [];
}

export function Together({ here, all }: { here: Glance; all: Glance[] }) {
  const now = useNow(5000);
  if (all.length < 2) return null;
  return (
    <section className="sheet" aria-labelledby="together">
      <Text id="together" component="h2" fw={650} p="md" pb={4}>
        One reading for {all.length} destinations{" "}
        <Text span size="sm" className="quiet break" fw={400}>
          {here.fanOut!.connection.slice(0, 100)}
        </Text>
      </Text>
      <Text size="sm" className="quiet" px="md" pb="xs">
        Each has its copy, its position, its runs; one that is paused or fails holds up no other. Streams, schedule, mappings and gates are those of all: what is changed here is changed for each.
      </Text>
      <Table.ScrollContainer minWidth={560}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Destination</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th>Freshness</Table.Th>
              <Table.Th>Last run</Table.Th>
              <Table.Th>Position</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {all.map((each) => (
              <Table.Tr key={each.connectionId} aria-current={each.connectionId === here.connectionId ? "true" : undefined}>
                <Table.Td maw={280} className="break">
                  {each.connectionId === here.connectionId ? <b>{each.fanOut!.destination}</b> : <Link to={`/connections/${each.connectionId}`}>{each.fanOut!.destination}</Link>}
                  <div className="quiet" style={{ fontSize: 12.5 }}>{each.destination.type}</div>
                </Table.Td>
                <Table.Td><Status status={each.health} /></Table.Td>
                <Table.Td><Freshness glance={each} now={now} live={each.scheduleKind === "continuous" && each.activeJobId != null} /></Table.Td>
                <Table.Td>
                  {each.recent[0] ? <><Link to={`/jobs/${each.recent[0].jobId}`}>job {each.recent[0].jobId}</Link>, <Ago at={each.recent[0].createdAt} now={now} /></> : <span className="quiet">none yet</span>}
                </Table.Td>
                <Table.Td>
                  <Link to={`/connections/${each.connectionId}/state`} aria-label={`Position of ${each.fanOut!.destination.slice(0, 60)}`}>State</Link>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </section>
  );
}
