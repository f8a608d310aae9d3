/** A form made of a connector's specification. */
import RjsfForm from "@rjsf/core";
import type { ErrorSchema } from "@rjsf/utils";
import { useImperativeHandle, useMemo, useRef, type Ref } from "react";
import { formOf, placed } from "./spec";
import { validator } from "./validator";
import { fields, templates, widgets } from "./widgets";

export type Values = Record<string, unknown>;

export interface SpecFormHandle {
  /** True when the values fit the specification; what does not is marked. */
  check: () => boolean;
}

interface Props {
  spec: Record<string, unknown>;
  value: Values;
  change: (next: Values) => void;
  /** What the server said of the values; shown at the field that it names. */
  said?: string;
  readOnly?: boolean;
  ref?: Ref<SpecFormHandle>;
}

export function SpecForm({ spec, value, change, said, readOnly = false, ref }: Props) {
  const form = useRef<RjsfForm>(null);
  const frame = useRef<HTMLDivElement>(null);
  const { schema, ui } = useMemo(() => formOf(spec), [spec]);
  const errors = useMemo(() => {
    const found = said ? placed(said, schema) : null;
    if (!found) return undefined;
    return found.path.reduceRight<ErrorSchema>((inner, part) => ({ [part]: inner }) as ErrorSchema, { __errors: [found.message] } as ErrorSchema);
  }, [said, schema]);
  useImperativeHandle(ref, () => ({
    check: () => {
      const fits = form.current?.validateForm() ?? true;
      if (!fits) setTimeout(() => frame.current?.querySelector<HTMLElement>("[aria-invalid=true], [data-error=true]")?.focus());
      return fits;
    },
  }));
  return (
    <div ref={frame}>
    <RjsfForm
      ref={form}
      tagName="div"
      schema={schema}
      uiSchema={ui}
      formData={value}
      validator={validator}
      widgets={widgets}
      fields={fields}
      templates={templates}
      extraErrors={errors}
      extraErrorsBlockSubmit={false}
      showErrorList={false}
      noHtml5Validate
      onError={() => undefined}
      // What nobody filled in is not sent: the server's defaults are those that the fields show.
      experimental_defaultFormStateBehavior={{ arrayMinItems: { populate: "never" }, emptyObjectFields: "skipEmptyDefaults" }}
      disabled={readOnly}
      onChange={(event) => change((event.formData ?? {}) as Values)}
    >
      <></>
    </RjsfForm>
    </div>
  );
}
