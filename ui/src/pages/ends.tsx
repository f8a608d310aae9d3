export default function Page(_: { role: "source" | "destination" }) { return null; }
