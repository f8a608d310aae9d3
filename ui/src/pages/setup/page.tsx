/**
 * From nothing to a first sync that runs: source, streams, destination, schedule, review. Each end is tested before it is
 * saved. What is saved is in the address; what is not yet lies in this tab, so a reload loses nothing.
 */
import { Alert, Button, Group, Stack, Stepper, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { data, own, pub } from "../../api/client";
import { definitions, discovered, end as endQuery, ends, heard, spec, type End, type Role, type Schedule } from "../../api/queries";
import { EndForm } from "../../form/end_form";
import { PickConnector } from "../../form/pick_connector";
import { ConnectorMark } from "../../parts/connector_mark";
import { CopyAs, curl } from "../../parts/copy_as";
import { Head } from "../../parts/head";
import { ScheduleForm } from "../../parts/schedule_form";
import { scheduleText } from "../../parts/schedule_words";
import { configured, keyOf, lacking, offeredBy, type Wanted } from "../../parts/selection";
import { Broken, Empty, Loading } from "../../parts/states";
import { standard, StreamsEditor } from "../../parts/streams_editor";
import { MODES, plural } from "../../parts/words";
import { May, useSession } from "../../session";

const STEPS = ["source", "streams", "destination", "schedule", "review"] as const;
type Step = (typeof STEPS)[number];
const PLACE = "syncline.setup";

interface Draft {
  source: string;
  wanted: [string, Wanted][];
  schedule: Schedule | null;
  name: string;
}

export default function Setup() {
  return (
    <May right="editor" instead={<Empty title="Setting up is for editors">Ask an admin of this workspace for the role “editor”.</Empty>}>
      <Steps />
    </May>
  );
}

function Steps() {
  const [query, setQuery] = useSearchParams();
  const source = query.get("source") ?? "";
  const destination = query.get("destination") ?? "";
  const step = STEPS.find((each) => each === query.get("step")) ?? "source";
  const reachable = !source ? 0 : !destination ? 2 : 4;
  const at = Math.min(STEPS.indexOf(step), reachable);
  const [draft, setDraft] = useDraft(source);
  const go = (next: Step, more: Record<string, string> = {}) => {
    window.scrollTo(0, 0);
    setQuery((before) => {
      const after = new URLSearchParams(before);
      for (const [key, value] of Object.entries(more)) {
        if (value) after.set(key, value);
        else after.delete(key);
      }
      after.delete("connector");
      after.set("step", next);
      return after;
    });
  };
  const shared = { source, destination, draft, setDraft, go };
  return (
    <>
      <Head title="Set up a connection" sub="Source, streams, destination, schedule. Each end is tested on the way." />
      <Stepper active={at} onStepClick={(i) => go(STEPS[i]!)} size="sm" mb="xl" allowNextStepsSelect={false}>
        {["Source", "Streams", "Destination", "Schedule", "Review"].map((label, i) => (
          <Stepper.Step key={label} label={label} allowStepSelect={i <= reachable} />
        ))}
      </Stepper>
      {STEPS[at] === "source" && <ChooseEnd role="source" chosen={source} choose={(id) => go("streams", { source: id })} />}
      {STEPS[at] === "streams" && <ChooseStreams {...shared} />}
      {STEPS[at] === "destination" && <ChooseEnd role="destination" chosen={destination} choose={(id) => go("schedule", { destination: id })} />}
      {STEPS[at] === "schedule" && <ChooseSchedule {...shared} />}
      {STEPS[at] === "review" && <Review {...shared} />}
    </>
  );
}

function useDraft(source: string): [Draft, (next: Partial<Draft>) => void] {
  const [draft, set] = useState<Draft>(() => {
    const kept = JSON.parse(sessionStorage.getItem(PLACE) ?? "null") as Draft | null;
    return kept ?? { source, wanted: [], schedule: null, name: "" };
  });
  // Streams of one source mean nothing for another.
  const mine = draft.source === source || !source ? draft : { ...draft, source, wanted: [] };
  return [
    mine,
    (next) => {
      const after = { ...mine, ...next };
      sessionStorage.setItem(PLACE, JSON.stringify(after));
      set(after);
    },
  ];
}

interface Shared {
  source: string;
  destination: string;
  draft: Draft;
  setDraft: (next: Partial<Draft>) => void;
  go: (next: Step, more?: Record<string, string>) => void;
}

function ChooseEnd({ role, chosen, choose }: { role: Role; chosen: string; choose: (id: string) => void }) {
  const { workspaceId } = useSession();
  const [query, setQuery] = useSearchParams();
  const known = useQuery({ ...ends(role), select: (all) => all.filter((each) => each.workspaceId === workspaceId) });
  const kinds = useQuery(definitions(role, workspaceId));
  const definition = kinds.data?.find((each) => each.id === query.get("connector"));
  const pick = (connector: string | null) =>
    setQuery((before) => {
      const after = new URLSearchParams(before);
      if (connector) after.set("connector", connector);
      else after.delete("connector");
      return after;
    });
  if (definition) {
    return (
      <Stack>
        <Button variant="subtle" size="xs" w="max-content" onClick={() => pick(null)}>
          Another connector
        </Button>
        <EndForm key={definition.id} role={role} definition={definition} saved={choose} />
      </Stack>
    );
  }
  return (
    <Stack gap="xl">
      {known.data && known.data.length > 0 && (
        <section>
          <Text component="h2" fw={650} mb="xs">
            Use one that is there
          </Text>
          <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(min(100%, 260px), 1fr))", gap: 12 }}>
            {known.data.slice(0, 60).map((each) => (
              <UnstyledButton key={each.id} className="sheet card-link" onClick={() => choose(each.id)} aria-current={each.id === chosen ? "true" : undefined} style={each.id === chosen ? { borderColor: "var(--mantine-primary-color-filled)" } : undefined}>
                <Group wrap="nowrap" gap="sm">
                  <ConnectorMark name={each.type} />
                  <div style={{ minWidth: 0 }}>
                    <Text fw={650} className="clip">{each.name}</Text>
                    <Text size="xs" className="quiet clip">{each.type}</Text>
                  </div>
                </Group>
              </UnstyledButton>
            ))}
          </div>
        </section>
      )}
      <section>
        <Text component="h2" fw={650} mb="xs">
          {known.data && known.data.length > 0 ? "Or add a new one" : role === "source" ? "What do you want to read from?" : "Where should it go?"}
        </Text>
        <PickConnector role={role} pick={(each) => pick(each.id)} />
      </section>
    </Stack>
  );
}

