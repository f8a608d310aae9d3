/** What needs somebody and what did, whom it is told to, and what counts as trouble. */
import { Badge, Button, Checkbox, Group, Modal, NumberInput, SegmentedControl, Select, SimpleGrid, Stack, Switch, Table, Tabs, Text, TextInput } from "@mantine/core";
import { IconBellCheck, IconSend } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { data, own, Problem } from "../api/client";
import type { components } from "../api/own";
import { overview } from "../api/queries";
import { said } from "../parts/act";
import { Confirm } from "../parts/confirm";
import { CopyAs, curl } from "../parts/copy_as";
import { Head } from "../parts/head";
import { Ago } from "../parts/moment";
import { Broken, Empty, Loading } from "../parts/states";
import { span } from "../parts/words";
import { useSession } from "../session";

type Alert = components["schemas"]["AlertRead"];
type Channel = components["schemas"]["ChannelRead"];
type Rules = Record<string, Record<string, number | boolean | null> | number>;

export default function Alerts() {
  const { tab = "told" } = useParams();
  const navigate = useNavigate();
  const { workspaceId, auth } = useSession();
  return (
    <>
      <Head title="Alerts" sub="What needs somebody, who is told, and of what.">
        <CopyAs
          forms={{
            curl: curl({ method: "GET", path: "/api/syncline/v1/alerts?open=true" }, undefined, auth),
            "curl, a channel": curl({ method: "POST", path: `/api/syncline/v1/workspaces/${workspaceId}/alert_channels`, body: { name: "ops", url: "json://hooks.example.com/syncline" } }, undefined, auth),
            YAML: 'alerts:\n  channels: ["${SLACK_URL}"]\n  rules:\n    sync_duration: {max_minutes: 45}\n  quiet_hours: {start: "22:00", end: "07:00", time_zone: Europe/Berlin, except: [failure]}',
          }}
        />
      </Head>
      <Tabs value={tab} onChange={(value) => void navigate(`/alerts${value === "told" ? "" : `/${value}`}`)} keepMounted={false}>
        <Tabs.List mb="lg">
          <Tabs.Tab value="told">Alerts</Tabs.Tab>
          <Tabs.Tab value="channels">Channels</Tabs.Tab>
          <Tabs.Tab value="rules">Rules</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="told">
          <Told />
        </Tabs.Panel>
        <Tabs.Panel value="channels">
          <Channels />
        </Tabs.Panel>
        <Tabs.Panel value="rules">
          <RulesOf />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

const RULES: Record<string, string> = {
  failure: "A sync failed",
  sync_duration: "A sync takes long",
  rows_synced: "Few rows came",
  file_size: "Files are small or large",
  lag: "A log is followed late",
  retained_wal: "The source keeps much log",
  schema_change: "The source has changed",
  freshness: "The data is old",
  quarantine: "Rows were set aside",
};

function Told() {
  const { workspaceId } = useSession();
  const [query, setQuery] = useSearchParams();
  const only = query.get("show") !== "all";
  const [open, setOpen] = useState<Alert | null>(null);
  const found = useQuery({
    queryKey: ["alerts", workspaceId, only],
    queryFn: () => data(own.GET("/alerts", { params: { query: { workspaceId, open: only, limit: 500 } } })),
    refetchInterval: 15_000,
  });
  return (
    <Stack>
      <SegmentedControl w="max-content" size="xs" aria-label="Which alerts" value={only ? "open" : "all"} onChange={(value) => setQuery(value === "all" ? { show: "all" } : {}, { replace: true })} data={[{ value: "open", label: "Open" }, { value: "all", label: "Open and over" }]} />
      <div className="sheet">
        {!found.data ? (
          found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />
        ) : found.data.alerts.length === 0 ? (
          <Empty title={only ? "Nothing needs anybody" : "There was no alert yet"}>{only ? "No rule is broken at present." : "What breaks a rule appears here, and stays when it is over."}</Empty>
        ) : (
          <Table.ScrollContainer minWidth={680}>
            <Table>
              <Table.Thead>
                <Table.Tr><Table.Th>State</Table.Th><Table.Th>What</Table.Th><Table.Th>Connection</Table.Th><Table.Th>Since</Table.Th><Table.Th><span className="sr-only">Messages</span></Table.Th></Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {found.data.alerts.map((alert) => (
                  <Table.Tr key={alert.alertId}>
                    <Table.Td><State alert={alert} /></Table.Td>
                    <Table.Td maw={460}>
                      <Text fw={600} size="sm">{RULES[alert.rule] ?? alert.rule}</Text>
                      <Text size="sm" className="break" lineClamp={3}>{alert.sentence}</Text>
                      {alert.hint && !alert.resolvedAt && <Text size="sm" className="quiet break" lineClamp={3}>{alert.hint}</Text>}
                    </Table.Td>
                    <Table.Td maw={220}>
                      <Link to={`/connections/${alert.connectionId}`} className="link break">{alert.connection.slice(0, 120)}</Link>
                      {alert.jobId != null && <div><Link to={`/jobs/${alert.jobId}`} className="quiet">job {alert.jobId}</Link></div>}
                    </Table.Td>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>
                      <Ago at={alert.since} />
                      {alert.resolvedAt && alert.resolvedAt !== alert.since && <div className="quiet">for {span((Date.parse(alert.resolvedAt) - Date.parse(alert.since)) / 1000)}</div>}
                    </Table.Td>
                    <Table.Td ta="right">
                      <Button size="compact-xs" variant="subtle" onClick={() => setOpen(alert)}>
                        Messages<span className="sr-only"> of {RULES[alert.rule] ?? alert.rule}, {alert.connection.slice(0, 60)}</span>
                      </Button>
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </div>
      <Modal opened={open !== null} onClose={() => setOpen(null)} size="lg" title="Who was told">
        {open && <Messages alert={open} />}
      </Modal>
    </Stack>
  );
}

function State({ alert }: { alert: Alert }) {
  const color = alert.resolvedAt ? "gray" : "red";
  return (
    <Badge variant="light" color={color} radius="sm" tt="none" miw="max-content" className={`state state-${color}`}>
      {alert.resolvedAt ? "Over" : "Open"}
    </Badge>
  );
}

const FATES: Record<string, string> = { pending: "waits", sent: "arrived", failed: "failed", dropped: "not sent" };

function Messages({ alert }: { alert: Alert }) {
  const found = useQuery({
    queryKey: ["alerts", "messages", alert.alertId],
    queryFn: () => data(own.GET("/workspaces/{workspaceId}/alerts/{alertId}/messages", { params: { path: { workspaceId: alert.workspaceId, alertId: alert.alertId } } })),
    refetchInterval: (query) => (query.state.data?.messages.some((each) => each.status === "pending") ? 3000 : false),
  });
  const channels = useChannels(alert.workspaceId);
  if (!found.data) return found.error ? <Broken error={found.error} /> : <Loading rows={3} />;
  if (found.data.messages.length === 0) return <Empty title="Nobody was told">There is no channel, or none was on when this began.</Empty>;
  return (
    <Stack>
      {found.data.messages.map((message, i) => (
        <div key={i} className="sheet" style={{ padding: 12 }}>
          <Group justify="space-between" gap="xs">
            <Text fw={600} size="sm" className="break">{channels.data?.channels.find((each) => each.channelId === message.channelId)?.name ?? "a channel that is gone"}</Text>
            <Text size="sm">{FATES[message.status] ?? message.status}{message.tries > 1 && ` after ${message.tries} tries`} · <Ago at={message.endedAt ?? message.createdAt} /></Text>
          </Group>
          <Text size="sm" className="break" mt={6}>{message.title}</Text>
          <pre className="code" style={{ marginTop: 6 }} tabIndex={0} aria-label="message">{message.body}</pre>
          {message.error && <Text size="sm" className="break" mt={6}><b>Why it failed:</b> {message.error}</Text>}
        </div>
      ))}
    </Stack>
  );
}

const useChannels = (workspaceId: string) =>
  useQuery({
    queryKey: ["alerts", "channels", workspaceId],
    queryFn: () => data(own.GET("/workspaces/{workspaceId}/alert_channels", { params: { path: { workspaceId } } })),
  });

function Channels() {
  const { workspaceId, may } = useSession();
  const client = useQueryClient();
  const found = useChannels(workspaceId);
  const [shown, setShown] = useState<Channel | "new" | null>(null);
  const [testing, setTesting] = useState<string | null>(null);
  const edit = may("editor");
  const again = () => client.invalidateQueries({ queryKey: ["alerts", "channels"] });
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const test = async (channel: Channel) => {
    setTesting(channel.channelId);
    await said(() => data(own.POST("/alert_channels/{channelId}/test", { params: { path: { channelId: channel.channelId } } })), `A message has arrived at ${channel.name.slice(0, 60)}`);
    setTesting(null);
  };
  const turn = (channel: Channel, enabled: boolean) =>
    said(() => data(own.PATCH("/alert_channels/{channelId}", { params: { path: { channelId: channel.channelId } }, body: { enabled, loud: false } }))).then(again);
  return (
    <Stack>
      {edit && <Button w="max-content" onClick={() => setShown("new")}>Add a channel</Button>}
      <div className="sheet">
        {found.data.channels.length === 0 ? (
          <Empty title="Nobody is told">A channel is a Slack room, a mailbox, a webhook: alerts are sent there as they begin and when they are over.</Empty>
        ) : (
          <Table.ScrollContainer minWidth={560}>
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Kind</Table.Th><Table.Th>Quiet</Table.Th><Table.Th>On</Table.Th><Table.Th><span className="sr-only">What to do with it</span></Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {found.data.channels.map((channel) => (
                  <Table.Tr key={channel.channelId}>
                    <Table.Td className="break" maw={260}>{channel.name}</Table.Td>
                    <Table.Td>{channel.kind}</Table.Td>
                    <Table.Td>{quietWords(channel)}</Table.Td>
                    <Table.Td><Switch aria-label={`Send to ${channel.name}`} checked={channel.enabled} disabled={!edit} onChange={(e) => void turn(channel, e.currentTarget.checked)} /></Table.Td>
                    <Table.Td ta="right">
                      {edit && (
                        <Group gap={4} justify="flex-end" wrap="nowrap">
                          <Button size="compact-sm" variant="default" leftSection={<IconSend size={14} />} loading={testing === channel.channelId} onClick={() => void test(channel)} aria-label={`Send a test to ${channel.name}`}>Test</Button>
                          <Button size="compact-sm" variant="subtle" onClick={() => setShown(channel)} aria-label={`Change ${channel.name}`}>Change</Button>
                          <Confirm title="Delete this channel?" verb="Delete it" act={async () => { await data(own.DELETE("/alert_channels/{channelId}", { params: { path: { channelId: channel.channelId } } })); await again(); }} trigger={(open) => <Button size="compact-sm" variant="subtle" color="red" onClick={open} aria-label={`Delete ${channel.name}`}>Delete</Button>}>
                            Nobody is told by <b className="break">{channel.name}</b> from then on.
                          </Confirm>
                        </Group>
                      )}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </div>
      <Modal opened={shown !== null} onClose={() => setShown(null)} title={shown === "new" ? "Add a channel" : "Change the channel"}>
        {shown && <ChannelForm channel={shown === "new" ? null : shown} done={() => { setShown(null); void again(); }} />}
      </Modal>
    </Stack>
  );
}

function quietWords(channel: Channel): string {
  const quiet = channel.quietHours as { start?: string; end?: string; time_zone?: string } | undefined;
  return quiet ? `${quiet.start}–${quiet.end} ${quiet.time_zone ?? "UTC"}` : "never";
}

function ChannelForm({ channel, done }: { channel: Channel | null; done: () => void }) {
  const { workspaceId } = useSession();
  const quiet = (channel?.quietHours ?? null) as { start: string; end: string; time_zone: string; except: string[] } | null;
  const [name, setName] = useState(channel?.name ?? "");
  const [url, setUrl] = useState("");
  const [hush, setHush] = useState(quiet !== null);
  const [start, setStart] = useState(quiet?.start ?? "22:00");
  const [end, setEnd] = useState(quiet?.end ?? "07:00");
  const [zone, setZone] = useState(quiet?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone);
  const [failures, setFailures] = useState(quiet ? quiet.except.includes("failure") : true);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    const kept = quiet?.except.filter((rule) => rule !== "failure") ?? [];
    const quietHours = hush ? { start, end, time_zone: zone, except: failures ? ["failure", ...kept] : kept } : undefined;
    try {
      if (channel) await data(own.PATCH("/alert_channels/{channelId}", { params: { path: { channelId: channel.channelId } }, body: { name, ...(url ? { url } : {}), ...(quietHours ? { quietHours } : {}), loud: !hush } }));
      else await data(own.POST("/workspaces/{workspaceId}/alert_channels", { params: { path: { workspaceId } }, body: { name, url, enabled: true, quietHours } }));
      done();
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    setBusy(false);
  };
  return (
    <form onSubmit={save}>
      <Stack>
        <TextInput label="Name" description="What it is for, in lists" value={name} maxLength={200} error={problem?.fields.name} onChange={(e) => setName(e.currentTarget.value)} data-autofocus />
        <TextInput label="Address" description={channel ? "Leave it and it stays; it is never shown" : "An apprise URL: slack://…, mailto://…, msteams://…, jsons://host/path for a webhook"} placeholder={channel ? "unchanged" : "slack://TOKEN_A/TOKEN_B/TOKEN_C"} required={channel === null} value={url} autoComplete="off" error={problem?.fields.url} onChange={(e) => setUrl(e.currentTarget.value)} />
        <Checkbox label="Quiet hours: messages wait until they are over" checked={hush} onChange={(e) => setHush(e.currentTarget.checked)} />
        {hush && (
          <>
            <SimpleGrid cols={2}>
              <TextInput label="From" type="time" required value={start} error={problem?.fields["quietHours.start"]} onChange={(e) => setStart(e.currentTarget.value)} />
              <TextInput label="Until" type="time" required value={end} error={problem?.fields["quietHours.end"]} onChange={(e) => setEnd(e.currentTarget.value)} />
            </SimpleGrid>
            <Select label="Time zone" searchable data={zones(zone)} value={zone} allowDeselect={false} error={problem?.fields["quietHours.time_zone"]} onChange={(value) => setZone(value ?? "UTC")} />
            <Checkbox label="Failures are told at once all the same" checked={failures} onChange={(e) => setFailures(e.currentTarget.checked)} />
          </>
        )}
        {problem && !["name", "url"].some((key) => problem.fields[key]) && <Text role="alert" c="red" size="sm" className="break">{problem.message}</Text>}
        <Button type="submit" loading={busy}>{channel ? "Save" : "Add it"}</Button>
      </Stack>
    </form>
  );
}

function zones(own: string): string[] {
  return [...new Set(["UTC", own, ...Intl.supportedValuesOf("timeZone")])];
}

/** A rule's settings: key, words, and what may be missing. */
const SETTINGS: Record<string, [key: string, label: string, help?: string][]> = {
  sync_duration: [["max_minutes", "Minutes at most"]],
  rows_synced: [["min", "Rows at least"]],
  file_size: [["min_mb", "MB on average, at least"], ["max_mb", "MB of one file, at most"]],
  lag: [["max_seconds", "Seconds behind, at most"], ["for_seconds", "for so many seconds"]],
  retained_wal: [["max_gb", "GB at most"]],
  freshness: [["max_minutes", "Minutes without a success", "empty: twice the schedule's interval and ten minutes"]],
  quarantine: [["max_rows", "Rows set aside, at most"]],
};

function RulesOf() {
  const { workspaceId, may } = useSession();
  const client = useQueryClient();
  const [query, setQuery] = useSearchParams();
  const connectionId = query.get("connection") ?? undefined;
  const connections = useQuery(overview).data?.connections.filter((each) => each.workspaceId === workspaceId) ?? [];
  const found = useQuery({
    queryKey: ["alerts", "rules", workspaceId, connectionId],
    queryFn: () => data(own.GET("/workspaces/{workspaceId}/alert_rules", { params: { path: { workspaceId }, query: { connectionId } } })),
  });
  const general = useQuery({
    queryKey: ["alerts", "rules", workspaceId, undefined],
    queryFn: () => data(own.GET("/workspaces/{workspaceId}/alert_rules", { params: { path: { workspaceId } } })),
  });
  const [draft, setDraft] = useState<Rules | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  if (!found.data || !general.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const rules = draft ?? (found.data.rules as Rules);
  const edit = may("editor");
  const change = (rule: string, key: string, value: number | boolean | null) => {
    const before = rules[rule] as Record<string, number | boolean | null>;
    setDraft({ ...rules, [rule]: { ...before, [key]: value } });
  };
  const save = async () => {
    setProblem(null);
    const everywhere = general.data.rules as Rules;
    // A connection keeps only what is different for it, so that it follows the workspace in everything else.
    const told = connectionId ? Object.fromEntries(Object.entries(rules).filter(([rule, is]) => JSON.stringify(is) !== JSON.stringify(everywhere[rule]))) : rules;
    try {
      await data(own.PUT("/workspaces/{workspaceId}/alert_rules", { params: { path: { workspaceId }, query: { connectionId } }, body: { rules: told } }));
      setDraft(null);
      await client.invalidateQueries({ queryKey: ["alerts", "rules"] });
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
  };
  return (
    <Stack maw={820}>
      <Select label="They hold for" searchable maw={420} value={connectionId ?? ""} allowDeselect={false} data={[{ value: "", label: "every connection of the workspace" }, ...connections.map((each) => ({ value: each.connectionId, label: each.name.slice(0, 100) }))]} onChange={(value) => { setDraft(null); setQuery(value ? { connection: value } : {}, { replace: true }); }} />
      <div className="sheet">
        {Object.keys(RULES).map((rule) => {
          const said_ = rules[rule] as Record<string, number | boolean | null> | undefined;
          if (!said_) return null;
          return (
            <Group key={rule} p="md" justify="space-between" align="flex-start" style={{ borderBottom: "1px solid var(--line)" }} role="group" aria-label={RULES[rule]}>
              <Switch label={RULES[rule]} checked={said_.enabled === true} disabled={!edit} onChange={(e) => change(rule, "enabled", e.currentTarget.checked)} />
              <Group gap="sm" align="flex-start">
                {(SETTINGS[rule] ?? []).map(([key, label, help]) => (
                  <NumberInput key={key} size="xs" w={210} label={label} description={help} min={0} value={(said_[key] as number | null) ?? ""} disabled={!edit || said_.enabled !== true} error={problem?.fields[`${rule}.${key}`]} onChange={(value) => change(rule, key, value === "" ? null : Number(value))} />
                ))}
              </Group>
            </Group>
          );
        })}
        <Group p="md" justify="space-between" align="flex-start">
          <Text size="sm">An alert that stays open is told again</Text>
          <NumberInput size="xs" w={210} label="after so many hours" min={1} value={rules.repeat_hours as number} disabled={!edit} error={problem?.fields.repeat_hours} onChange={(value) => setDraft({ ...rules, repeat_hours: Number(value) || 24 })} />
        </Group>
      </div>
      {problem && <Text role="alert" c="red" size="sm" className="break">{problem.message}</Text>}
      {edit && (
        <Group>
          <Button leftSection={<IconBellCheck size={16} />} disabled={draft === null} onClick={() => void save()}>Save</Button>
          {draft && <Button variant="default" onClick={() => { setDraft(null); setProblem(null); }}>Discard</Button>}
        </Group>
      )}
    </Stack>
  );
}
