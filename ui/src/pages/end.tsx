/** One source or destination: what it is set to, whether it works, who uses it. `new` makes one. */
import { Anchor, Button, Group, Stack, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { data, pub } from "../api/client";
import { definitions, end as endQuery, overview, type End, type Role } from "../api/queries";
import { EndForm } from "../form/end_form";
import { PickConnector } from "../form/pick_connector";
import { said } from "../parts/act";
import { Confirm } from "../parts/confirm";
import { ConnectorMark } from "../parts/connector_mark";
import { Head } from "../parts/head";
import { Broken, Loading } from "../parts/states";
import { Status } from "../parts/status";
import { plural } from "../parts/words";
import { May, useSession } from "../session";

export default function EndPage({ role }: { role: Role }) {
  const { id = "" } = useParams();
  return id === "new" ? <New role={role} /> : <Stored key={id} role={role} id={id} />;
}

const nounOf = (role: Role) => (role === "source" ? "sources" : "destinations");

function New({ role }: { role: Role }) {
  const { workspaceId } = useSession();
  const navigate = useNavigate();
  const [query, setQuery] = useSearchParams();
  const known = useQuery(definitions(role, workspaceId));
  const definition = known.data?.find((each) => each.id === query.get("connector"));
  return (
    <>
      <Head title={`Add a ${role}`} sub={definition ? <Anchor component="button" onClick={() => setQuery({})}>Another connector</Anchor> : "Which kind?"} />
      {definition ? (
        <EndForm key={definition.id} role={role} definition={definition} initial={prefilled(query)} saved={(made) => void navigate(`/${nounOf(role)}/${made}`)} />
      ) : (
        <PickConnector role={role} pick={(each) => setQuery({ connector: each.id })} />
      )}
    </>
  );
}

/** What the address gives: the catalog of connectors names the package so. */
function prefilled(query: URLSearchParams): Record<string, unknown> {
  const chosen = query.get("package");
  return chosen ? { package: chosen } : {};
}

function Stored({ role, id }: { role: Role; id: string }) {
  const found = useQuery(endQuery(role, id));
  const { workspaceId } = useSession();
  const known = useQuery(definitions(role, found.data?.workspaceId ?? workspaceId));
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const name = known.data?.find((each) => each.id === found.data.definitionId)?.name ?? found.data.type;
  return (
    <>
      <Head title={found.data.name} sub={<Group gap={8}><ConnectorMark name={found.data.type} size={22} /> {name} {role}</Group>}>
        <Delete end={found.data} />
      </Head>
      <Used role={role} id={id} />
      {known.data ? <EndForm role={role} definition={{ id: found.data.definitionId, name }} stored={found.data} saved={() => void said(async () => undefined, "Saved. The next run uses it.")} /> : <Loading />}
    </>
  );
}

function Used({ role, id }: { role: Role; id: string }) {
  const glances = useQuery(overview).data?.connections.filter((each) => (role === "source" ? each.source.id : each.destination.id) === id) ?? [];
  if (glances.length === 0) return null;
  return (
    <Stack gap={6} className="sheet" p="md" mb="lg">
      <Text fw={650}>Used by {plural(glances.length, "connection")}</Text>
      {glances.slice(0, 12).map((glance) => (
        <Group key={glance.connectionId} gap="sm" wrap="nowrap">
          <Status status={glance.health} size="sm" />
          <Link to={`/connections/${glance.connectionId}`} className="plain clip">
            {glance.name}
          </Link>
        </Group>
      ))}
      {glances.length > 12 && <Text size="sm" className="quiet">and {glances.length - 12} more</Text>}
    </Stack>
  );
}

function Delete({ end }: { end: End }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const used = useQuery(overview).data?.connections.filter((each) => each.source.id === end.id || each.destination.id === end.id).length ?? 0;
  const act = async () => {
    if (end.role === "source") await data(pub.DELETE("/sources/{sourceId}", { params: { path: { sourceId: end.id } } }));
    else await data(pub.DELETE("/destinations/{destinationId}", { params: { path: { destinationId: end.id } } }));
    await navigate(`/${nounOf(end.role)}`);
    await client.invalidateQueries();
  };
  return (
    <May right="editor">
      <Confirm
        title={`Delete this ${end.role}?`}
        verb="Delete it"
        word={used > 0 ? "delete" : undefined}
        act={act}
        trigger={(open) => (
          <Button color="red" variant="light" onClick={open}>
            Delete
          </Button>
        )}
      >
        Its passwords and keys are forgotten at once.{used > 0 && <b> {plural(used, "connection")} that use it {used === 1 ? "is" : "are"} deleted with it.</b>} Data is not touched. This cannot be taken back.
      </Confirm>
    </May>
  );
}
