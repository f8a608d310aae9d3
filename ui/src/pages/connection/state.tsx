/** How far each stream was read, as the server last heard; the truth is in the ledger at the destination. */
import { Accordion, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { state, type Detail } from "../../api/queries";
import { Copyable } from "../../parts/copy_as";
import { Ago } from "../../parts/moment";
import { Broken, Empty, Loading } from "../../parts/states";

export default function State({ detail }: { detail: Detail }) {
  const found = useQuery(state(detail.connection.connectionId));
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const { streams, shared } = found.data;
  return (
    <Stack>
      <Text size="sm" className="quiet">
        As the server last heard it. The truth is in the ledger at the destination, committed together with the data, under the key <span className="mono break">{detail.key}</span>.
      </Text>
      {streams.length === 0 && !shared ? (
        <div className="sheet">
          <Empty title="Nothing was read yet">The first run that commits something leaves a state.</Empty>
        </div>
      ) : (
        <Accordion variant="separated" multiple>
          {shared && (
            <Accordion.Item value="shared">
              <Accordion.Control>The log, of all streams together</Accordion.Control>
              <Accordion.Panel>
                <Copyable label="shared state" text={JSON.stringify(shared, null, 2)} />
              </Accordion.Panel>
            </Accordion.Item>
          )}
          {streams.map((stream) => (
            <Accordion.Item key={`${stream.namespace ?? ""}.${stream.name}`} value={`${stream.namespace ?? ""}.${stream.name}`}>
              <Accordion.Control>
                <span className="break">
                  <b>{stream.name.slice(0, 300)}</b> <span className="quiet">{stream.namespace} · <Ago at={stream.updatedAt} /></span>
                </span>
              </Accordion.Control>
              <Accordion.Panel>
                <Copyable label={`state of ${stream.name}`} text={JSON.stringify(stream.state ?? {}, null, 2)} />
              </Accordion.Panel>
            </Accordion.Item>
          ))}
        </Accordion>
      )}
    </Stack>
  );
}
