/** How a connection is set: its name, when it runs, where its tables go, how it is tried again; webhooks; deleting it. */
import { Alert, Button, Group, NumberInput, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { useNavigate } from "react-router";
import { data, own, Problem, pub } from "../../api/client";
import { heard, overview, type Detail, type Schedule } from "../../api/queries";
import { said } from "../../parts/act";
import { Confirm } from "../../parts/confirm";
import { Copyable } from "../../parts/copy_as";
import { Ago } from "../../parts/moment";
import { ScheduleForm } from "../../parts/schedule_form";
import { Loading } from "../../parts/states";
import { useSession } from "../../session";

export default function Settings({ detail }: { detail: Detail }) {
  // The form begins with what is stored, and again when somebody else has changed that.
  return <Form key={JSON.stringify([detail.connection, detail.schedule, detail.options])} detail={detail} />;
}

function Form({ detail }: { detail: Detail }) {
  const { connection, options } = detail;
  const { connectionId } = connection;
  const client = useQueryClient();
  const navigate = useNavigate();
  const readOnly = !useSession().may("editor");
  const glance = useQuery(overview).data?.connections.find((each) => each.connectionId === connectionId);
  const [name, setName] = useState(connection.name);
  const [schedule, setSchedule] = useState<Schedule>(detail.schedule);
  const [space, setSpace] = useState<string>(connection.namespaceDefinition);
  const [format, setFormat] = useState(connection.namespaceFormat ?? "");
  const [prefix, setPrefix] = useState(connection.prefix ?? "");
  const [updates, setUpdates] = useState<string>(connection.nonBreakingSchemaUpdatesBehavior);
  const [tries, setTries] = useState(options.maxAttempts ?? 3);
  const [concurrency, setConcurrency] = useState(options.concurrency ?? 2);
  const [priority, setPriority] = useState(options.priority ?? 0);
  const [timeout, setTimeout_] = useState(options.timeoutSeconds ?? 0);
  const [deletes, setDeletes] = useState(options.deletes ?? "hard");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);

  const save = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const path = { connectionId };
      // Our own route first: it knows every kind of schedule, and refuses what cannot be.
      await data(own.PATCH("/connections/{connectionId}", { params: { path }, body: { schedule, options: { maxAttempts: tries, concurrency, priority, timeoutSeconds: timeout, deletes: deletes as "hard" | "soft" } } }));
      await data(
        pub.PATCH("/connections/{connectionId}", {
          params: { path },
          body: {
            name,
            prefix,
            namespaceDefinition: space as typeof connection.namespaceDefinition,
            namespaceFormat: space === "custom_format" ? format : null,
            nonBreakingSchemaUpdatesBehavior: updates as typeof connection.nonBreakingSchemaUpdatesBehavior,
          },
        }),
      );
      await said(async () => heard(client, connectionId), "Saved");
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String((error as Error).message ?? error)));
    }
    setBusy(false);
  };
  const at = (...names: string[]) => problem && names.map((each) => problem.fields[each]).find(Boolean);
  const placed = problem && Object.keys(problem.fields).some((each) => ["name", "prefix", "namespaceFormat", "namespaceDefinition"].includes(each));
  return (
    <Stack gap="lg" maw={860}>
      <Section title="Name">
        <TextInput aria-label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} disabled={readOnly} error={at("name")} maxLength={256} />
      </Section>
      <Section title="When it runs">
        <ScheduleForm value={schedule} change={setSchedule} followsLog={glance?.followsLog} readOnly={readOnly} />
      </Section>
      <Section title="Where its tables go">
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Select label="Schema" value={space} onChange={(value) => setSpace(value ?? "destination")} allowDeselect={false} disabled={readOnly} error={at("namespaceDefinition")} data={[{ value: "destination", label: "the destination's own" }, { value: "source", label: "named as at the source" }, { value: "custom_format", label: "one of your own" }]} />
          {space === "custom_format" && <TextInput label="Its name" description="${SOURCE_NAMESPACE} stands for the source's" value={format} onChange={(e) => setFormat(e.currentTarget.value)} disabled={readOnly} error={at("namespaceFormat")} />}
          <TextInput label="Prefix of table names" value={prefix} onChange={(e) => setPrefix(e.currentTarget.value)} disabled={readOnly} error={at("prefix")} />
          <Select label="When rows are deleted at the source" value={deletes} onChange={(value) => setDeletes(value ?? "hard")} allowDeselect={false} disabled={readOnly} data={[{ value: "hard", label: "delete them" }, { value: "soft", label: "keep and mark them" }]} />
          <Select label="When the source's shape changes" value={updates} onChange={(value) => setUpdates(value ?? "ignore")} allowDeselect={false} disabled={readOnly} data={[{ value: "ignore", label: "leave new things out" }, { value: "propagate_columns", label: "take new columns" }, { value: "propagate_fully", label: "take new columns and streams" }, { value: "disable_connection", label: "pause until somebody looks" }]} />
        </SimpleGrid>
      </Section>
      <Section title="How it runs">
        <SimpleGrid cols={{ base: 1, xs: 2, sm: 4 }}>
          <NumberInput label="Tries" description="failures in a row" min={1} max={100} value={tries} onChange={(value) => setTries(Number(value))} disabled={readOnly} />
          <NumberInput label="At once" description="parts that are read" min={1} max={64} value={concurrency} onChange={(value) => setConcurrency(Number(value))} disabled={readOnly} />
          <NumberInput label="Priority" description="higher goes first" min={-1000} max={1000} value={priority} onChange={(value) => setPriority(Number(value))} disabled={readOnly} />
          <NumberInput label="Time-out" description="seconds, 0: never" min={0} value={timeout} onChange={(value) => setTimeout_(Number(value))} disabled={readOnly} />
        </SimpleGrid>
      </Section>
      {problem && !placed && (
        <Alert color="red" title="It was not saved" role="alert" className="break">
          {problem.message}
        </Alert>
      )}
      {!readOnly && (
        <Group>
          <Button onClick={save} loading={busy}>
            Save
          </Button>
        </Group>
      )}
      <Webhooks connectionId={connectionId} readOnly={readOnly} />
      {!readOnly && (
        <Section title="Delete">
          <Confirm
            title="Delete this connection?"
            verb="Delete it"
            word="delete"
            act={async () => {
              await data(pub.DELETE("/connections/{connectionId}", { params: { path: { connectionId } } }));
              heard(client, connectionId);
              await navigate("/");
            }}
            trigger={(open) => (
              <Button color="red" variant="light" onClick={open} w="max-content">
                Delete the connection
              </Button>
            )}
          >
            It does not run any more, and a running job is stopped. What it has written at the destination stays. This cannot be taken back.
          </Confirm>
        </Section>
      )}
    </Stack>
  );
}

