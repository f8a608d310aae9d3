/** Around every page: where one can go, who one is, whether the server is there, and what happens now. */
import { ActionIcon, AppShell, Burger, Group, Menu, NavLink, Text, Tooltip, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconActivityHeartbeat,
  IconBell,
  IconCheck,
  IconDatabaseExport,
  IconDatabaseImport,
  IconHistory,
  IconHome,
  IconMoon,
  IconPlugConnected,
  IconPlus,
  IconSettings,
  IconShieldLock,
  IconSun,
  IconTimeline,
  IconUserCircle,
  IconWifiOff,
} from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, type ComponentType, type ReactNode } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { OWN } from "./api/client";
import { onReturn, useLost } from "./api/connectivity";
import { heard, overview } from "./api/queries";
import { follow } from "./api/stream";
import { useToken } from "./api/token";
import { useSession, type Right } from "./session";

interface Place {
  to: string;
  label: string;
  icon: ComponentType<{ size?: number }>;
  also?: string[];
  right?: Right;
}

const PLACES: (Place | null)[] = [
  { to: "/", label: "Home", icon: IconHome, also: ["/connections"] },
  { to: "/setup", label: "Set up", icon: IconPlus, right: "editor" },
  { to: "/jobs", label: "Jobs", icon: IconTimeline },
  null,
  { to: "/sources", label: "Sources", icon: IconDatabaseExport },
  { to: "/destinations", label: "Destinations", icon: IconDatabaseImport },
  { to: "/connectors", label: "Connectors", icon: IconPlugConnected },
  null,
  { to: "/alerts", label: "Alerts", icon: IconBell },
  { to: "/cdc", label: "CDC health", icon: IconActivityHeartbeat },
  { to: "/access", label: "Access", icon: IconShieldLock },
  { to: "/audit", label: "Audit", icon: IconHistory, right: "admin" },
  { to: "/settings", label: "Settings", icon: IconSettings },
];

export function Shell({ children }: { children: ReactNode }) {
  const [open, { toggle, close }] = useDisclosure(false);
  const { pathname } = useLocation();
  const session = useSession();
  const lost = useLost();
  useLive();
  const navigate = useNavigate();
  // What the address names belongs to the workspace that is left.
  const go = (workspaceId: string) => {
    session.enter(workspaceId);
    void navigate("/");
  };
  const shown = PLACES.filter((place) => place === null || place.right === undefined || session.may(place.right));
  return (
    <AppShell header={{ height: 52 }} navbar={{ width: 212, breakpoint: "sm", collapsed: { mobile: !open } }} padding={{ base: "md", md: "xl" }}>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <AppShell.Header style={{ background: "var(--sheet)" }}>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={open ? "Close the menu" : "Open the menu"} />
            <Link to="/" className="plain" aria-label="Syncline, home" style={{ textDecoration: "none" }}>
              <Group gap={8} wrap="nowrap">
                <img src="/syncline.svg" width="24" height="24" alt="" />
                <Text fw={700} size="lg">
                  Syncline
                </Text>
              </Group>
            </Link>
          </Group>
          <Group gap={6} wrap="nowrap" style={{ minWidth: 0 }}>
            {session.places.length > 1 && (
              <Text size="sm" className="quiet clip" maw={220} visibleFrom="sm" title={session.workspaceName}>
                {session.workspaceName}
              </Text>
            )}
            <Scheme />
            <Menu position="bottom-end">
              <Menu.Target>
                <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`Signed in as ${session.name}`}>
                  <IconUserCircle size={22} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label className="clip" maw={260}>
                  {session.name} · {session.workspaceName}
                </Menu.Label>
                <Menu.Item component={Link} to="/access">
                  Keys and users
                </Menu.Item>
                {session.places.length > 1 && (
                  <>
                    <Menu.Divider />
                    <Menu.Label>Workspace</Menu.Label>
                    {session.places.slice(0, 50).map((each) => (
                      <Menu.Item key={each.workspaceId} onClick={() => go(each.workspaceId)} disabled={each.workspaceId === session.workspaceId} rightSection={each.workspaceId === session.workspaceId ? <IconCheck size={14} aria-label="the present one" /> : undefined}>
                        <span className="clip" style={{ display: "block", maxWidth: 220 }}>{each.name}</span>
                      </Menu.Item>
                    ))}
                    <Menu.Divider />
                  </>
                )}
                {session.auth && <Menu.Item onClick={session.leave}>Sign out</Menu.Item>}
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" style={{ background: "var(--sheet)" }} aria-label="Pages">
        {shown.map((place, i) =>
          place === null ? (
            <div key={i} style={{ height: 14 }} />
          ) : (
            <NavLink
              key={place.to}
              component={Link}
              to={place.to}
              label={place.label}
              leftSection={<place.icon size={18} />}
              active={isAt(pathname, place)}
              aria-current={isAt(pathname, place) ? "page" : undefined}
              onClick={close}
              style={{ borderRadius: 8 }}
            />
          ),
        )}
        <Text size="xs" className="quiet" mt="auto" p="xs">
          Syncline {session.version}
        </Text>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} style={{ outline: "none" }}>
        {lost && (
          <Group role="alert" className="sheet" p="sm" mb="md" gap="sm" wrap="nowrap" style={{ borderColor: "var(--mantine-color-orange-6)", position: "sticky", top: 62, zIndex: 50 }}>
            <IconWifiOff size={20} className="pulse" />
            <Text>
              <b>The server does not answer.</b> What you see may be old. This page goes on by itself when it is back.
            </Text>
          </Group>
        )}
        <div style={{ maxWidth: 1320, margin: "0 auto" }}>{children}</div>
      </AppShell.Main>
    </AppShell>
  );
}

