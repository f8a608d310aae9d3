/** All sources, or all destinations. */
import { Button, Group, SimpleGrid, Text, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { ends, overview, type Role } from "../api/queries";
import { ConnectorMark } from "../parts/connector_mark";
import { Head } from "../parts/head";
import { Broken, Empty, Loading } from "../parts/states";
import { Status } from "../parts/status";
import { plural } from "../parts/words";
import { May, useSession } from "../session";

export default function Ends({ role }: { role: Role }) {
  const { workspaceId } = useSession();
  const found = useQuery({ ...ends(role), select: (all) => all.filter((each) => each.workspaceId === workspaceId) });
  const glances = useQuery(overview).data?.connections;
  const [text, setText] = useState("");
  const users = useMemo(() => {
    const by = new Map<string, { count: number; failing: number }>();
    for (const glance of glances ?? []) {
      const id = role === "source" ? glance.source.id : glance.destination.id;
      const known = by.get(id) ?? { count: 0, failing: 0 };
      by.set(id, { count: known.count + 1, failing: known.failing + (glance.health === "failing" ? 1 : 0) });
    }
    return by;
  }, [glances, role]);
  const noun = role === "source" ? "Sources" : "Destinations";
  const shown = found.data?.filter((each) => `${each.name} ${each.type}`.toLowerCase().includes(text.toLowerCase())).slice(0, 300);
  return (
    <>
      <Head title={noun} sub={role === "source" ? "Where data is read." : "Where data is written."}>
        <May right="editor">
          <Button component={Link} to={`/${noun.toLowerCase()}/new`} leftSection={<IconPlus size={16} />}>
            Add a {role}
          </Button>
        </May>
      </Head>
      {!found.data || !shown ? (
        found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />
      ) : found.data.length === 0 ? (
        <div className="sheet">
          <Empty title={`No ${noun.toLowerCase()} yet`}>Add one here, or let “Set up” lead through everything.</Empty>
        </div>
      ) : (
        <>
          {found.data.length > 6 && <TextInput aria-label="Filter" placeholder="Filter by name or connector" leftSection={<IconSearch size={15} />} value={text} onChange={(e) => setText(e.currentTarget.value)} maw={360} mb="md" />}
          <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
            {shown.map((each) => {
              const use = users.get(each.id);
              return (
                <Link key={each.id} to={`/${noun.toLowerCase()}/${each.id}`} className="sheet card-link">
                  <Group wrap="nowrap" gap="sm">
                    <ConnectorMark name={each.type} />
                    <div style={{ minWidth: 0, flex: 1 }}>
                      <Text fw={650} className="clip">{each.name}</Text>
                      <Text size="sm" className="quiet clip">{each.type} · {use ? plural(use.count, "connection") : "not used"}</Text>
                    </div>
                    {use && use.failing > 0 && <Status status="failing" size="sm" />}
                  </Group>
                </Link>
              );
            })}
          </SimpleGrid>
        </>
      )}
    </>
  );
}
