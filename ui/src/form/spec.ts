/**
 * A connector's specification made ready for a form: references followed, "or null" taken away, variants named, what
 * nobody needs left out, and the rest divided into what everybody fills in and what few do.
 */
import type { RJSFSchema, UiSchema } from "@rjsf/utils";

export interface FormSpec {
  schema: RJSFSchema;
  ui: UiSchema;
}

type Node = Record<string, unknown>;

const DISCRIMINATORS = ["method", "mode", "type", "auth_type", "auth_method", "tunnel_method", "format_type", "filetype", "compression_type", "credentials_title", "option_title", "selection", "authentication", "encryption_method"];

/** Fields that people look for first, where a specification does not say what is important. */
const PLAIN = new Set([
  "host", "port", "database", "username", "user", "password", "schemas", "schema", "path", "destination_path", "url", "base_url", "bucket", "s3_bucket_name", "s3_bucket_region", "s3_bucket_path", "region", "region_name", "endpoint", "s3_endpoint", "access_key_id", "secret_access_key", "aws_access_key_id", "aws_secret_access_key", "project_id", "dataset_id", "dataset", "credentials_json", "credentials", "account", "warehouse", "role", "replication_method", "streams", "format", "table_format", "start_date", "api_key", "api_token", "package", "config", "server_id", "catalog", "uri", "path_prefix", "glob", "globs", "provider", "spec", "manifest",
]);