function ChooseStreams({ source, destination, draft, setDraft, go }: Shared) {
  const catalog = useQuery(discovered(source));
  const modes = useModes(destination);
  const offered = useMemo(() => offeredBy(catalog.data?.catalog), [catalog.data]);
  const wanted = useMemo(() => new Map(draft.wanted), [draft.wanted]);
  const few = offered.length <= 30;
  // Who has few tables mostly wants them all; who has many chooses.
  useEffect(() => {
    if (draft.wanted.length === 0 && offered.length > 0 && few) setDraft({ source, wanted: offered.map((each) => [keyOf(each), standard(each, modes)]) });
    // Only when the catalog has come.
    // eslint-disable-next-line
  }, [offered]);
  if (catalog.error) return <Broken error={catalog.error} again={() => void catalog.refetch()} />;
  if (!catalog.data) {
    return (
      <>
        <Text role="status" className="quiet">Looking at what the source offers …</Text>
        <Loading />
      </>
    );
  }
  if (catalog.data.jobInfo.succeeded === false) {
    return (
      <Alert color="red" title="The source could not be looked at" className="failure">
        <Text className="break">{catalog.data.jobInfo.failureReason?.externalMessage ?? "No reason was given."}</Text>
        <Group mt="sm">
          <Button size="xs" variant="default" onClick={() => void catalog.refetch()}>Try again</Button>
          <Button size="xs" variant="default" onClick={() => go("source")}>Choose another source</Button>
        </Group>
      </Alert>
    );
  }
  const missing = lacking(offered, wanted);
  return (
    <Stack>
      <StreamsEditor offered={offered} wanted={wanted} change={(next) => setDraft({ source, wanted: [...next] })} destinationModes={modes} />
      <Next disabled={wanted.size === 0 || missing.length > 0} why={wanted.size === 0 ? "Choose one stream at least." : missing.slice(0, 3).join(", ")} go={() => go("destination")} />
    </Stack>
  );
}

