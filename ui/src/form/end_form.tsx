/** A source or destination, new or stored: named, filled in, tested, saved. */
import { Alert, Button, Group, List, Stack, Text, TextInput, ThemeIcon } from "@mantine/core";
import { IconAlertTriangle, IconCheck, IconX } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { data, own, patiently, Problem, pub } from "../api/client";
import { spec as specQuery, type End, type Role } from "../api/queries";
import { CopyAs, curl } from "../parts/copy_as";
import { Broken, Loading } from "../parts/states";
import { useSession } from "../session";
import { Notes } from "./notes";
import { placed, formOf } from "./spec";
import { SpecForm, type SpecFormHandle, type Values } from "./spec_form";

interface Trial {
  ok: boolean;
  message?: string;
  findings?: { severity: string; message: string; hint?: string }[];
}

interface Props {
  role: Role;
  definition: { id: string; name: string };
  /** The stored one; without it a new one is made. */
  stored?: End;
  initial?: Values;
  saved: (id: string) => void;
}

export function EndForm({ role, definition, stored, initial = {}, saved }: Props) {
  const { workspaceId, may, auth } = useSession();
  const client = useQueryClient();
  const found = useQuery(specQuery(role, definition.id, workspaceId));
  const form = useRef<SpecFormHandle>(null);
  const [name, setName] = useState(stored?.name ?? definition.name);
  const [value, setValue] = useState<Values>(stored?.configuration ?? initial);
  const [trial, setTrial] = useState<Trial | null>(null);
  const [problem, setProblem] = useState<Error | null>(null);
  const [busy, setBusy] = useState<"test" | "save" | null>(null);
  if (!found.data) return found.error ? <Broken error={found.error} again={() => void found.refetch()} /> : <Loading />;
  const readOnly = !may("editor");
  const noun = role === "source" ? "sources" : "destinations";

  const test = async (): Promise<boolean> => {
    const body = { workspaceId, configuration: value, definitionId: definition.id, ...(stored ? { actorId: stored.id } : {}) };
    const answer = await patiently(() => data(role === "source" ? own.POST("/sources/check", { body }) : own.POST("/destinations/check", { body })));
    setTrial(answer);
    return answer.ok;
  };
  const save = async () => {
    const configuration = value;
    if (role === "source") {
      const made = stored
        ? await data(pub.PUT("/sources/{sourceId}", { params: { path: { sourceId: stored.id } }, body: { name, configuration } }))
        : await data(pub.POST("/sources", { body: { name, workspaceId, configuration, definitionId: definition.id } }));
      return made.sourceId;
    }
    const made = stored
      ? await data(pub.PUT("/destinations/{destinationId}", { params: { path: { destinationId: stored.id } }, body: { name, configuration } }))
      : await data(pub.POST("/destinations", { body: { name, workspaceId, configuration, definitionId: definition.id } }));
    return made.destinationId;
  };
  const go = async (what: "test" | "save", tested = true) => {
    setProblem(null);
    setTrial(null);
    if (!(form.current?.check() ?? true)) return;
    setBusy(what);
    try {
      if (!tested || (await test()) ? what === "save" : false) {
        const id = await save();
        await client.invalidateQueries({ queryKey: [role] });
        saved(id);
      }
    } catch (error) {
      setProblem(error as Error);
    }
    setBusy(null);
  };
  const said = problem?.message ?? (trial && !trial.ok ? trial.message : undefined);
  const marked = said !== undefined && placed(said, formOf(found.data.schema).schema) !== null;
  return (
    <div className="beside">
      <Stack className="sheet" p="lg" gap="md">
        <TextInput label="Name" description={`How this ${role} is called here`} required maxLength={256} value={name} disabled={readOnly} onChange={(e) => setName(e.currentTarget.value)} error={problem instanceof Problem ? problem.fields.name : undefined} inputWrapperOrder={["label", "input", "error", "description"]} />
        <SpecForm ref={form} spec={found.data.schema} value={value} change={setValue} said={said} readOnly={readOnly} />
        <Outcome trial={trial} problem={problem} marked={marked} />
        {!readOnly && (
          <Group>
            <Button loading={busy === "save"} disabled={busy !== null || name === ""} onClick={() => go("save")}>
              Test and save
            </Button>
            <Button variant="default" loading={busy === "test"} disabled={busy !== null} onClick={() => go("test")}>
              Test only
            </Button>
            {trial && !trial.ok && (
              <Button variant="subtle" disabled={busy !== null} onClick={() => go("save", false)}>
                Save all the same
              </Button>
            )}
            <CopyAs
              forms={{
                curl: curl(stored ? { method: "PUT", path: `/api/public/v1/${noun}/${stored.id}`, body: { name, configuration: masked(value) } } : { method: "POST", path: `/api/public/v1/${noun}`, body: { name, workspaceId, definitionId: definition.id, configuration: masked(value) } }, undefined, auth),
              }}
            />
          </Group>
        )}
        {busy && (
          <Text size="sm" className="quiet" role="status">
            Asking {name.slice(0, 80) || "it"} … this may take some seconds.
          </Text>
        )}
      </Stack>
      <Notes role={role} name={definition.name} about={typeof found.data.schema.description === "string" ? found.data.schema.description : undefined} />
    </div>
  );
}

