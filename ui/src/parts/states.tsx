/** Nothing there, still coming, went wrong: designed once. */
import { Alert, Button, Code, Group, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle, IconArrowRight, IconInfoCircle } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { LostServer } from "../api/client";
import type { Failure } from "../api/queries";

export function Loading({ rows = 6, label = "Loading" }: { rows?: number; label?: string }) {
  return (
    <Stack gap="sm" role="status" aria-label={label} p="md">
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={28} radius="sm" width={i % 3 === 2 ? "72%" : "100%"} />
      ))}
    </Stack>
  );
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py={56} px="md" ta="center">
      <svg width="72" height="48" viewBox="0 0 72 48" aria-hidden="true">
        <path d="M4 18c11-13 21-13 32 0s21 13 32 0" fill="none" stroke="var(--line)" strokeWidth="5" strokeLinecap="round" />
        <path d="M4 34c11-13 21-13 32 0s21 13 32 0" fill="none" stroke="var(--mantine-primary-color-light-hover)" strokeWidth="5" strokeLinecap="round" />
      </svg>
      <Title order={3} size="h4">
        {title}
      </Title>
      <Text className="quiet" maw={520}>
        {children}
      </Text>
      {action && <Group mt="sm">{action}</Group>}
    </Stack>
  );
}

/** A request failed. A lost server has its own banner, so here it only says that nothing is known yet. */
export function Broken({ error, again }: { error: unknown; again?: () => void }) {
  if (error instanceof LostServer) return <Empty title="Waiting for the server">What is here comes back with it.</Empty>;
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle />} title="This could not be loaded" m="md" role="alert">
      <Text className="break">{error instanceof Error ? error.message : String(error)}</Text>
      {again && (
        <Button mt="sm" size="xs" variant="default" onClick={again}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

const KINDS: Record<string, string> = {
  config: "A setting has to be changed",
  auth: "The credentials are wrong or have expired",
  permission: "A right is missing",
  unreachable: "It could not be reached",
  transient: "It may pass by itself",
  data: "A record could not be taken",
  schema: "The shape of a stream does not fit",
  resource: "Memory, disk or a quota was used up",
  conflict: "Somebody else holds or changed it",
  internal: "A defect of Syncline",
};

/** What only a program reads: the page around it says of what it speaks. */
const IDENTITY = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** Why something failed, and what to do: the server's own two sentences, and where. */
export function FailureBox({ failure, action }: { failure: Failure; action?: ReactNode }) {
  const places = Object.entries(failure.where ?? {}).filter(([, value]) => value.length < 200 && !IDENTITY.test(value));
  return (
    <Alert color={failure.retryable ? "orange" : "red"} variant="light" icon={<IconAlertTriangle />} title={KINDS[failure.kind] ?? failure.kind} className="failure">
      <Stack gap="xs">
        <Text className="break" style={{ whiteSpace: "pre-wrap" }}>
          {failure.message}
        </Text>
        {failure.hint && (
          <Group gap={8} wrap="nowrap" align="flex-start">
            <IconArrowRight size={18} style={{ flex: "none", marginTop: 2 }} aria-hidden="true" />
            <Text fw={600} className="break" style={{ whiteSpace: "pre-wrap" }}>
              <span className="sr-only">What to do: </span>
              {failure.hint}
            </Text>
          </Group>
        )}
        {places.length > 0 && (
          <Text size="sm" className="break">
            {places.map(([key, value]) => (
              <span key={key} style={{ marginRight: 14 }}>
                {key} <Code>{value}</Code>
              </span>
            ))}
          </Text>
        )}
        {action && <Group>{action}</Group>}
      </Stack>
    </Alert>
  );
}

export function Note({ children, title }: { children: ReactNode; title?: string }) {
  return (
    <Alert variant="light" color="blue" icon={<IconInfoCircle />} title={title}>
      {children}
    </Alert>
  );
}
