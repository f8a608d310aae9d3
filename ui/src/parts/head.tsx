/** A page's heading, and the document's title with it. */
import { Group, Text, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import type { ReactNode } from "react";

export function Head({ title, sub, children }: { title: string; sub?: ReactNode; children?: ReactNode }) {
  useDocumentTitle(`${title.slice(0, 80)} · Syncline`);
  return (
    <Group justify="space-between" align="flex-start" mb="lg" gap="md">
      <div style={{ minWidth: 0, flex: "1 1 320px" }}>
        <Title order={1} size="h2" className="break" lineClamp={2}>
          {title}
        </Title>
        {sub && (
          <Text className="quiet break" component="div" mt={4}>
            {sub}
          </Text>
        )}
      </div>
      {children && <Group gap="xs">{children}</Group>}
    </Group>
  );
}