function useModes(destination: string): string[] {
  const { workspaceId } = useSession();
  const end = useQuery({ ...endQuery("destination", destination), enabled: destination !== "" });
  const found = useQuery({ ...spec("destination", end.data?.definitionId ?? "", workspaceId), enabled: end.isSuccess });
  return found.data?.modes ?? [];
}

function Next({ disabled, why, go, label = "Next" }: { disabled?: boolean; why?: string; go: () => void; label?: string }) {
  return (
    <Group className="sheet" p="sm" style={{ position: "sticky", bottom: 12, zIndex: 20, boxShadow: "0 4px 18px rgb(0 0 0 / .16)" }}>
      <Button onClick={go} disabled={disabled}>
        {label}
      </Button>
      {disabled && why && <Text size="sm">{why}</Text>}
    </Group>
  );
}

const isCdc = (end?: End) => JSON.stringify(end?.configuration.replication_method ?? "").toUpperCase().includes("CDC");

function ChooseSchedule({ source, draft, setDraft, go }: Shared) {
  const end = useQuery(endQuery("source", source));
  const schedule = draft.schedule ?? { kind: "basic", units: 1, timeUnit: "hours" };
  return (
    <Stack>
      <div className="sheet" style={{ padding: 20 }}>
        <Text fw={650} mb="sm" component="h2">
          When should it run?
        </Text>
        <ScheduleForm value={schedule} change={(next) => setDraft({ schedule: next })} followsLog={isCdc(end.data)} />
      </div>
      <Next
        go={() => {
          setDraft({ schedule });
          go("review");
        }}
      />
    </Stack>
  );
}

