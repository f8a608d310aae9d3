/** Who looks, in which workspace, and what they may do. */
import { Alert, Button, Modal, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useState, type FormEvent, type ReactNode } from "react";
import { data, own } from "./api/client";
import { workspaces } from "./api/queries";
import { forgetToken, keepToken, useToken } from "./api/token";
import { Broken, Loading } from "./parts/states";

export type Right = "reader" | "runner" | "editor" | "admin";
const RANKS: Right[] = ["reader", "runner", "editor", "admin"];

interface Session {
  name: string;
  auth: boolean;
  version: string;
  workspaceId: string;
  workspaceName: string;
  /** Those that one may look at, and going to another. */
  places: readonly { workspaceId: string; name: string }[];
  enter: (workspaceId: string) => void;
  /** Whether one may do this in the workspace; without one named, in the present one. */
  may: (right: Right, workspaceId?: string | null) => boolean;
  leave: () => void;
}

/** Under which name the browser remembers the workspace that was looked at last. */
const CHOSEN = "syncline-workspace";

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (session === null) throw new Error("outside of a session");
  return session;
}

/** `children` for who may; others get `instead`. */
export function May({ right, children, instead = null }: { right: Right; children: ReactNode; instead?: ReactNode }) {
  return useSession().may(right) ? children : instead;
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const held = useToken();
  const client = useQueryClient();
  const [chosen, setChosen] = useState(() => localStorage.getItem(CHOSEN));
  const info = useQuery({ queryKey: ["info"], queryFn: () => data(own.GET("/info")), staleTime: Infinity });
  const open = info.data?.auth === "none";
  const signedIn = open || held !== null;
  const me = useQuery({ queryKey: ["me", held], queryFn: () => data(own.GET("/me")), enabled: info.isSuccess && signedIn, staleTime: 60_000 });
  const places = useQuery({ ...workspaces, enabled: me.isSuccess });
  // A session that has begun stays under the login dialog: who signs in again goes on where they were. Until it is known
  // who that is, what the former one might do is shown; the server asks for itself.
  const [known, setKnown] = useState<{ me: NonNullable<typeof me.data>; places: NonNullable<typeof places.data> } | null>(null);
  useEffect(() => {
    if (me.data && places.data) setKnown({ me: me.data, places: places.data });
  }, [me.data, places.data]);

  if (info.error && !info.data) return <Broken error={info.error} again={() => void info.refetch()} />;
  if (!info.data) return <Loading label="Loading Syncline" />;
  const login = !signedIn && <Login again={known !== null} done={() => void client.invalidateQueries()} />;
  if (known === null) {
    if (login) return login;
    if (me.error ?? places.error) return <Broken error={me.error ?? places.error} again={() => void client.invalidateQueries()} />;
    return <Loading label="Loading Syncline" />;
  }
  const who = me.data ?? known.me;
  const offered = places.data ?? known.places;
  const place = offered.find((each) => each.workspaceId === chosen) ?? offered[0];
  const session: Session = {
    name: who.name,
    auth: !open,
    version: info.data.version,
    workspaceId: place?.workspaceId ?? "",
    workspaceName: place?.name ?? "no workspace",
    places: offered,
    enter: (workspaceId) => {
      setChosen(workspaceId);
      localStorage.setItem(CHOSEN, workspaceId);
    },
    may: (right, workspaceId) => {
      const here = who.roles[workspaceId ?? place?.workspaceId ?? ""];
      const ranks = [workspaceId === null ? undefined : here, who.instanceRole].map((role) => RANKS.indexOf(role as Right));
      return Math.max(...ranks) >= RANKS.indexOf(right);
    },
    leave: () => {
      forgetToken();
      client.clear();
      window.location.assign("/");
    },
  };
  return (
    <Context.Provider value={session}>
      {children}
      {login}
    </Context.Provider>
  );
}

function Login({ again, done }: { again: boolean; done: () => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      const answer = await data(own.POST("/login", { body: { email, password } }));
      keepToken(answer.access_token);
      done();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  return (
    <Modal opened onClose={() => undefined} withCloseButton={false} closeOnClickOutside={false} closeOnEscape={false} title={again ? "Your session has ended" : "Sign in to Syncline"} size="sm">
      <form onSubmit={submit}>
        <Stack>
          {again && <Text size="sm">Sign in again to go on where you were.</Text>}
          {problem && (
            <Alert color="red" role="alert">
              {problem}
            </Alert>
          )}
          <TextInput label="Email" type="email" autoComplete="username" required value={email} onChange={(e) => setEmail(e.currentTarget.value)} data-autofocus />
          <PasswordInput label="Password" autoComplete="current-password" required value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
          <Button type="submit" loading={busy}>
            Sign in
          </Button>
          <Text size="xs" className="quiet">
            The first start of the server showed an address and a password. An admin makes further users under Access.
          </Text>
        </Stack>
      </form>
    </Modal>
  );
}
