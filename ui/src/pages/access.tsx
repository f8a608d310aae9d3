/** Keys and applications of one's own; users and their roles, for admins. */
import { Alert, Button, Group, Modal, PasswordInput, Select, Stack, Table, Tabs, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { useNavigate, useParams } from "react-router";
import { data, own, Problem, pub } from "../api/client";
import { said } from "../parts/act";
import { Confirm } from "../parts/confirm";
import { Copyable } from "../parts/copy_as";
import { Head } from "../parts/head";
import { Ago } from "../parts/moment";
import { Broken, Empty, Loading, Note } from "../parts/states";
import { useSession } from "../session";

export default function Access() {
  const { tab = "keys" } = useParams();
  const navigate = useNavigate();
  const { may, auth } = useSession();
  return (
    <>
      <Head title="Access" sub="Tokens for programs, and the people who may use this server." />
      {!auth && (
        <div style={{ marginBottom: 16 }}>
          <Note title="This server asks nobody to sign in">It listens on this machine only. With SYNCLINE_AUTH=required it asks, and roles count.</Note>
        </div>
      )}
      <Tabs value={tab} onChange={(value) => void navigate(`/access/${value}`)} keepMounted={false}>
        <Tabs.List mb="lg">
          <Tabs.Tab value="keys">API keys</Tabs.Tab>
          <Tabs.Tab value="applications">Applications</Tabs.Tab>
          {may("admin", null) && <Tabs.Tab value="users">Users</Tabs.Tab>}
        </Tabs.List>
        <Tabs.Panel value="keys">
          <Keys />
        </Tabs.Panel>
        <Tabs.Panel value="applications">
          <Applications />
        </Tabs.Panel>
        <Tabs.Panel value="users">
          <Users />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

function Once({ text, close }: { text: string; close: () => void }) {
  return (
    <Alert color="teal" title="Shown only now: copy it" withCloseButton onClose={close} closeButtonLabel="Close">
      <Copyable label="secret" text={text} />
    </Alert>
  );
}

function NewNamed({ label, make }: { label: string; make: (name: string) => Promise<unknown> }) {
  const [name, setName] = useState("");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void said(() => make(name)).then((done) => done && setName(""));
      }}
    >
      <Group align="flex-end">
        <TextInput label="Name" placeholder="what it is for" value={name} maxLength={256} onChange={(e) => setName(e.currentTarget.value)} w={280} />
        <Button type="submit" disabled={name === ""}>
          {label}
        </Button>
      </Group>
    </form>
  );
}

/** Keys belong to people: where nobody signs in there is nobody to own one. */
function mine(error: unknown): ReactNode {
  return error instanceof Problem && error.status < 500 ? <Empty title="Nothing to show">{error.message}</Empty> : <Broken error={error} />;
}

