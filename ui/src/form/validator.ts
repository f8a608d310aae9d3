/**
 * Checks a form against its schema by reading the schema. The usual validators write and run a program for each schema,
 * which the server's content policy forbids, rightly.
 */
import { Validator, type OutputUnit, type Schema } from "@cfworker/json-schema";
import { type ErrorSchema, type RJSFSchema, type RJSFValidationError, toErrorSchema, type ValidationData, type ValidatorType } from "@rjsf/utils";

const known = new WeakMap<object, Validator>();

function validatorOf(schema: RJSFSchema): Validator {
  let found = known.get(schema);
  if (!found) {
    found = new Validator(schema as Schema, "2020-12", false);
    known.set(schema, found);
  }
  return found;
}

/** `undefined` is "not given": left out, as JSON would. */
function plain(value: unknown): unknown {
  return value === undefined ? {} : JSON.parse(JSON.stringify(value));
}

function read(unit: OutputUnit): RJSFValidationError {
  const path = unit.instanceLocation.replace(/^#\/?/, "").split("/").filter(Boolean).map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
  const missing = unit.keyword === "required" ? /"([^"]+)"/.exec(unit.error)?.[1] : undefined;
  const place = missing ? [...path, missing] : path;
  return { name: unit.keyword, property: place.length ? `.${place.join(".")}` : "", message: missing ? "This is needed." : words(unit), stack: unit.error };
}

function words(unit: OutputUnit): string {
  return unit.error.replace(/^Instance /, "This ").replace(/^String /, "This ").replace(/^Property "[^"]+" /, "This ");
}

/** Units that only say that something within them failed. */
const OUTER = new Set(["properties", "items", "oneOf", "anyOf", "allOf", "$ref", "additionalProperties"]);

export const validator: ValidatorType = {
  validateFormData(formData, schema): ValidationData<unknown> {
    const found = validatorOf(schema as RJSFSchema).validate(plain(formData));
    const errors = found.errors.filter((unit) => !OUTER.has(unit.keyword)).map(read);
    return { errors, errorSchema: toErrorSchema(errors) as ErrorSchema };
  },
  isValid(schema, formData, rootSchema) {
    if (typeof schema === "boolean") return schema;
    const whole = { ...(rootSchema as RJSFSchema).$defs ? { $defs: (rootSchema as RJSFSchema).$defs } : {}, ...(schema as RJSFSchema) };
    return new Validator(whole as Schema, "2020-12", true).validate(plain(formData)).valid;
  },
  rawValidation<Result>(schema: RJSFSchema, formData?: unknown): { errors?: Result[]; validationError?: Error } {
    return { errors: validatorOf(schema).validate(plain(formData)).errors as Result[] };
  },
};

export default validator;
