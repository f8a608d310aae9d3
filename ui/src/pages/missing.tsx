import { Button } from "@mantine/core";
import { Link } from "react-router";
import { Empty } from "../parts/states";

export function Missing() {
  return (
    <Empty title="There is no such page" action={<Button component={Link} to="/">Home</Button>}>
      The address may be misspelt, or what it named was deleted.
    </Empty>
  );
}