export function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="sheet" style={{ padding: 16 }} aria-label={title}>
      <Text component="h2" fw={650} mb="sm">
        {title}
      </Text>
      {children}
    </section>
  );
}

function Webhooks({ connectionId, readOnly }: { connectionId: string; readOnly: boolean }) {
  const client = useQueryClient();
  const key = ["connection", connectionId, "webhooks"];
  const found = useQuery({ queryKey: key, queryFn: () => data(own.GET("/connections/{connectionId}/webhooks", { params: { path: { connectionId } } })) });
  const [made, setMade] = useState<{ path: string; secret: string } | null>(null);
  const add = (scheme: "github" | "stripe" | "standard") =>
    said(async () => {
      const webhook = await data(own.POST("/connections/{connectionId}/webhooks", { params: { path: { connectionId } }, body: { scheme } }));
      setMade({ path: webhook.path, secret: webhook.secret ?? "" });
      await client.invalidateQueries({ queryKey: key });
    });
  return (
    <Section title="Webhooks">
      <Text size="sm" className="quiet" mb="sm">
        A signed message to one of these addresses starts a sync.
      </Text>
      {!found.data ? (
        <Loading rows={1} />
      ) : (
        found.data.webhooks.length > 0 && (
          <Table>
            <Table.Tbody>
              {found.data.webhooks.map((webhook) => (
                <Table.Tr key={webhook.webhookId}>
                  <Table.Td>{webhook.scheme}</Table.Td>
                  <Table.Td className="mono break">{webhook.path}</Table.Td>
                  <Table.Td className="quiet">made <Ago at={webhook.createdAt} /></Table.Td>
                  <Table.Td ta="right">
                    {!readOnly && (
                      <Button size="compact-xs" variant="subtle" color="red" onClick={() => said(async () => { await data(own.DELETE("/webhooks/{webhookId}", { params: { path: { webhookId: webhook.webhookId } } })); await client.invalidateQueries({ queryKey: key }); }, "Deleted")}>
                        Delete
                      </Button>
                    )}
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )
      )}
      {made && (
        <Alert color="teal" title="Shown only now" mb="sm" withCloseButton onClose={() => setMade(null)}>
          <Copyable label="address and secret" text={`${window.location.origin}${made.path}\n${made.secret}`} />
        </Alert>
      )}
      {!readOnly && (
        <Group gap="xs" mt="xs">
          {(["standard", "github", "stripe"] as const).map((scheme) => (
            <Button key={scheme} size="xs" variant="default" onClick={() => add(scheme)}>
              Add one ({scheme})
            </Button>
          ))}
        </Group>
      )}
    </Section>
  );
}
