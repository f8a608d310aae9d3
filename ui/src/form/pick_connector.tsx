/** Which kind of source or destination: the connectors that are there. */
import { Anchor, Group, SimpleGrid, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { definitions, type Definition, type Role } from "../api/queries";
import { ConnectorMark } from "../parts/connector_mark";
import { Broken, Empty, Loading } from "../parts/states";
import { useSession } from "../session";

export function PickConnector({ role, pick }: { role: Role; pick: (definition: Definition) => void }) {
  const { workspaceId } = useSession();
  const found = useQuery(definitions(role, workspaceId));
  const [text, setText] = useState("");
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const shown = found.data.filter((each) => `${each.name} ${each.repository}`.toLowerCase().includes(text.toLowerCase())).sort((a, b) => a.name.localeCompare(b.name));
  return (
    <Stack>
      {found.data.length > 6 && <TextInput aria-label="Find a connector" placeholder="Find a connector" leftSection={<IconSearch size={15} />} value={text} onChange={(e) => setText(e.currentTarget.value)} maw={360} />}
      {shown.length === 0 && <Empty title="No connector fits">Change the word to look for.</Empty>}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }}>
        {shown.map((each) => (
          <UnstyledButton key={each.id} className="sheet card-link" onClick={() => pick(each)}>
            <Group wrap="nowrap" gap="sm">
              <ConnectorMark name={each.name} />
              <div style={{ minWidth: 0 }}>
                <Text fw={650} className="clip">{each.name}</Text>
                <Text size="xs" className="quiet clip">{each.version}</Text>
              </div>
            </Group>
          </UnstyledButton>
        ))}
      </SimpleGrid>
      {role === "source" && (
        <Text size="sm" className="quiet">
          Is yours not here? <Anchor component={Link} to="/connectors" inherit>Connectors</Anchor> has hundreds of Airbyte's, to be installed with one press.
        </Text>
      )}
    </Stack>
  );
}
