/** Asks before something that cannot be taken back, and says what it does. */
import { Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState, type ReactNode } from "react";
import { said } from "./act";

interface Props {
  title: string;
  children: ReactNode;
  verb: string;
  /** Typed by hand before the button works. */
  word?: string;
  danger?: boolean;
  act: () => Promise<unknown>;
  trigger: (open: () => void) => ReactNode;
}

export function Confirm({ title, children, verb, word, danger = true, act, trigger }: Props) {
  const [open, { open: show, close }] = useDisclosure(false);
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    const done = await said(act);
    setBusy(false);
    if (done) close();
  };
  return (
    <>
      {trigger(show)}
      <Modal opened={open} onClose={close} title={title}>
        <Stack>
          <Text component="div">{children}</Text>
          {word && <TextInput label={`Type ${word} to go on`} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} data-autofocus />}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              Keep it
            </Button>
            <Button color={danger ? "red" : undefined} loading={busy} disabled={word !== undefined && typed !== word} onClick={go}>
              {verb}
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
