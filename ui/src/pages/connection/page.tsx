/** One connection: how it is, what it takes, how far it is, how it is set. */
import { Anchor, Button, Group, Menu, Tabs, Text } from "@mantine/core";
import { IconChevronDown, IconPlayerPause, IconPlayerPlay, IconPlayerStop } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { data, pub } from "../../api/client";
import { detail, heard, overview, type Detail, type Glance } from "../../api/queries";
import { said } from "../../parts/act";
import { Confirm } from "../../parts/confirm";
import { CopyAs, curl, yaml } from "../../parts/copy_as";
import { Head } from "../../parts/head";
import { Broken, Loading } from "../../parts/states";
import { Status } from "../../parts/status";
import { May, useSession } from "../../session";
import { Runs } from "./runs";
import { useTogether } from "./together";

const Streams = lazy(() => import("./streams"));
const Mappings = lazy(() => import("./mappings"));
const Quality = lazy(() => import("./quality"));
const Quarantine = lazy(() => import("./quarantine"));
const Changes = lazy(() => import("./changes"));
const Schema = lazy(() => import("./schema"));
const State = lazy(() => import("./state"));
const SettingsTab = lazy(() => import("./settings"));

const TABS = [
  ["overview", "Overview"],
  ["streams", "Streams"],
  ["mappings", "Mappings"],
  ["schema", "Schema"],
  ["changes", "Changes"],
  ["quality", "Quality"],
  ["quarantine", "Quarantine"],
  ["state", "State"],
  ["settings", "Settings"],
] as const;

