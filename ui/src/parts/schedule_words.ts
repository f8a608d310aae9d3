/** A schedule as a sentence. */
import type { Schedule } from "../api/queries";

export function scheduleText(schedule: Schedule): string {
  switch (schedule.kind) {
    case "basic": {
      const units = schedule.units ?? 1;
      const unit = schedule.timeUnit ?? "hours";
      return units === 1 ? `every ${unit.slice(0, -1)}` : `every ${units} ${unit}`;
    }
    case "cron":
      return `${schedule.cronExpression}${schedule.timeZone ? ` ${schedule.timeZone}` : ""}`;
    case "continuous":
      return "always, as changes come";
    case "after":
      return schedule.after?.files ? "when files arrive" : `after ${schedule.after?.any ? "any" : "all"} of ${(schedule.after?.all ?? schedule.after?.any ?? []).length} others`;
    default:
      return "by hand";
  }
}
