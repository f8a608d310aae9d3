/** What a sync would do, stream by stream, in words. */
import { Table, Text } from "@mantine/core";
import type { Plan } from "../api/queries";
import { Bytes, Count } from "./moment";

const STEPS: Record<Plan["step"], string> = {
  resume: "goes on with an unfinished copy",
  snapshot: "copies the whole stream",
  increment: "reads what is new",
};

const WRITES: Record<Plan["write"], string> = {
  replace: "replaces what is there when the copy is whole",
  append: "adds to what is there",
  merge: "merges by key",
};

export function PlanTable({ streams }: { streams: Plan[] }) {
  if (streams.length === 0) return <Text className="quiet">Nothing would be read.</Text>;
  return (
    <Table.ScrollContainer minWidth={520} mah={360}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Stream</Table.Th>
            <Table.Th>The next run</Table.Th>
            <Table.Th ta="right">Rows there</Table.Th>
            <Table.Th ta="right">Size</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {streams.map((stream) => (
            <Table.Tr key={`${stream.namespace ?? ""}.${stream.name}`}>
              <Table.Td maw={220}>
                <div className="clip" style={{ fontWeight: 600 }} title={stream.name.slice(0, 300)}>
                  {stream.name}
                </div>
              </Table.Td>
              <Table.Td>
                {STEPS[stream.step]}
                {stream.step === "resume" && `, ${stream.partitionsDone} of ${stream.partitions} parts are done`}
                {stream.step === "increment" && stream.readsAll && " (and looks at every row for it)"}; {WRITES[stream.write]}
                {stream.note && (
                  <Text size="xs" className="quiet break">
                    {stream.note}
                  </Text>
                )}
              </Table.Td>
              <Table.Td ta="right">{stream.estimatedRows == null ? "–" : <>~<Count value={stream.estimatedRows} /></>}</Table.Td>
              <Table.Td ta="right">{stream.estimatedBytes == null ? "–" : <Bytes value={stream.estimatedBytes} />}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
