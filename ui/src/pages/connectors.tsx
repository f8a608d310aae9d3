/** What can be read and written here, and what can be installed. */
import { Anchor, Badge, Button, Group, Modal, SegmentedControl, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { IconDownload, IconSearch } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";
import { data, own } from "../api/client";
import { definitions } from "../api/queries";
import { said } from "../parts/act";
import { ConnectorMark } from "../parts/connector_mark";
import { CopyAs, curl } from "../parts/copy_as";
import { Head } from "../parts/head";
import { Broken, Empty, FailureBox, Loading } from "../parts/states";
import { useSession } from "../session";

export default function Connectors() {
  const { workspaceId, may, auth } = useSession();
  const [query, setQuery] = useSearchParams();
  const kind = query.get("kind") ?? "all";
  const text = query.get("q") ?? "";
  const set = (key: string, value: string) =>
    setQuery((before) => {
      const after = new URLSearchParams(before);
      if (value && value !== "all") after.set(key, value);
      else after.delete(key);
      return after;
    }, { replace: true });
  const sources = useQuery(definitions("source", workspaceId));
  const destinations = useQuery(definitions("destination", workspaceId));
  const catalog = useQuery({ queryKey: ["catalog"], queryFn: () => data(own.GET("/connectors")) });
  const [install, setInstall] = useState<string | null>(null);
  const client = useQueryClient();
  const begin = (name: string) =>
    said(async () => {
      const begun = await data(own.POST("/connectors/installs", { body: { name } }));
      setInstall(begun.installId);
    });
  const fits = (name: string) => name.toLowerCase().includes(text.toLowerCase());
  const airbyte = sources.data?.find((each) => each.repository.endsWith("source-airbyte"));
  const failed = sources.error ?? destinations.error ?? catalog.error;
  if (failed) return <Broken error={failed} />;
  if (!sources.data || !destinations.data || !catalog.data) return <Loading />;
  const builtIn = [
    ...(kind === "all" || kind === "source" ? sources.data.filter((each) => fits(each.name)).map((each) => ({ ...each, role: "source" as const })) : []),
    ...(kind === "all" || kind === "destination" ? destinations.data.filter((each) => fits(each.name)).map((each) => ({ ...each, role: "destination" as const })) : []),
  ];
  const offered = kind === "destination" ? [] : catalog.data.connectors.filter((each) => fits(`${each.title} ${each.name} ${each.package}`)).filter((each) => kind !== "installed" || each.installed.length > 0);
  return (
    <>
      <Head title="Connectors" sub="What is built in, and Airbyte's connectors, which are installed from the Python package index and run as they are.">
        <CopyAs forms={{ CLI: "syncline connectors search\nsyncline connectors install NAME", curl: curl({ method: "POST", path: "/api/syncline/v1/connectors/installs", body: { name: "NAME" } }, undefined, auth) }} />
      </Head>
      <Group mb="lg">
        <TextInput aria-label="Find a connector" placeholder="Find a connector" leftSection={<IconSearch size={15} />} value={text} onChange={(e) => set("q", e.currentTarget.value)} style={{ flex: "1 1 220px", maxWidth: 380 }} />
        <SegmentedControl aria-label="Which ones" value={kind} onChange={(value) => set("kind", value)} data={[{ value: "all", label: "All" }, { value: "source", label: "Sources" }, { value: "destination", label: "Destinations" }, { value: "installed", label: "Installed" }]} />
      </Group>
      {builtIn.length > 0 && (
        <>
          <Text component="h2" fw={650} mb="xs">Built in</Text>
          <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }} mb="xl">
            {builtIn.map((each) => (
              <Link key={`${each.role} ${each.id}`} to={may("editor") ? `/${each.role}s/new?connector=${each.id}` : "#"} className="sheet card-link">
                <Group wrap="nowrap" gap="sm">
                  <ConnectorMark name={each.name} />
                  <div style={{ minWidth: 0 }}>
                    <Text fw={650} className="clip">{each.name}</Text>
                    <Text size="xs" className="quiet clip">{each.role} · {each.version}</Text>
                  </div>
                </Group>
              </Link>
            ))}
          </SimpleGrid>
        </>
      )}
      {offered.length > 0 && (
        <>
          <Text component="h2" fw={650} mb="xs">To install ({offered.length})</Text>
          <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }}>
            {offered.map((each) => (
              <Stack key={each.name} className="sheet" p="sm" gap="xs" justify="space-between">
                <Group wrap="nowrap" gap="sm" align="flex-start">
                  <ConnectorMark name={each.title} />
                  <div style={{ minWidth: 0, flex: 1 }}>
                    <Text fw={650} className="clip" title={each.title}>{each.title}</Text>
                    <Text size="xs" className="quiet clip" title={each.package}>{each.package} {each.version} · {each.licence}</Text>
                  </div>
                  {each.installed.length > 0 && <Badge color="teal" variant="light" className="state state-teal" tt="none">{each.installed.join(", ")}</Badge>}
                </Group>
                <Group gap="xs">
                  {each.installed.length > 0 ? (
                    airbyte && may("editor") && <Button component={Link} to={`/sources/new?connector=${airbyte.id}&package=${encodeURIComponent(each.package)}`} size="xs" variant="default">Use it</Button>
                  ) : (
                    may("admin", null) && <Button size="xs" variant="default" leftSection={<IconDownload size={14} />} onClick={() => begin(each.name)} aria-label={`Install ${each.title}`}>Install</Button>
                  )}
                  {each.docs && <Anchor href={each.docs} target="_blank" rel="noreferrer" size="xs" aria-label={`Documentation of ${each.title}`}>Documentation</Anchor>}
                </Group>
              </Stack>
            ))}
          </SimpleGrid>
        </>
      )}
      {builtIn.length + offered.length === 0 && <Empty title="No connector fits">Change the word or the kind.</Empty>}
      <Modal opened={install !== null} onClose={() => { setInstall(null); void client.invalidateQueries({ queryKey: ["catalog"] }); }} title="Installing a connector">
        {install && <Progressing id={install} />}
      </Modal>
    </>
  );
}

function Progressing({ id }: { id: string }) {
  const found = useQuery({
    queryKey: ["install", id],
    queryFn: () => data(own.GET("/connectors/installs/{installId}", { params: { path: { installId: id } } })),
    refetchInterval: (query) => (query.state.data?.status === "running" || !query.state.data ? 700 : false),
  });
  if (!found.data) return found.error ? <Broken error={found.error} /> : <Loading rows={2} />;
  const { status, steps, name, error } = found.data;
  return (
    <Stack role="status">
      <Text fw={650}>{name}: {status === "running" ? "working …" : status === "succeeded" ? "installed" : "not installed"}</Text>
      <ol style={{ margin: 0, paddingLeft: 20 }}>
        {steps.map((step, i) => <li key={i} className="break">{step}</li>)}
      </ol>
      {error && <FailureBox failure={error} />}
      <Text size="sm" className="quiet">It goes on when this is closed.</Text>
    </Stack>
  );
}
