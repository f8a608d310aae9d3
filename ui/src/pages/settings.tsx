/** The workspace, the server, and how this page looks. */
import { Anchor, Button, Group, SegmentedControl, Stack, Text, TextInput, useMantineColorScheme } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { data, pub } from "../api/client";
import { said } from "../parts/act";
import { Copyable } from "../parts/copy_as";
import { Head } from "../parts/head";
import { useSession } from "../session";
import { Section } from "./connection/settings";

const DOCUMENTS: [string, string][] = [
  ["Airbyte's public API", "/api/public/v1/openapi.json"],
  ["Airbyte's config API", "/api/v1/openapi.json"],
  ["Syncline's own API", "/api/syncline/v1/openapi.json"],
  ["Health", "/health"],
];

export default function Settings() {
  const session = useSession();
  const client = useQueryClient();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const [name, setName] = useState(session.workspaceName);
  const save = () =>
    said(async () => {
      await data(pub.PATCH("/workspaces/{workspaceId}", { params: { path: { workspaceId: session.workspaceId } }, body: { name } }));
      await client.invalidateQueries({ queryKey: ["workspaces"] });
    }, "Saved");
  return (
    <>
      <Head title="Settings" />
      <Stack maw={760}>
        <Section title="Workspace">
          <Stack gap="sm">
            <Group align="flex-end">
              <TextInput label="Name" value={name} maxLength={256} onChange={(e) => setName(e.currentTarget.value)} disabled={!session.may("admin")} style={{ flex: 1 }} />
              {session.may("admin") && (
                <Button onClick={save} disabled={name === session.workspaceName || name === ""}>
                  Save
                </Button>
              )}
            </Group>
            <Text size="sm" className="quiet">Its id, for clients of the APIs:</Text>
            <Copyable label="workspace id" text={session.workspaceId} />
          </Stack>
        </Section>
        <Section title="Colours">
          <SegmentedControl aria-label="Colours" value={colorScheme} onChange={(value) => setColorScheme(value as "auto")} data={[{ value: "auto", label: "As the system" }, { value: "light", label: "Light" }, { value: "dark", label: "Dark" }]} />
        </Section>
        <Section title="Server">
          <Text size="sm" mb="xs">
            Syncline {session.version}, {session.auth ? "sign-in required" : "open to everybody who reaches it: it listens on this machine only"}. Settings of the server come from its environment.
          </Text>
          {DOCUMENTS.map(([label, path]) => (
            <div key={path}>
              <Anchor href={path} size="sm">
                {label}
              </Anchor>{" "}
              <span className="quiet mono">{path}</span>
            </div>
          ))}
        </Section>
      </Stack>
    </>
  );
}
