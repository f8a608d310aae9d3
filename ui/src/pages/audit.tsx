/** Who did what to which thing, with how it was and how it is. */
import { Button, Group, Modal, Select, Table, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useSearchParams } from "react-router";
import { data, own } from "../api/client";
import type { components } from "../api/own";
import { Copyable } from "../parts/copy_as";
import { Head } from "../parts/head";
import { At } from "../parts/moment";
import { Broken, Empty, Loading } from "../parts/states";

type Entry = components["schemas"]["AuditRead"];
const NOUNS = ["connection", "source", "destination", "user", "permission", "api_key", "application", "webhook", "workspace", "tag", "definition", "alert_channel", "alert_rules"];

export default function Audit() {
  const [query, setQuery] = useSearchParams();
  const noun = query.get("noun") ?? "";
  const [open, setOpen] = useState<Entry | null>(null);
  const found = useInfiniteQuery({
    queryKey: ["audit", noun],
    queryFn: ({ pageParam }) => data(own.GET("/audit", { params: { query: { limit: 50, offset: pageParam, ...(noun ? { noun } : {}) } } })),
    initialPageParam: 0,
    getNextPageParam: (last, pages) => (last.next ? pages.length * 50 : undefined),
  });
  const entries = found.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <>
      <Head title="Audit" sub="Who did what, newest first. It never holds a secret.">
        <Select aria-label="Of what" placeholder="Everything" clearable data={NOUNS.map((value) => ({ value, label: value.replace("_", " ") }))} value={noun || null} onChange={(value) => setQuery(value ? { noun: value } : {}, { replace: true })} />
      </Head>
      <div className="sheet">
        {found.isPending ? (
          <Loading />
        ) : found.error && !found.data ? (
          <Broken error={found.error} />
        ) : entries.length === 0 ? (
          <Empty title="Nothing yet">What is made, changed and deleted appears here.</Empty>
        ) : (
          <Table.ScrollContainer minWidth={640}>
            <Table highlightOnHover>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>When</Table.Th>
                  <Table.Th>Who</Table.Th>
                  <Table.Th>Did</Table.Th>
                  <Table.Th>From</Table.Th>
                  <Table.Th />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {entries.map((entry) => (
                  <Table.Tr key={entry.id}>
                    <Table.Td><At at={entry.at} /></Table.Td>
                    <Table.Td className="break" maw={220}>{entry.caller}</Table.Td>
                    <Table.Td className="break" maw={360}>
                      {entry.action} {entry.noun.replace("_", " ")} <b>{nameOf(entry)}</b>
                    </Table.Td>
                    <Table.Td className="quiet mono">{entry.address ?? ""}</Table.Td>
                    <Table.Td ta="right">
                      {(entry.before || entry.after) && (
                        <Button size="compact-xs" variant="subtle" onClick={() => setOpen(entry)}>
                          Details
                          <span className="sr-only"> of {entry.action} {entry.noun} {nameOf(entry)}</span>
                        </Button>
                      )}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </div>
      {found.hasNextPage && (
        <Group justify="center" mt="md">
          <Button variant="default" loading={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>Older ones</Button>
        </Group>
      )}
      <Modal opened={open !== null} onClose={() => setOpen(null)} size="lg" title={open ? `${open.action} ${open.noun}` : ""}>
        {open && (
          <>
            <Text size="sm" fw={650}>Before</Text>
            <Copyable label="before" text={JSON.stringify(open.before ?? null, null, 2)} />
            <Text size="sm" fw={650} mt="md">After</Text>
            <Copyable label="after" text={JSON.stringify(open.after ?? null, null, 2)} />
          </>
        )}
      </Modal>
    </>
  );
}

function nameOf(entry: Entry): string {
  const known = (entry.after ?? entry.before ?? {}) as { name?: string; email?: string };
  return (known.name ?? known.email ?? entry.nounId).slice(0, 120);
}
