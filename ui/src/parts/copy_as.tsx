/** The same action from a terminal: as a command, as a request, as YAML. */
import { ActionIcon, Button, CopyButton, Modal, Tabs, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCheck, IconCode, IconCopy } from "@tabler/icons-react";

export interface Call {
  method: "GET" | "POST" | "PATCH" | "DELETE" | "PUT";
  path: string;
  body?: unknown;
}

/** A request as curl. The token is a variable: what is copied ends in chats and tickets. */
export function curl({ method, path, body }: Call, base = window.location.origin, auth = true): string {
  const lines = [`curl -X ${method} '${base}${quoted(path)}'`];
  if (auth) lines.push(`  -H "Authorization: Bearer $SYNCLINE_TOKEN"`);
  if (body !== undefined) {
    lines.push("  -H 'Content-Type: application/json'", `  -d '${quoted(JSON.stringify(body, null, 2))}'`);
  }
  return lines.join(" \\\n");
}

/** For single quotes of a shell. */
export function quoted(text: string): string {
  return text.replaceAll("'", `'\\''`);
}

/** A value as YAML, as far as project files need it. */
export function yaml(value: unknown, depth = 0): string {
  const pad = "  ".repeat(depth);
  if (Array.isArray(value)) {
    if (value.length === 0) return " []";
    return value.map((item) => `\n${pad}-${nested(item, depth + 1)}`).join("");
  }
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    if (entries.length === 0) return " {}";
    return entries.map(([key, item]) => `\n${pad}${scalar(key)}:${yaml(item, depth + 1)}`).join("");
  }
  return ` ${scalar(value)}`;
}

function nested(item: unknown, depth: number): string {
  const text = yaml(item, depth);
  return text.startsWith("\n") ? ` ${text.trimStart()}` : text;
}

function scalar(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[A-Za-z_][\w./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n|~)$/i.test(value)
    ? value
    : JSON.stringify(value);
}

export function Copyable({ text, label }: { text: string; label: string }) {
  return (
    <div style={{ position: "relative" }}>
      <pre className="code" tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy"}>
            <ActionIcon variant="default" onClick={copy} aria-label={`Copy ${label}`} style={{ position: "absolute", top: 8, right: 8 }}>
              {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </div>
  );
}

export function CopyAs({ forms, label = "As code" }: { forms: Record<string, string>; label?: string }) {
  const [open, { open: show, close }] = useDisclosure(false);
  const names = Object.keys(forms);
  return (
    <>
      <Button variant="default" leftSection={<IconCode size={16} />} onClick={show}>
        {label}
      </Button>
      <Modal opened={open} onClose={close} title="The same without this page" size="lg">
        <Text size="sm" className="quiet" mb="sm">
          A token comes from Access, or from POST /api/public/v1/applications/token.
        </Text>
        <Tabs defaultValue={names[0]}>
          <Tabs.List mb="sm">
            {names.map((name) => (
              <Tabs.Tab key={name} value={name}>
                {name}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          {names.map((name) => (
            <Tabs.Panel key={name} value={name}>
              <Copyable text={forms[name]!} label={name} />
            </Tabs.Panel>
          ))}
        </Tabs>
      </Modal>
    </>
  );
}
