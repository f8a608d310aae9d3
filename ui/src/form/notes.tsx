/** What to prepare at the other system, beside the form. Short; the documentation has the rest. */
import { Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import type { Role } from "../api/queries";
import { Copyable } from "../parts/copy_as";

const NOTES: Record<string, () => ReactNode> = {
  "source postgres": () => (
    <>
      <Text size="sm">A role that may read is enough. As its owner or a superuser:</Text>
      <Copyable label="statements for a reading role" text={"CREATE ROLE syncline LOGIN PASSWORD '…';\nGRANT USAGE ON SCHEMA public TO syncline;\nGRANT SELECT ON ALL TABLES IN SCHEMA public TO syncline;\nALTER DEFAULT PRIVILEGES IN SCHEMA public\n  GRANT SELECT ON TABLES TO syncline;"} />
      <Text size="sm">
        To follow the log (CDC) the server needs <span className="mono">wal_level = logical</span>, and the role <span className="mono">REPLICATION</span>. The test tells what is missing.
      </Text>
    </>
  ),
  "destination postgres": () => (
    <>
      <Text size="sm">A role that may make tables in one schema:</Text>
      <Copyable label="statements for a writing role" text={"CREATE ROLE syncline LOGIN PASSWORD '…';\nCREATE SCHEMA replica AUTHORIZATION syncline;"} />
    </>
  ),
  "destination duckdb": () => <Text size="sm">The path is one on the server's machine. The file is made when it is missing; other programs may read it between runs.</Text>,
  "destination s3": () => <Text size="sm">The user needs to list the bucket, and to get, put and delete objects below the path.</Text>,
  "destination local files": () => <Text size="sm">The folder is one on the server's machine.</Text>,
};

export function Notes({ role, name, about }: { role: Role; name: string; about?: string }) {
  const note = NOTES[`${role} ${name.toLowerCase()}`];
  return (
    <Stack gap="sm" className="sheet" p="md" component="aside" aria-label="Help">
      <Text fw={650}>{name}</Text>
      {about && <Text size="sm">{about}</Text>}
      {note?.()}
      <Text size="sm" className="quiet">
        Passwords and keys are encrypted before they are stored and are never shown again. In place of one, a reference such as <span className="mono">{"${vault:path#key}"}</span> works too.
      </Text>
    </Stack>
  );
}