function Review({ source, destination, draft, setDraft, go }: Shared) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const { auth } = useSession();
  const from = useQuery(endQuery("source", source));
  const to = useQuery(endQuery("destination", destination));
  const catalog = useQuery(discovered(source));
  const modes = useModes(destination);
  const offered = useMemo(() => offeredBy(catalog.data?.catalog), [catalog.data]);
  const wanted = useMemo(() => new Map(draft.wanted), [draft.wanted]);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  if (from.error ?? to.error) return <Broken error={from.error ?? to.error} />;
  if (!from.data || !to.data || !catalog.data) return <Loading />;
  const schedule = draft.schedule ?? { kind: "manual" as const };
  const name = draft.name || `${from.data.name} → ${to.data.name}`;
  const streams = configured(offered, wanted);
  // The destination was chosen after the streams: it may not keep each of their modes.
  const unfit = modes.length === 0 ? [] : offered.filter((each) => wanted.has(keyOf(each)) && !standardFits(wanted.get(keyOf(each))!.mode, modes));
  const body = { name, sourceId: source, destinationId: destination, configurations: { streams } };
  const begin = async () => {
    setBusy(true);
    setProblem("");
    let made: string | null = null;
    try {
      // Made at rest, so that nothing runs before its schedule is right.
      made = (await data(pub.POST("/connections", { body: { ...body, status: "inactive" } }))).connectionId;
      const path = { connectionId: made };
      await data(own.PATCH("/connections/{connectionId}", { params: { path }, body: { schedule } }));
      await data(pub.PATCH("/connections/{connectionId}", { params: { path }, body: { status: "active" } }));
      sessionStorage.removeItem(PLACE);
      const connectionId = made;
      // A schedule may have begun it already, which is as good.
      await data(pub.POST("/jobs", { body: { connectionId, jobType: "sync" } })).catch(() => undefined);
      heard(client, connectionId);
      await navigate(`/connections/${connectionId}`);
    } catch (error) {
      if (made !== null) await data(pub.DELETE("/connections/{connectionId}", { params: { path: { connectionId: made } } })).catch(() => undefined);
      setProblem(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  const byMode = new Map<string, typeof streams>();
  for (const each of streams) byMode.set(each.syncMode ?? "", [...(byMode.get(each.syncMode ?? "") ?? []), each]);
  return (
    <Stack>
      <div className="sheet" style={{ padding: 20 }}>
        <Stack gap="md">
          <TextInput label="Name of the connection" value={draft.name} placeholder={name} maxLength={256} onChange={(e) => setDraft({ name: e.currentTarget.value })} />
          <dl style={{ margin: 0, display: "grid", gridTemplateColumns: "minmax(90px, max-content) 1fr", gap: "8px 20px" }}>
            <dt className="quiet">From</dt>
            <dd style={{ margin: 0 }} className="break">{from.data.name} ({from.data.type})</dd>
            <dt className="quiet">To</dt>
            <dd style={{ margin: 0 }} className="break">{to.data.name} ({to.data.type})</dd>
            <dt className="quiet">Streams</dt>
            <dd style={{ margin: 0 }}>
              {[...byMode].map(([mode, list]) => (
                <div key={mode} className="break">
                  <b>{MODES[mode]?.short}</b>: {list.slice(0, 8).map((each) => each.name).join(", ")}
                  {list.length > 8 && ` and ${list.length - 8} more`}
                </div>
              ))}
              <span className="quiet">{plural(streams.length, "stream")}</span>
            </dd>
            <dt className="quiet">Runs</dt>
            <dd style={{ margin: 0 }}>{scheduleText(schedule)}, and once now</dd>
          </dl>
        </Stack>
      </div>
      {unfit.length > 0 && (
        <Alert color="orange" title={`${to.data.name} cannot keep the mode of ${plural(unfit.length, "stream")}`}>
          {unfit.slice(0, 5).map((each) => each.name).join(", ")}: this destination adds rows and never merges them.
          <Group mt="sm">
            <Button size="xs" onClick={() => setDraft({ wanted: [...refitted(offered, wanted, modes)] })}>
              Use the nearest modes that it keeps
            </Button>
            <Button size="xs" variant="default" onClick={() => go("streams")}>Choose them myself</Button>
          </Group>
        </Alert>
      )}
      {problem && (
        <Alert color="red" title="It was not made" role="alert" className="break">
          {problem}
        </Alert>
      )}
      <Group>
        <Button size="md" loading={busy} onClick={begin} disabled={unfit.length > 0 || streams.length === 0}>
          Create it and start the first sync
        </Button>
        <CopyAs forms={{ curl: curl({ method: "POST", path: "/api/public/v1/connections", body }, undefined, auth) }} />
      </Group>
    </Stack>
  );
}

const WRITES: Record<string, string> = { full_refresh_overwrite: "overwrite", full_refresh_append: "append", full_refresh_overwrite_deduped: "overwrite_dedup", incremental_append: "append", incremental_deduped_history: "append_dedup" };

function standardFits(mode: string, modes: string[]): boolean {
  return modes.includes(WRITES[mode] ?? "");
}

function refitted(offered: ReturnType<typeof offeredBy>, wanted: Map<string, Wanted>, modes: string[]): Map<string, Wanted> {
  const next = new Map(wanted);
  for (const stream of offered) {
    const now = next.get(keyOf(stream));
    if (!now || standardFits(now.mode, modes)) continue;
    const near = now.mode === "incremental_deduped_history" ? "incremental_append" : "full_refresh_overwrite";
    next.set(keyOf(stream), standardFits(near, modes) ? { ...now, mode: near } : standard(stream, modes));
  }
  return next;
}
