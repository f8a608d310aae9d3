/** What a connection takes of its source. A change shows its plan before it is applied. */
import { Alert, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { config, data, own, patiently, pub } from "../../api/client";
import { catalogOf, end, heard, spec, type Detail, type Plan } from "../../api/queries";
import { said } from "../../parts/act";
import { CopyAs, curl } from "../../parts/copy_as";
import { PlanTable } from "../../parts/plan_table";
import { configured, consequences, lacking, offeredBy, wantedBy, type Wanted } from "../../parts/selection";
import { Broken, Loading } from "../../parts/states";
import { StreamsEditor } from "../../parts/streams_editor";
import { plural } from "../../parts/words";
import { useSession } from "../../session";

export default function Streams({ detail }: { detail: Detail }) {
  const { connectionId, sourceId, destinationId, workspaceId, configurations } = detail.connection;
  const session = useSession();
  const client = useQueryClient();
  const catalog = useQuery(catalogOf(connectionId));
  const destination = useQuery(end("destination", destinationId));
  const modes = useQuery({ ...spec("destination", destination.data?.definitionId ?? "", workspaceId), enabled: destination.isSuccess });
  const offered = useMemo(() => offeredBy(catalog.data?.syncCatalog), [catalog.data]);
  const before = useMemo(() => wantedBy(catalog.data?.syncCatalog), [catalog.data]);
  const [draft, setDraft] = useState<Map<string, Wanted> | null>(null);
  const [review, setReview] = useState(false);
  const look = useMutation({
    mutationFn: () => patiently(() => data(config.POST("/sources/discover_schema", { body: { sourceId, disable_cache: true } }))),
    onSuccess: () => client.invalidateQueries({ queryKey: ["connection", connectionId, "catalog"] }),
  });
  if (!catalog.data) return catalog.error ? <Broken error={catalog.error} again={() => void catalog.refetch()} /> : <Loading />;

  const wanted = draft ?? before;
  const changes = draft ? consequences(offered, before, draft) : [];
  const missing = lacking(offered, wanted);
  const streams = configured(offered, wanted, configurations.streams);
  const edit = session.may("editor");
  const apply = () =>
    said(async () => {
      await data(pub.PATCH("/connections/{connectionId}", { params: { path: { connectionId } }, body: { configurations: { streams } } }));
      setReview(false);
      setDraft(null);
      heard(client, connectionId);
    }, "The streams are changed; the next run takes them so.");
  return (
    <Stack>
      <Group justify="space-between">
        <Text size="sm" className="quiet">
          {configurations.streams.length === 0 ? "It takes every stream of the source, new ones too. Change one to fix the list." : "As the source was last looked at."}
        </Text>
        <Button size="xs" variant="default" leftSection={<IconRefresh size={15} />} loading={look.isPending} onClick={() => look.mutate()} disabled={!session.may("runner")}>
          Look at the source again
        </Button>
      </Group>
      {look.data && look.data.jobInfo.succeeded === false && <Alert color="red">{look.data.jobInfo.failureReason?.externalMessage ?? "The source could not be looked at."}</Alert>}
      {look.error && <Alert color="red">{look.error.message}</Alert>}
      <StreamsEditor offered={offered} wanted={wanted} change={setDraft} destinationModes={modes.data?.modes} readOnly={!edit} />
      {draft && (
        <Group className="sheet" p="sm" justify="space-between" style={{ position: "sticky", bottom: 12, zIndex: 20, boxShadow: "0 4px 18px rgb(0 0 0 / .18)" }}>
          <Text size="sm" role="status">
            {changes.length === 0 ? "Nothing is changed." : plural(changes.length, "change")}
            {missing.length > 0 && <b> {missing.slice(0, 3).join(", ")}.</b>}
            {wanted.size === 0 && <b> Choose one stream at least.</b>}
          </Text>
          <Group gap="xs">
            <Button variant="default" onClick={() => setDraft(null)}>
              Discard
            </Button>
            <Button disabled={changes.length === 0 || missing.length > 0 || wanted.size === 0} onClick={() => setReview(true)}>
              See what this does
            </Button>
          </Group>
        </Group>
      )}
      <Modal opened={review} onClose={() => setReview(false)} title="What this change does" size="xl">
        {review && <Review connectionId={connectionId} changes={changes} streams={streams} apply={apply} auth={session.auth} />}
      </Modal>
    </Stack>
  );
}

function Review({ connectionId, changes, streams, apply, auth }: { connectionId: string; changes: { stream: string; says: string }[]; streams: ReturnType<typeof configured>; apply: () => Promise<unknown>; auth: boolean }) {
  const [busy, setBusy] = useState(false);
  const plan = useQuery({
    queryKey: ["draft", connectionId, streams],
    queryFn: ({ signal }): Promise<{ streams: Plan[] }> =>
      patiently(() => data(own.POST("/connections/{connectionId}/plan/draft", { params: { path: { connectionId } }, body: { streams } })), signal),
    retry: false,
    gcTime: 0,
  });
  return (
    <Stack>
      <ul style={{ margin: 0, paddingLeft: 20 }}>
        {changes.map((change, i) => (
          <li key={i} className="break">
            <b>{change.stream.slice(0, 200)}</b> {change.says}
          </li>
        ))}
      </ul>
      <Text fw={650}>The next run would then do this</Text>
      {plan.data ? <PlanTable streams={plan.data.streams} /> : plan.error ? <Alert color="red" title="The plan could not be made" className="break">{plan.error.message}</Alert> : <Loading rows={3} label="Looking at both ends" />}
      <Group justify="flex-end">
        <CopyAs forms={{ curl: curl({ method: "PATCH", path: `/api/public/v1/connections/${connectionId}`, body: { configurations: { streams } } }, undefined, auth) }} />
        <Button
          loading={busy}
          disabled={plan.isPending}
          onClick={async () => {
            setBusy(true);
            await apply();
            setBusy(false);
          }}
        >
          {plan.error ? "Apply all the same" : "Apply"}
        </Button>
      </Group>
    </Stack>
  );
}
