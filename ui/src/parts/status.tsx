/** The words and colours of states. Never colour alone: each has its word, and an icon of its own. */
import { Badge } from "@mantine/core";
import {
  IconAlertTriangle,
  IconCircleCheck,
  IconCircleDashed,
  IconCircleX,
  IconClockExclamation,
  IconLoader2,
  IconPlayerPause,
  IconPlayerStop,
  IconRefreshAlert,
  IconHourglass,
} from "@tabler/icons-react";
import type { ComponentType } from "react";

interface Look {
  word: string;
  color: string;
  icon: ComponentType<{ size?: number; className?: string }>;
  pulse?: boolean;
}

const LOOKS: Record<string, Look> = {
  // Of connections
  failing: { word: "Failing", color: "red", icon: IconCircleX },
  retrying: { word: "Retrying", color: "orange", icon: IconRefreshAlert },
  late: { word: "Late", color: "orange", icon: IconClockExclamation },
  never: { word: "Never ran", color: "gray", icon: IconCircleDashed },
  running: { word: "Running", color: "blue", icon: IconLoader2, pulse: true },
  fresh: { word: "Fresh", color: "teal", icon: IconCircleCheck },
  paused: { word: "Paused", color: "gray", icon: IconPlayerPause },
  // Of jobs, attempts and streams
  pending: { word: "Waiting", color: "gray", icon: IconHourglass },
  incomplete: { word: "Between tries", color: "orange", icon: IconRefreshAlert },
  succeeded: { word: "Succeeded", color: "teal", icon: IconCircleCheck },
  failed: { word: "Failed", color: "red", icon: IconCircleX },
  cancelled: { word: "Cancelled", color: "gray", icon: IconPlayerStop },
  skipped: { word: "Skipped", color: "gray", icon: IconCircleDashed },
  stopped: { word: "Stopped", color: "orange", icon: IconAlertTriangle },
};

export const HEALTHS = ["failing", "retrying", "late", "running", "fresh", "never", "paused"] as const;

export function look(status: string): Look {
  return LOOKS[status] ?? { word: status, color: "gray", icon: IconCircleDashed };
}

export function Status({ status, size = "md" }: { status: string; size?: "sm" | "md" | "lg" }) {
  const { word, color, icon: Icon, pulse } = look(status);
  return (
    <Badge
      variant="light"
      color={color}
      size={size}
      radius="sm"
      tt="none"
      className={`state state-${color}`}
      leftSection={<Icon size={13} className={pulse ? "pulse" : undefined} />}
    >
      {word}
    </Badge>
  );
}

/** The fill of a run's bar. */
export function barColor(status: string): string {
  const { color } = look(status);
  return `var(--mantine-color-${color}-${color === "gray" ? 5 : 6})`;
}
