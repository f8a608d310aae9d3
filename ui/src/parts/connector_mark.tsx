/** A connector's mark: its first letters on a colour of its own. No pictures of others' brands are loaded or kept. */
const HUES: Record<string, number> = { postgres: 210, duckdb: 48, s3: 130, local: 30, files: 280, mysql: 195, bigquery: 225, iceberg: 190, delta: 12, airbyte: 255, rest: 320 };

export function ConnectorMark({ name, size = 32 }: { name: string; size?: number }) {
  const word = name.toLowerCase().replace(/^(source|destination)-/, "");
  const hue = HUES[word.split(/[\s_-]/)[0]!] ?? [...word].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
  const letters = name.split(/[\s_-]+/).filter(Boolean);
  const text = (letters.length > 1 ? letters[0]![0]! + letters[1]![0]! : name.slice(0, 2)).toUpperCase();
  return (
    <span aria-hidden="true" style={{ width: size, height: size, flex: "none", borderRadius: 8, display: "inline-grid", placeItems: "center", fontSize: size * 0.4, fontWeight: 700, color: "#fff", background: `hsl(${hue} 50% 27%)` }}>
      {text}
    </span>
  );
}