function Keys() {
  const client = useQueryClient();
  const found = useQuery({ queryKey: ["keys"], queryFn: () => data(own.GET("/api_keys")) });
  const [secret, setSecret] = useState<string | null>(null);
  const again = () => client.invalidateQueries({ queryKey: ["keys"] });
  if (!found.data) return found.error ? mine(found.error) : <Loading />;
  return (
    <Stack>
      <Text size="sm" className="quiet">A key is a bearer token that may do what you may, until it is deleted.</Text>
      <NewNamed label="Make a key" make={async (name) => { const made = await data(own.POST("/api_keys", { body: { name } })); setSecret(made.key ?? ""); await again(); }} />
      {secret && <Once text={secret} close={() => setSecret(null)} />}
      <div className="sheet">
        {found.data.apiKeys.length === 0 ? <Empty title="No keys" /> : (
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Begins with</Table.Th><Table.Th>Made</Table.Th><Table.Th>Last used</Table.Th><Table.Th /></Table.Tr></Table.Thead>
            <Table.Tbody>
              {found.data.apiKeys.map((key) => (
                <Table.Tr key={key.apiKeyId}>
                  <Table.Td className="break">{key.name}</Table.Td>
                  <Table.Td className="mono">{key.prefix}…</Table.Td>
                  <Table.Td><Ago at={key.createdAt} /></Table.Td>
                  <Table.Td>{key.lastUsedAt ? <Ago at={key.lastUsedAt} /> : "never"}</Table.Td>
                  <Table.Td ta="right">
                    <Confirm title="Delete this key?" verb="Delete it" act={async () => { await data(own.DELETE("/api_keys/{apiKeyId}", { params: { path: { apiKeyId: key.apiKeyId } } })); await again(); }} trigger={(open) => <Button size="compact-xs" variant="subtle" color="red" onClick={open} aria-label={`Delete key ${key.name}`}>Delete</Button>}>
                      Programs that use it are refused from then on.
                    </Confirm>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </div>
    </Stack>
  );
}

function Applications() {
  const client = useQueryClient();
  const found = useQuery({ queryKey: ["applications"], queryFn: () => data(own.GET("/applications")) });
  const [secret, setSecret] = useState<string | null>(null);
  const again = () => client.invalidateQueries({ queryKey: ["applications"] });
  if (!found.data) return found.error ? mine(found.error) : <Loading />;
  return (
    <Stack>
      <Text size="sm" className="quiet">A client id and secret, as Airbyte's SDKs, Terraform, Dagster and Airflow want them.</Text>
      <NewNamed label="Make an application" make={async (name) => { const made = await data(own.POST("/applications", { body: { name } })); setSecret(`client id      ${made.clientId}\nclient secret  ${made.clientSecret}`); await again(); }} />
      {secret && <Once text={secret} close={() => setSecret(null)} />}
      <div className="sheet">
        {found.data.applications.length === 0 ? <Empty title="No applications" /> : (
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Client id</Table.Th><Table.Th>Made</Table.Th><Table.Th /></Table.Tr></Table.Thead>
            <Table.Tbody>
              {found.data.applications.map((each) => (
                <Table.Tr key={each.applicationId}>
                  <Table.Td className="break">{each.name}</Table.Td>
                  <Table.Td className="mono break">{each.clientId}</Table.Td>
                  <Table.Td><Ago at={each.createdAt} /></Table.Td>
                  <Table.Td ta="right">
                    <Confirm title="Delete this application?" verb="Delete it" act={async () => { await data(own.DELETE("/applications/{applicationId}", { params: { path: { applicationId: each.applicationId } } })); await again(); }} trigger={(open) => <Button size="compact-xs" variant="subtle" color="red" onClick={open} aria-label={`Delete application ${each.name}`}>Delete</Button>}>
                      Programs that use it get no token any more.
                    </Confirm>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </div>
    </Stack>
  );
}

const ROLES = [
  { value: "workspace_reader", label: "reader: look" },
  { value: "workspace_runner", label: "runner: start and stop jobs" },
  { value: "workspace_editor", label: "editor: change connections" },
  { value: "workspace_admin", label: "admin: everything in the workspace" },
] as const;

function Users() {
  const { workspaceId } = useSession();
  const client = useQueryClient();
  const found = useQuery({ queryKey: ["users"], queryFn: () => data(own.GET("/users")) });
  const [adding, setAdding] = useState(false);
  const again = () => client.invalidateQueries({ queryKey: ["users"] });
  if (!found.data) return found.error ? mine(found.error) : <Loading />;
  return (
    <Stack>
      <Button onClick={() => setAdding(true)} w="max-content">Add a user</Button>
      <div className="sheet">
        <Table.ScrollContainer minWidth={620}>
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Email</Table.Th><Table.Th>Role here</Table.Th><Table.Th>Since</Table.Th><Table.Th /></Table.Tr></Table.Thead>
            <Table.Tbody>
              {found.data.users.filter((user) => !user.disabledAt).map((user) => (
                <Table.Tr key={user.userId}>
                  <Table.Td className="break">{user.name}</Table.Td>
                  <Table.Td className="break">{user.email}</Table.Td>
                  <Table.Td><RoleOf userId={user.userId} name={user.name} workspaceId={workspaceId} /></Table.Td>
                  <Table.Td><Ago at={user.createdAt} /></Table.Td>
                  <Table.Td ta="right">
                    <Confirm title={`Remove ${user.email}?`} verb="Remove" act={async () => { await data(own.DELETE("/users/{userId}", { params: { path: { userId: user.userId } } })); await again(); }} trigger={(open) => <Button size="compact-xs" variant="subtle" color="red" onClick={open} aria-label={`Remove ${user.email}`}>Remove</Button>}>
                      The person cannot sign in any more, and their keys end.
                    </Confirm>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </div>
      <Modal opened={adding} onClose={() => setAdding(false)} title="Add a user">
        <NewUser workspaceId={workspaceId} done={() => { setAdding(false); void again(); }} />
      </Modal>
    </Stack>
  );
}

function RoleOf({ userId, name, workspaceId }: { userId: string; name: string; workspaceId: string }) {
  const client = useQueryClient();
  const found = useQuery({ queryKey: ["users", userId, "roles"], queryFn: () => data(pub.GET("/permissions", { params: { query: { userId } } })) });
  if (!found.data) return <span className="quiet">…</span>;
  const everywhere = found.data.data.find((each) => !each.workspaceId);
  if (everywhere) return <span>{everywhere.permissionType.replaceAll("_", " ")}, everywhere</span>;
  const here = found.data.data.find((each) => each.workspaceId === workspaceId);
  const set = (role: string | null) =>
    said(async () => {
      if (here && role) await data(pub.PATCH("/permissions/{permissionId}", { params: { path: { permissionId: here.permissionId } }, body: { permissionType: role as "workspace_reader" } }));
      else if (role) await data(pub.POST("/permissions", { body: { userId, workspaceId, permissionType: role as "workspace_reader" } }));
      else if (here) await data(pub.DELETE("/permissions/{permissionId}", { params: { path: { permissionId: here.permissionId } } }));
      await client.invalidateQueries({ queryKey: ["users", userId] });
    }, "Changed");
  return <Select aria-label={`Role of ${name}`} size="xs" w={230} placeholder="none" clearable value={here?.permissionType ?? null} data={[...ROLES]} onChange={set} />;
}

function NewUser({ workspaceId, done }: { workspaceId: string; done: () => void }) {
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<string>("workspace_reader");
  const [problem, setProblem] = useState<Problem | null>(null);
  const save = async () => {
    try {
      const made = await data(own.POST("/users", { body: { email, name, password } }));
      await data(pub.POST("/permissions", { body: { userId: made.userId, workspaceId, permissionType: role as "workspace_reader" } }));
      done();
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
  };
  return (
    <form onSubmit={(event) => { event.preventDefault(); void save(); }}>
      <Stack>
        <TextInput label="Email" type="email" required value={email} error={problem?.fields.email} onChange={(e) => setEmail(e.currentTarget.value)} data-autofocus />
        <TextInput label="Name" required value={name} error={problem?.fields.name} onChange={(e) => setName(e.currentTarget.value)} />
        <PasswordInput label="Password" description="8 characters at least; to be changed by the person" required value={password} error={problem?.fields.password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" />
        <Select label="Role" data={[...ROLES]} value={role} allowDeselect={false} onChange={(value) => setRole(value ?? "workspace_reader")} />
        {problem && Object.keys(problem.fields).length === 0 && <Alert color="red" role="alert">{problem.message}</Alert>}
        <Button type="submit">Add</Button>
      </Stack>
    </form>
  );
}
