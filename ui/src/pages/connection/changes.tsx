/** How the source has changed: what waits for somebody now, and what was seen run by run. */
import { Alert, Button, Group, Stack, Table, Text } from "@mantine/core";
import { IconCheck, IconRefresh } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { data, own, patiently, pub } from "../../api/client";
import { heard, type Detail } from "../../api/queries";
import { said } from "../../parts/act";
import { CopyAs, curl } from "../../parts/copy_as";
import { Ago } from "../../parts/moment";
import { Broken, Empty, Loading } from "../../parts/states";
import { useSession } from "../../session";

const KINDS: Record<string, string> = {
  added: "column added",
  dropped: "column gone",
  renamed: "column renamed",
  widened: "type widened",
  narrowed: "type narrowed",
  retyped: "another type",
  optional: "may be NULL now",
  required: "may not be NULL now",
  key: "another key",
  called: "stream renamed",
  stream_added: "stream added",
  stream_vanished: "stream gone",
};

export default function Changes({ detail }: { detail: Detail }) {
  const { connectionId } = detail.connection;
  const { may } = useSession();
  const found = useQuery({
    queryKey: ["connection", connectionId, "changes"],
    queryFn: () => data(own.GET("/connections/{connectionId}/schema-changes", { params: { path: { connectionId } } })),
  });
  return (
    <Stack gap="lg">
      {may("runner") && <Pending detail={detail} />}
      <div className="sheet">
        <Text component="h2" fw={650} p="md" pb={0} m={0}>Seen by runs</Text>
        {!found.data ? (
          found.error ? <Broken error={found.error} /> : <Loading rows={3} />
        ) : found.data.changes.length === 0 ? (
          <Empty title="No run has seen a change">What changes at the source is found at the start of each run, and in the log as it comes.</Empty>
        ) : (
          <Table.ScrollContainer minWidth={640}>
            <Table>
              <Table.Thead><Table.Tr><Table.Th>When</Table.Th><Table.Th>Stream</Table.Th><Table.Th>Change</Table.Th><Table.Th>Before</Table.Th><Table.Th>After</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {[...found.data.changes].reverse().map((change, i) => (
                  <Table.Tr key={i}>
                    <Table.Td style={{ whiteSpace: "nowrap" }}><Ago at={change.at} /><div><Link to={`/jobs/${change.jobId}`} className="quiet">job {change.jobId}</Link></div></Table.Td>
                    <Table.Td className="break" maw={200}>{change.stream}</Table.Td>
                    <Table.Td maw={340}><b>{KINDS[change.change] ?? change.change}</b><div className="break quiet" style={{ fontSize: 12.5 }}>{change.text}</div></Table.Td>
                    <Table.Td className="mono break" maw={180}>{change.before ?? "–"}</Table.Td>
                    <Table.Td className="mono break" maw={180}>{change.after ?? "–"}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </div>
    </Stack>
  );
}

function Pending({ detail }: { detail: Detail }) {
  const { connectionId, status } = detail.connection;
  const { may, auth } = useSession();
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const path = { connectionId };
  const found = useQuery({
    queryKey: ["connection", connectionId, "changes", "pending"],
    queryFn: ({ signal }) => patiently(() => data(own.GET("/connections/{connectionId}/schema-changes/pending", { params: { path } })), signal),
    retry: false,
    staleTime: 60_000,
  });
  const accept = async () => {
    setBusy(true);
    await said(async () => {
      await patiently(() => data(own.POST("/connections/{connectionId}/schema-changes/accept", { params: { path }, body: {} })));
      // Who pauses a connection for a change means: until somebody has looked.
      if (status !== "active") await data(pub.PATCH("/connections/{connectionId}", { params: { path }, body: { status: "active" } }));
      heard(client, connectionId);
    }, "Accepted: the next run goes on with the source as it is.");
    setBusy(false);
  };
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading rows={3} label="Comparing the source with the last run" />;
  const { changes, refused } = found.data;
  return (
    <section className="sheet" style={{ padding: 16 }} aria-label="Since the last run">
      <Group justify="space-between" mb="xs">
        <Text component="h2" fw={650} m={0}>Since the last run</Text>
        <Group gap="xs">
          <Button size="xs" variant="default" leftSection={<IconRefresh size={15} />} loading={found.isFetching} onClick={() => void found.refetch()}>Look again</Button>
          <CopyAs forms={{ CLI: "syncline changes PROJECT.yaml\nsyncline changes PROJECT.yaml --accept", curl: curl({ method: "POST", path: `/api/syncline/v1/connections/${connectionId}/schema-changes/accept` }, undefined, auth) }} />
        </Group>
      </Group>
      {changes.length === 0 && refused.length === 0 && <Text className="quiet">Nothing has changed at the source.</Text>}
      <ul style={{ margin: 0, paddingLeft: 20 }}>
        {changes.map((change, i) => <li key={i} className="break"><b>{change.stream}</b>: {change.text}</li>)}
      </ul>
      {refused.length > 0 ? (
        <Alert color="orange" mt="sm" className="failure" title="The next run stops here until somebody has looked">
          <Stack gap="xs">
            {refused.map((each, i) => (
              <div key={i}>
                <Text className="break">{each.stream && <b>{each.stream}: </b>}{each.message}</Text>
                {each.hint && <Text size="sm" className="break">{each.hint}</Text>}
              </div>
            ))}
            {may("editor") && <Button w="max-content" size="xs" leftSection={<IconCheck size={15} />} loading={busy} onClick={() => void accept()}>Accept{status === "active" ? "" : " and resume"}</Button>}
          </Stack>
        </Alert>
      ) : (
        changes.length > 0 && <Text size="sm" mt="xs">The next run goes on with this by itself.</Text>
      )}
    </section>
  );
}