export default function ConnectionPage() {
  const { id = "", tab = "overview" } = useParams();
  const navigate = useNavigate();
  const found = useQuery(detail(id));
  const glance = useQuery(overview).data?.connections.find((each) => each.connectionId === id);
  const together = useTogether(glance);
  // Who follows a link lands in its workspace, with the rights that they have there.
  const { workspaceId, places, enter } = useSession();
  const its = found.data?.connection.workspaceId;
  useEffect(() => {
    if (its && its !== workspaceId && places.some((each) => each.workspaceId === its)) enter(its);
  }, [its, workspaceId, places, enter]);
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const shown = found.data;
  return (
    <>
      <Head
        title={shown.connection.name}
        sub={
          glance && (
            <>
              <Anchor component={Link} to={`/sources/${glance.source.id}`} inherit>
                {glance.source.name}
              </Anchor>{" "}
              <span aria-label="to">→</span>{" "}
              <Anchor component={Link} to={`/destinations/${glance.destination.id}`} inherit>
                {glance.destination.name}
              </Anchor>
            </>
          )
        }
      >
        {glance && <Status status={glance.health} size="lg" />}
        <Actions detail={shown} glance={glance} together={together} />
      </Head>
      <Tabs value={tab} onChange={(value) => void navigate(`/connections/${id}${value === "overview" ? "" : `/${value}`}`)} keepMounted={false}>
        <Tabs.List mb="lg">
          {TABS.map(([value, label]) => (
            <Tabs.Tab key={value} value={value}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Suspense fallback={<Loading />}>
          <Tabs.Panel value="overview">
            <Runs detail={shown} glance={glance} together={together} />
          </Tabs.Panel>
          <Tabs.Panel value="streams">
            <Streams detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="mappings">
            <Mappings key={JSON.stringify(shown.options.mappings)} detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="changes">
            <Changes detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="quality">
            <Quality detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="quarantine">
            <Quarantine detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="schema">
            <Schema detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="state">
            <State detail={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="settings">
            <SettingsTab detail={shown} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </>
  );
}

function Actions({ detail: shown, glance, together }: { detail: Detail; glance?: Glance; together: Glance[] }) {
  const client = useQueryClient();
  const { auth } = useSession();
  const { connectionId, name, status } = shown.connection;
  const active = glance?.activeJobId;
  const ask = (jobType: "sync" | "refresh" | "clear") =>
    said(() => data(pub.POST("/jobs", { body: { connectionId, jobType } })), `${jobType === "sync" ? "Sync" : jobType} of ${name.slice(0, 60)} asked for`).then(() => heard(client, connectionId));
  const stop = () =>
    said(() => data(pub.DELETE("/jobs/{jobId}", { params: { path: { jobId: String(active) } } })), `Job ${active} is stopped`).then(() => heard(client, connectionId));
  const setStatus = (next: "active" | "inactive") =>
    said(() => data(pub.PATCH("/connections/{connectionId}", { params: { path: { connectionId } }, body: { status: next } })), next === "active" ? "It runs by its schedule again" : "It is paused").then(() => heard(client, connectionId));
  return (
    <>
      <May right="runner">
        {active != null ? (
          <Button color="red" variant="light" leftSection={<IconPlayerStop size={16} />} onClick={stop}>
            Stop job {active}
          </Button>
        ) : (
          <Group gap={0} wrap="nowrap">
            <Button leftSection={<IconPlayerPlay size={16} />} onClick={() => ask("sync")} disabled={status !== "active"} style={{ borderTopRightRadius: 0, borderBottomRightRadius: 0 }}>
              Sync now
            </Button>
            <Menu position="bottom-end" withinPortal>
              <Menu.Target>
                <Button px={8} aria-label="Other ways to run" style={{ borderTopLeftRadius: 0, borderBottomLeftRadius: 0, borderLeft: "1px solid #ffffff44" }}>
                  <IconChevronDown size={16} />
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item onClick={() => ask("refresh")}>
                  Refresh: read everything anew
                  <Text size="xs" className="quiet">
                    The old copy stays until the new one is whole.
                  </Text>
                </Menu.Item>
                <Confirm
                  title="Empty the destination?"
                  verb="Empty it"
                  word="clear"
                  act={() => ask("clear")}
                  trigger={(open) => (
                    <Menu.Item color="red" onClick={open} closeMenuOnClick={false}>
                      Clear: empty the streams
                    </Menu.Item>
                  )}
                >
                  The streams of <b className="break">{name.slice(0, 100)}</b> are emptied at the destination, and how far they were read is forgotten. The next run copies everything.
                </Confirm>
              </Menu.Dropdown>
            </Menu>
          </Group>
        )}
      </May>
      <May right="editor">
        {status === "active" ? (
          <Button variant="default" leftSection={<IconPlayerPause size={16} />} onClick={() => setStatus("inactive")}>
            Pause
          </Button>
        ) : (
          <Button variant="default" leftSection={<IconPlayerPlay size={16} />} onClick={() => setStatus("active")}>
            Resume
          </Button>
        )}
      </May>
      <CopyAs
        forms={{
          CLI: `syncline connections sync ${connectionId}\nsyncline jobs list --connection ${connectionId}`,
          curl: curl({ method: "POST", path: "/api/public/v1/jobs", body: { connectionId, jobType: "sync" } }, undefined, auth),
          YAML: asYaml(shown, glance, together).trimStart(),
        }}
      />
    </>
  );
}

/** The connection as a block of a project file; its ends are named, their configuration stays where it is. */
function asYaml({ connection, options, key }: Detail, glance: Glance | undefined, together: Glance[]): string {
  const streams = connection.configurations.streams.map((stream) => ({
    name: stream.namespace ? `${stream.namespace}.${stream.name}` : stream.name,
    mode: stream.syncMode ?? undefined,
    cursor_field: stream.cursorField?.[0],
    primary_key: stream.primaryKey?.length ? stream.primaryKey.map((path) => path[0]) : undefined,
    columns: stream.selectedFields?.length ? stream.selectedFields.map((field) => field.fieldPath?.[0]) : undefined,
  }));
  return yaml({
    connections: {
      [glance?.fanOut?.connection ?? key]: {
        source: glance?.source.name,
        ...(together.length > 0 ? { destinations: together.map((each) => each.fanOut!.destination) } : { destination: glance?.destination.name }),
        mode: options.mode ?? undefined,
        streams: streams.length ? streams : undefined,
      },
    },
  });
}