function isAt(pathname: string, place: Place): boolean {
  if (place.to === "/") return pathname === "/" || pathname.startsWith("/connections/");
  return pathname === place.to || pathname.startsWith(`${place.to}/`);
}

function Scheme() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const dark = colorScheme === "dark" || (colorScheme === "auto" && window.matchMedia?.("(prefers-color-scheme: dark)").matches);
  return (
    <Tooltip label={dark ? "Light" : "Dark"}>
      <ActionIcon variant="subtle" color="gray" size="lg" onClick={() => setColorScheme(dark ? "light" : "dark")} aria-label={dark ? "Use light colours" : "Use dark colours"}>
        {dark ? <IconSun size={20} /> : <IconMoon size={20} />}
      </ActionIcon>
    </Tooltip>
  );
}

/**
 * One stream of events for the whole page: what it tells makes answers stale. Only while the page is looked at, because a
 * browser has six connections for a server, and a dozen forgotten tabs must not use them up.
 */
function useLive(): void {
  const client = useQueryClient();
  const held = useToken();
  const last = useQuery(overview).data?.lastEvent;
  const ready = last !== undefined;
  useEffect(() => onReturn(() => void client.invalidateQueries()), [client]);
  useEffect(() => {
    if (!ready) return;
    let stop = new AbortController();
    let from = last;
    const begin = () => {
      stop = new AbortController();
      void follow(
        `${OWN}/events/stream?after=${from}`,
        (events) => {
          for (const event of events) {
            from = Number(event.id ?? from);
            const { connectionId, jobId } = event.data as { connectionId: string; jobId?: number };
            heard(client, connectionId, jobId);
          }
        },
        stop.signal,
      );
    };
    const look = () => {
      stop.abort();
      if (document.hidden) return;
      void client.invalidateQueries({ queryKey: ["overview"] });
      begin();
    };
    begin();
    document.addEventListener("visibilitychange", look);
    return () => {
      stop.abort();
      document.removeEventListener("visibilitychange", look);
    };
    // `last` is where to begin, not a reason to begin again.
    // eslint-disable-next-line
  }, [client, ready, held]);
}
