/** Doing something that may fail, and saying so. */
import { notifications } from "@mantine/notifications";

/** True when it was done. What failed is told in the server's words; `done` is told otherwise. */
export async function said(act: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await act();
  } catch (error) {
    notifications.show({
      color: "red",
      title: "It was not done",
      message: error instanceof Error ? error.message : String(error),
      autoClose: 12_000,
    });
    return false;
  }
  if (done) notifications.show({ color: "teal", message: done, autoClose: 4000 });
  return true;
}