/** What is copied ends in chats and tickets: no secret leaves by it. */
function masked(value: Values): Values {
  return JSON.parse(JSON.stringify(value, (key, each: unknown) => (typeof each === "string" && /password|secret|token|key|certificate|credential/i.test(key) && each !== "" ? "…" : each))) as Values;
}

function Outcome({ trial, problem, marked }: { trial: Trial | null; problem: Error | null; marked: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  // Of a long form it would lie below the window's end.
  useEffect(() => place.current?.scrollIntoView({ block: "nearest" }), [trial, problem]);
  const findings = (trial?.findings ?? []).filter((each) => each.severity !== "error");
  if (!trial && !problem) return null;
  return (
    <div ref={place} role="status" style={{ scrollMarginBottom: 90 }}>
      {trial?.ok && (
        <Alert color="teal" icon={<IconCheck />} title="It works">
          {findings.length > 0 && <Findings findings={findings} />}
        </Alert>
      )}
      {trial && !trial.ok && (
        <Alert color="red" icon={<IconAlertTriangle />} title={marked ? "One field is not right; it is marked above" : "It does not work yet"} className="failure">
          {trial.findings?.some((each) => each.severity === "error") ? <Findings findings={trial.findings.filter((each) => each.severity !== "ok")} /> : <Text className="break">{trial.message}</Text>}
        </Alert>
      )}
      {problem && (
        <Alert color="red" icon={<IconAlertTriangle />} title="It was not done" className="failure">
          <Text className="break">{problem.message}</Text>
        </Alert>
      )}
    </div>
  );
}

const MARKS = {
  ok: { color: "teal", icon: IconCheck },
  warning: { color: "orange", icon: IconAlertTriangle },
  error: { color: "red", icon: IconX },
} as const;

function Findings({ findings }: { findings: NonNullable<Trial["findings"]> }) {
  return (
    <List spacing={6} size="sm" center={false}>
      {findings.slice(0, 40).map((finding, i) => {
        const { color, icon: Icon } = MARKS[finding.severity as keyof typeof MARKS] ?? MARKS.warning;
        return (
          <List.Item key={i} icon={<ThemeIcon size={18} radius="xl" color={color} variant="light" aria-label={finding.severity}><Icon size={12} /></ThemeIcon>}>
            <span className="break">{finding.message}</span>
            {finding.hint && <div className="break" style={{ fontWeight: 600, whiteSpace: "pre-wrap" }}>{finding.hint}</div>}
          </List.Item>
        );
      })}
    </List>
  );
}