const NOT_NEEDED = /^(not used|airbyte's; not needed)|accepted so that airbyte configurations load/i;
const LETTERS = new Map(["api", "arn", "aws", "ca", "cdc", "csv", "gcs", "http", "https", "id", "iam", "json", "jdbc", "kms", "lsn", "s3", "sql", "ssh", "ssl", "tls", "uri", "url", "wal"].map((word) => [word, word.toUpperCase()]));

export function formOf(spec: Record<string, unknown>): FormSpec {
  const [schema, ui] = walk(spec, spec, 0);
  delete schema.title;
  delete schema.description;
  return { schema: schema as RJSFSchema, ui };
}

function walk(node: Node, root: Node, depth: number): [Node, UiSchema] {
  if (depth > 12) return [{ type: "string" }, {}];
  let it = followed(node, root);
  const ui: UiSchema = {};
  const options: Record<string, string> = {};
  const kinds = ((it.oneOf ?? it.anyOf) as Node[] | undefined)?.map((each) => followed(each, root)).filter((each) => each.type !== "null");
  if (kinds) {
    const { oneOf: _one, anyOf: _any, default: standard, ...rest } = it;
    const objects = kinds.filter((each) => each.properties);
    if (objects.length > 1) return variants(rest, objects, root, depth);
    // Of several simple types a form offers the first; a longer form of a word (TLS by its mode alone) is the object.
    it = { ...(objects[0] ?? kinds[0] ?? { type: "string" }), ...rest, ...(standard === null ? {} : { default: standard }) };
  }
  if (Array.isArray(it.type)) it = { ...it, type: it.type.find((each) => each !== "null") };
  const { $defs: _defs, definitions: _definitions, additionalProperties: _more, writeOnly: _writeOnly, examples, order: _order, ...kept } = it;
  const schema: Node = kept;
  if (schema.properties) return object(schema, root, depth);
  if (schema.type === "object") return [{ ...without(schema, "default") }, { "ui:field": "json" }];
  if (schema.type === "array") return array(schema, root, depth);
  if (schema.airbyte_secret || schema.format === "password") {
    ui["ui:widget"] = schema.multiline || /certificate|private key|credentials json|pem\b/i.test(`${schema.title} ${schema.description}`) ? "secretArea" : "password";
  } else if (schema.multiline || schema.format === "textarea") ui["ui:widget"] = "textarea";
  const given = schema.default;
  if (given !== undefined && schema.type !== "boolean" && !schema.enum && schema.const === undefined) {
    delete schema.default;
    if (given !== null && given !== "") options.placeholder = String(given);
  }
  if (options.placeholder === undefined && Array.isArray(examples) && examples.length > 0) options.placeholder = `for example ${String(examples[0])}`;
  // What these say is told by the server, in its words; here they would only be unknown to the form.
  delete schema.format;
  delete schema.airbyte_secret;
  if (Object.keys(options).length > 0) ui["ui:options"] = options;
  return [schema, ui];
}

function object(schema: Node, root: Node, depth: number): [Node, UiSchema] {
  const ui: UiSchema = {};
  const required = new Set((schema.required as string[] | undefined) ?? []);
  const entries = Object.entries(schema.properties as Record<string, Node>).filter(([name, each]) => required.has(name) || !NOT_NEEDED.test(String(followed(each, root).description ?? each.description ?? "")));
  entries.sort(([, a], [, b]) => Number(a.order ?? 0) - Number(b.order ?? 0));
  const ordered = entries.some(([, each]) => each.order !== undefined);
  const properties: Record<string, Node> = {};
  for (const [name, each] of entries) {
    const fixed = followed(each, root);
    // A word that cannot be another is nobody's choice; it stays where it tells variants apart.
    if (fixed.const !== undefined && !DISCRIMINATORS.includes(name) && !required.has(name)) continue;
    const [made, inner] = walk(each, root, depth + 1);
    made.title = labelOf(name, made.title as string | undefined);
    properties[name] = made;
    if (made.const !== undefined) inner["ui:widget"] = "hidden";
    const plain = required.has(name) || (ordered ? each.order !== undefined && each.group !== "advanced" : PLAIN.has(name));
    if (!plain && depth === 0) inner["ui:options"] = { ...(inner["ui:options"] ?? {}), advanced: true };
    ui[name] = inner;
  }
  const { default: _default, ...rest } = schema;
  return [{ ...rest, type: "object", properties, required: [...required].filter((name) => properties[name]) }, ui];
}

function array(schema: Node, root: Node, depth: number): [Node, UiSchema] {
  const given = schema.default as unknown[] | undefined;
  const [items, inner] = walk((schema.items as Node | undefined) ?? { type: "string" }, root, depth + 1);
  const made: Node = { ...without(schema, "default"), items };
  if (items.type === "string" || items.type === "integer") {
    const options = given && given.length > 0 ? { placeholder: given.join(", ") } : {};
    return [made, { "ui:field": "tags", "ui:options": options }];
  }
  return [made, { items: inner }];
}

/** Objects of which one is chosen. One whose discriminator has several words becomes several. */
function variants(rest: Node, objects: Node[], root: Node, depth: number): [Node, UiSchema] {
  const oneOf: Node[] = [];
  const inner: UiSchema[] = [];
  for (const each of objects) {
    const properties = each.properties as Record<string, Node>;
    const by = DISCRIMINATORS.find((name) => properties[name] && ((properties[name].enum as unknown[])?.length > 0 || properties[name].const !== undefined));
    const words = by === undefined ? [undefined] : ((properties[by]!.enum as unknown[] | undefined) ?? [properties[by]!.const]);
    for (const word of words) {
      const fixed = by === undefined ? each : { ...each, properties: { ...properties, [by]: { ...without(properties[by]!, "enum"), const: word, default: word } }, required: [...new Set([...((each.required as string[]) ?? []), by])] };
      const [made, ui] = walk(fixed, root, depth + 1);
      const about = by === undefined ? each.description : (said(String(properties[by]!.description ?? ""), String(word)) ?? each.description);
      const title = words.length > 1 || /^[A-Z]\w+[a-z][A-Z]/.test(String(each.title ?? "")) ? String(word) : String(each.title ?? word ?? "Option");
      oneOf.push({ ...made, title, description: about });
      inner.push(ui);
    }
  }
  return [{ ...without(rest, "default"), oneOf }, { oneOf: inner }];
}

/** "Standard: full refresh. Xmin: …" told for one of its words. */
function said(text: string, word: string): string | undefined {
  const at = text.indexOf(`${word}: `);
  if (at < 0) return undefined;
  const rest = text.slice(at + word.length + 2);
  const end = rest.search(/\. [A-Z][\w ]{0,24}: /);
  const told = end < 0 ? rest : rest.slice(0, end + 1);
  return told.charAt(0).toUpperCase() + told.slice(1);
}

function followed(node: Node, root: Node): Node {
  const { $ref, allOf, ...rest } = node;
  if (typeof $ref === "string") {
    const target = $ref.replace("#/", "").split("/").reduce<unknown>((at, part) => (at as Node | undefined)?.[part], root);
    return { ...followed((target as Node) ?? {}, root), ...rest };
  }
  if (Array.isArray(allOf)) return Object.assign({}, ...allOf.map((each) => followed(each as Node, root)), rest) as Node;
  return rest;
}

function without(node: Node, name: string): Node {
  const { [name]: _left, ...rest } = node;
  return rest;
}

/** "Ssl Mode", which a program made of ssl_mode, as people write it; a title that a person wrote stays. */
export function labelOf(name: string, title?: string): string {
  const made = name.split("_").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ");
  if (title && title !== made && !/^[A-Z]\w+[a-z][A-Z]/.test(title)) return title;
  const words = name.split("_").map((word) => LETTERS.get(word) ?? word);
  const said = words.join(" ");
  return said.charAt(0).toUpperCase() + said.slice(1);
}

/** The server's words "'a.b.c': why" at the field that they are about. */
export function placed(message: string, schema: RJSFSchema): { path: string[]; message: string } | null {
  const found = /^'([\w.]+)': (.*)$/s.exec(message) ?? /^configuration(?:\.([\w.]+))?: (.*)$/s.exec(message);
  if (!found?.[1]) return null;
  const path: string[] = [];
  let at: RJSFSchema | undefined = schema;
  for (const part of found[1].split(".")) {
    const options: RJSFSchema[] = at ? [at, ...((at.oneOf ?? []) as RJSFSchema[])] : [];
    const next = options.map((each) => each.properties?.[part] as RJSFSchema | undefined).find(Boolean);
    // A part that is no property names the variant, which the form knows already.
    if (!next) continue;
    path.push(part);
    at = next;
  }
  const words = found[2]!.replace(/\.? see: syncline .*$/s, "");
  return path.length > 0 ? { path, message: words } : null;
}
